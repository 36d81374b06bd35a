"""Where no snapshot is, but what snapshots are made of: somebody may have removed them, and whoever
looks for them at night must hear how they are had back, not that a backup is due."""

from contextlib import suppress

from drctl.errors import DrctlError
from drctl.repository import catalog, names
from drctl.repository.catalog import Catalog
from drctl.repository.repository import Repository
from drctl.units import count, show_instant
from drctl.wiring import Wiring


def way_back(
    wiring: Wiring, name: str, repository: Repository, found: Catalog, asset: str = ""
) -> str:
    """What to say of a repository that has no snapshot, or none of an asset; empty: there is no
    trace of one."""
    said: list[str] = []
    with suppress(DrctlError):
        trash = catalog.load(repository, folder=names.TRASHED)
        removed = trash.of(asset) if asset else trash.snapshots
        if removed:
            lies = count(len(removed), "that was removed lies", "that were removed lie")
            said.append(
                f"{lies} in its trash, the newest of {show_instant(removed[-1].consistent_at_ns)}: "
                f"'drctl snapshots --deleted --from {name}' lists them, and 'drctl undelete "
                "SNAPSHOT' brings one back, where the writer credential is"
            )
        if not found.snapshots and any(True for _ in repository.storage.list(names.PACKS)):
            said.append("what earlier backups stored is there, without a snapshot of it")
        if said and wiring.part(name).s3 and wiring.as_of_ns is None:
            said.append("a bucket that keeps versions is read as it was with --as-of TIME")
    others = sorted({s.asset for s in found.snapshots} - wiring.loaded.plan.assets.keys())
    if asset and others:
        said.append(f"the plan does not have {', '.join(others)}, of which there are snapshots")
    return "; ".join(said)
