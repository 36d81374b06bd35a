"""Loading modules, which is most of what a short command takes."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """What is imported within stays, so Python need not look for garbage in it: not meanwhile,
    which takes a tenth of the time, and never again."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
