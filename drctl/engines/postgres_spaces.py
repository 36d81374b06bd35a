"""The tablespaces of a restored cluster: beside its data directory, DIR-tablespaces/<oid>.

Links in the data directory lead to them by their whole path, so a cluster that is renamed takes
them along and has its links led anew: else they would lead into the next cluster's tablespaces.
"""

import os
from collections.abc import Iterator
from contextlib import suppress

from msgspec import Struct

from drctl.engines import postgres_layout as layout
from drctl.engines.postgres_server import major_at
from drctl.engines.unfinished import refuse_what_is_there
from drctl.errors import TargetRefused

BESIDE = "-tablespaces"
_PASSING = ".drctl-moved"
_SERVERS = frozenset({"postgres", "postmaster", "edb-postgres"})
_Identity = tuple[int, int]  # of a directory, whatever path leads there
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def refuse_what_stands_beside(to: str) -> None:
    """Before anything is written. Raises TargetRefused, Busy, OSError."""
    above = to + BESIDE
    found = sorted(os.listdir(above)) if os.path.isdir(above) else []
    for path in (os.path.join(above, name) for name in found):
        if os.path.isdir(path):
            top = os.open(path, _LIST)
            try:
                refuse_what_is_there(top, path)
            finally:
                os.close(top)


def moved(before: str, now: str) -> None:
    """See engines.base.Engine. A tablespace that lies elsewhere stays there, and is found there."""
    above = os.path.join(now, os.fsdecode(layout.TABLESPACES))
    old, new = os.path.realpath(before) + BESIDE, os.path.realpath(now) + BESIDE
    links = [os.path.join(above, name) for name in _listed(above)]
    for left in (link for link in links if link.endswith(_PASSING)):  # of one that was killed
        os.unlink(left)
    for link in links:
        if os.path.islink(link) and os.path.dirname(os.path.realpath(link)) == old:
            there = os.path.join(new, os.path.basename(os.readlink(link)))
            if os.path.isdir(there):
                _lead(link, there)


def _listed(above: str) -> list[str]:
    return os.listdir(above) if os.path.isdir(above) else []


def _lead(link: str, to: str) -> None:
    """In one step, so that the link always leads somewhere."""
    owner = os.lstat(link)
    os.symlink(to, link + _PASSING)
    with suppress(PermissionError):  # whoever may not give it away may still lead it
        os.lchown(link + _PASSING, owner.st_uid, owner.st_gid)
    os.rename(link + _PASSING, link)


# -- what is written over -------------------------------------------------------------------------


def written_over(to: str) -> dict[str, str]:
    """The tablespaces of a cluster, by number, where they lie elsewhere."""
    above = os.path.join(to, os.fsdecode(layout.TABLESPACES))
    links = {name: os.path.join(above, name) for name in sorted(_listed(above))}
    return {name: os.path.realpath(link) for name, link in links.items() if os.path.islink(link)}


def refuse_what_others_use(to: str) -> None:
    """A copy of a cluster has the links of the first, which may run. Versions share a place, each
    with a directory of its own. Raises TargetRefused."""
    mine = [*written_over(to).values(), *(each.path for each in _beside(to))]
    known = {identity: place for place in mine if (identity := _identity(place))}
    own = _identity(to)
    for server in _servers():
        if server.data == own:
            raise TargetRefused(f"{to}: a server runs there", hint="stop it first")
        shared = sorted(known[each] for each in server.places if each in known)
        if shared and server.major == major_at(to):
            raise TargetRefused(
                f"{to} has its tablespace in {shared[0]}, and so has the server that runs in "
                f"{server.shown}: nothing was restored",
                hint="restore into an empty directory, without --delta: its tablespaces go beside "
                "it; or stop that server, where it may be written over",
            )


def _beside(to: str) -> list["os.DirEntry[str]"]:
    return list(os.scandir(to + BESIDE)) if os.path.isdir(to + BESIDE) else []


class _Server(Struct, frozen=True):
    """One that runs: its data directory, and the places of its tablespaces."""

    shown: str
    data: _Identity
    major: int
    places: set[_Identity]


def _servers() -> Iterator[_Server]:
    """Each stands in its data directory, and so do its many children."""
    seen: set[_Identity | None] = {None}
    for process in (f"/proc/{name}" for name in os.listdir("/proc") if name.isdigit()):
        # It has ended, or is another user's; the files of such a one only root writes.
        with suppress(OSError, TargetRefused):
            with open(f"{process}/comm", encoding="utf-8", errors="replace") as file:
                is_server = file.read().strip() in _SERVERS
            data = _identity(f"{process}/cwd") if is_server else None
            if data and data not in seen:
                at = f"{process}/cwd"
                found = _Server(os.readlink(at), data, major_at(at), _places(process))
                seen.add(data)
                yield found


def _places(process: str) -> set[_Identity]:
    """As it sees them: it may run in a container."""
    above = f"{process}/cwd/{os.fsdecode(layout.TABLESPACES)}"
    links = [link.path for link in os.scandir(above) if link.is_symlink()]
    found = {_identity(f"{process}/root{os.readlink(link)}") for link in links}
    return {each for each in found if each}


def _identity(path: str) -> _Identity | None:
    with suppress(OSError):
        found = os.stat(path)
        return found.st_dev, found.st_ino
    return None
