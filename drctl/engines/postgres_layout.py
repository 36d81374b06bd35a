"""What lies where in a PostgreSQL data directory, and what of it a base backup leaves out.

The exclusions are those of pg_basebackup (src/backend/backup/basebackup.c): what a starting server
makes anew, and what would mislead it.
"""

import re

BLOCK_BYTES = 32 * 1024  # a multiple of every page size: a changed page costs one block of these

CONTROL = b"global/pg_control"
LABEL = b"backup_label"
TABLESPACES = b"pg_tblspc"
WAL = b"pg_wal"

# Directories that a running server fills and a starting one expects, empty.
_EMPTY = frozenset(
    (WAL, b"pg_dynshmem", b"pg_notify", b"pg_replslot", b"pg_serial", b"pg_snapshots",
     b"pg_stat_tmp", b"pg_subtrans")
)  # fmt: skip
_LEFT_OUT = frozenset(
    (b"postmaster.pid", b"postmaster.opts", b"backup_label", b"backup_label.old",
     b"tablespace_map", b"tablespace_map.old", b"backup_manifest", b"postgresql.auto.conf.tmp",
     b"current_logfiles.tmp")
)  # fmt: skip
# What the saved server was to do with its log. A copy that is told so follows nobody for ever.
_SIGNALS = frozenset((b"recovery.signal", b"standby.signal"))
_PASSING = re.compile(rb"(pgsql_tmp.*|pg_internal\.init.*|t[0-9]+_[0-9]+(_[a-z]+)?(\.[0-9]+)?)")
_RELATION = re.compile(
    rb"((global|base/[0-9]+|pg_tblspc/[0-9]+/PG_[^/]+/[0-9]+)/)([0-9]+)(_(fsm|vm|init))?(\.([0-9]+))?"
)
_SOCKET = re.compile(rb"\.s\.PGSQL\.[0-9]+(\.lock)?")
SEGMENT_PAGES = 131072  # of a relation's file: 1 GiB of 8 KiB pages
SEGMENT = re.compile(r"[0-9A-F]{24}")
HISTORY = re.compile(r"[0-9A-F]{8}\.history")
# All that PostgreSQL archives.
ARCHIVED = re.compile(r"[0-9A-F]{24}(\.partial|\.[0-9A-F]{8}\.backup)?|[0-9A-F]{8}\.history")


def is_emptied(path: bytes) -> bool:
    """A directory that is kept without what is in it."""
    return path in _EMPTY


def is_left_out(path: bytes) -> bool:
    """A file that a starting server makes anew, or that would mislead it."""
    name = path.rsplit(b"/", 1)[-1]
    named = path in _LEFT_OUT or is_signal(path)
    return named or _PASSING.fullmatch(name) is not None or is_socket(path)


def is_signal(path: bytes) -> bool:
    """A file that makes a server recover or follow another one."""
    return path in _SIGNALS


def is_socket(path: bytes) -> bool:
    """A running server's socket, or the lock beside it."""
    return _SOCKET.fullmatch(path.rsplit(b"/", 1)[-1]) is not None


def is_relation(path: bytes) -> bool:
    """A file that is made of pages."""
    return _RELATION.fullmatch(path) is not None


def first_block(path: bytes) -> int:
    """The number of a relation file's first page in its relation."""
    found = _RELATION.fullmatch(path)
    return int(found[7] or 0) * SEGMENT_PAGES if found else 0


def unlogged(names: set[bytes]) -> set[bytes]:
    """Of the names in a database's directory, those of unlogged relations that a starting server
    makes anew from their `_init` forks."""
    init = {name[: -len(b"_init")] for name in names if name.endswith(b"_init")}
    return {name for name in names if _base(name) in init and not name.endswith(b"_init")}


def _base(name: bytes) -> bytes:
    return name.split(b".", 1)[0].split(b"_", 1)[0]
