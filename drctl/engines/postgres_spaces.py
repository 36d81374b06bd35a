"""The tablespaces of a restored cluster: beside its data directory, DIR-tablespaces/<oid>.

Links in the data directory lead to them by their whole path, so a cluster that is renamed takes
them along and has its links led anew: else they would lead into the next cluster's tablespaces.
"""

import os
from contextlib import suppress

from drctl.engines import postgres_layout as layout
from drctl.engines.unfinished import refuse_what_is_there

BESIDE = "-tablespaces"
_PASSING = ".drctl-moved"
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
    for link in [os.path.join(above, name) for name in _listed(above)]:
        if link.endswith(_PASSING):  # of one that was killed
            os.unlink(link)
        elif os.path.islink(link) and os.path.dirname(os.path.realpath(link)) == old:
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
