"""Evidence is one chain, whoever adds to it at once."""

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from drctl.cli.proofs import Proofs, wait_for_lock
from drctl.errors import StorageError
from drctl.report.evidence import chain_faults, make, newest
from drctl.report.signers import Keys, to_follow

FOUND = {
    "plan": {"name": "shop", "sha256": "00"},
    "drill": "far",
    "verdict": "passed",
    "finished_at": "2026-03-01T12:00:00Z",
    "timing": {"machine_seconds": 1.0, "human_seconds": 0.0, "rta_seconds": 1.0},
    "snapshots": [],
}


@pytest.fixture
def proofs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proofs:
    monkeypatch.setenv("DRCTL_STATE_DIR", str(tmp_path / "state"))
    plan = SimpleNamespace(
        name="shop", evidence=SimpleNamespace(directory="proofs", key=None, former=())
    )
    wiring: Any = SimpleNamespace(loaded=SimpleNamespace(plan=plan, base=str(tmp_path)))
    return Proofs(wiring)


def test_drills_that_end_at_once_take_a_number_each(proofs: Proofs) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: proofs.add(FOUND, []), range(24)))
    assert sorted(proof.number for proof in made) == list(range(1, 25))
    assert chain_faults(proofs.here()[0]) == []


def test_evidence_is_kept_where_the_directory_itself_cannot_be_locked(proofs: Proofs) -> None:
    """As on a file server: here somebody else holds that lock."""
    os.mkdir(proofs.directory)
    held = os.open(proofs.directory, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with ThreadPoolExecutor(1) as pool:
        try:
            assert pool.submit(proofs.add, FOUND, []).result(timeout=20).number == 1
        finally:
            os.close(held)
    assert os.listdir(proofs.directory) == [os.path.basename(proofs.path_of(proofs.here()[0][0]))]


def test_what_cannot_be_read_is_told_and_keeps_its_number(proofs: Proofs) -> None:
    proofs.add(FOUND, [])
    os.mkdir(os.path.join(proofs.directory, "notes.json"))
    assert proofs.add(FOUND, []).number == 2
    assert [text.rpartition("/")[2] for text in proofs.here()[1]] == ["notes.json: Is a directory"]
    os.symlink("loop.json", os.path.join(proofs.directory, "loop.json"))  # nor may root read it
    found, wrong = proofs.here()
    assert len(found) == len(wrong) == 2
    with pytest.raises(StorageError, match=r"loop\.json: the evidence cannot be kept"):
        proofs.add(FOUND, [])


def test_evidence_follows_what_the_plans_keys_signed_and_no_number_that_a_forger_chose() -> None:
    own, before, thief = (Ed25519PrivateKey.generate() for _ in range(3))
    first = make(FOUND, None, before)
    second = make(FOUND, first, before)
    far = make(FOUND, replace(second, predicate={**second.predicate, "number": 10**6}), thief)
    unsigned = make(FOUND, second, None)
    named = Keys(own.public_key(), (before.public_key(),))
    assert newest(to_follow(named, [first, second, far, unsigned])) == second
    unnamed = Keys(own.public_key())  # it is named as a former one when somebody misses it
    assert newest(to_follow(unnamed, [first, second, unsigned])) == second
    assert to_follow(unnamed, [far, unsigned]) == []
    third = make(FOUND, second, own)
    assert newest(to_follow(unnamed, [first, second, third, far])) == third


def test_a_plan_that_is_locked_for_ever_is_not_waited_for_as_long(tmp_path: Path) -> None:
    """As by `flock plan.yaml drctl drill`, which waits for drctl."""
    (tmp_path / "plan.yaml").touch()
    held, mine = (os.open(tmp_path / "plan.yaml", os.O_RDONLY) for _ in range(2))
    fcntl.flock(held, fcntl.LOCK_EX)
    assert not wait_for_lock(mine, 0.1)
    os.close(held)
    assert wait_for_lock(mine, 60)
    os.close(mine)
