"""Names of objects. An immutable object is named by the SHA-256 of its bytes."""

import re
from hashlib import sha256

from drctl.storage.base import Buffer

CONFIG = "config"
KEYS, SESSIONS, PACKS = "keys/", "sessions/", "packs/"
INDEX, REFS, SNAPSHOTS = "index/", "refs/", "snapshots/"
HOLDS, LOG, EVIDENCE = "holds/", "log/", "evidence/"

LOADED = (PACKS, SESSIONS, INDEX, SNAPSHOTS)  # listed by whoever loads the index and the snapshots

# Who works at a repository, and what is to go: never copied, see docs/format.md.
RUNS, TRASH = "runs/", "trash/"
WRITING, REVIVING, ALIVE = "runs/writing/", "runs/reviving/", "runs/alive/"
TRASHED, MARKS = "trash/snapshots/", "trash/marks/"
SINCE, SWEEPING = "trash/since/", "trash/sweeping/"
CLOCK = "trash/clock"
DAMAGED = "trash/damaged/"
SWEPT = "trash/swept/"  # which refs a sweep took

PASSING = (RUNS, TRASH)  # no snapshot needs it: it is never locked

# Whoever copies a repository copies in this order, so that the copy is valid at every instant.
COPY_ORDER = (CONFIG, KEYS, SESSIONS, LOG, PACKS, INDEX, REFS, HOLDS, SNAPSHOTS, EVIDENCE)
HASHED = (PACKS, INDEX, REFS, LOG, HOLDS, SNAPSHOTS, TRASHED, MARKS, SWEPT, EVIDENCE)
_ID = re.compile(r"(?:[0-9a-f]{32}){1,2}")


def hashed(folder: str, data: Buffer) -> str:
    return named(folder, sha256(data).hexdigest())


def named(folder: str, digest: str) -> str:
    """Packs are many, so they lie in 256 folders."""
    return f"{folder}{digest[:2]}/{digest}" if folder == PACKS else folder + digest


def is_id(name: str) -> bool:
    """Whether it ends as a pack's or a session's name does. A disk may hold other files, too: what
    a copying tool, a file server or a person left there must keep nobody from their data."""
    return bool(_ID.fullmatch(digest_of(name)))


def digest_of(name: str) -> str:
    return name.rsplit("/", 1)[-1]
