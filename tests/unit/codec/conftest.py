"""Keys for the codec's tests, made from a seed, so that a failure shows the same bytes again."""

import random

import pytest

from drctl.clock import Randomness
from drctl.codec.keys import Secrets, new_secrets
from drctl.codec.recipients import Identity, new_identity


@pytest.fixture(scope="session")
def randomness() -> Randomness:
    return random.Random(20260301).randbytes


@pytest.fixture(scope="session")
def secrets(randomness) -> Secrets:
    return new_secrets(randomness)


@pytest.fixture(scope="session")
def identity(randomness) -> Identity:
    return new_identity("first", randomness)


@pytest.fixture(scope="session")
def stranger(randomness) -> Identity:
    return new_identity("stranger", randomness)
