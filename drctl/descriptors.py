"""How many files this process may have open at once, which `ulimit -n` says.

drctl opens few, and a PostgreSQL that it starts wants 58 at least. Where a session says less, and
it may say more, it is made more; else whoever opens several at once opens fewer.
"""

import errno
import os
import resource

ENOUGH = 64  # all that drctl does works with so many
_WANTED = 256
_SPARE = 12  # what the threads of a run open meanwhile
_HINT = "'ulimit -n 1024' in this shell raises it, or LimitNOFILE=1024 in a service's unit"


def widen() -> None:
    """Take what the hard limit leaves, up to what is wanted: children have it, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def too_few() -> str:
    """What to tell a person where there are too few for some work; else empty."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY or soft >= ENOUGH:
        return ""
    return f"this process may have {soft} files open at once, and some work takes {ENOUGH}: {_HINT}"


def at_once(most: int) -> int:
    """How many files may be opened now, to be read together: `most`, or fewer; at least one."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return most
    return max(1, min(most, soft - len(os.listdir("/proc/self/fd")) - _SPARE))


def hint(error: OSError, other: str) -> str:
    """What to do where a file could not be opened: that, where there are too many; else the other
    thing."""
    return _HINT if error.errno in (errno.EMFILE, errno.ENFILE) else other
