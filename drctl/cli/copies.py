"""A copy must be there before it is brought up to date: only `init` and `replicate --to` make one,
and neither where this host found one before, unless somebody insists."""

from drctl.repository import lifecycle, there
from drctl.wiring import Wiring


def must_be_there(wiring: Wiring, name: str) -> None:
    """Raises StorageError when the copy's place holds nothing of a repository."""
    storage = wiring.storage(name)
    if not lifecycle.is_in_use(storage):
        make = f"'drctl replicate --to {name}' makes it"
        asked = f"is its disk mounted? Where it is new, {make}"
        raise there.missing(storage, asked, f"where it was lost, {make} anew")
    if trouble := there.note(storage):
        wiring.warn(trouble)
