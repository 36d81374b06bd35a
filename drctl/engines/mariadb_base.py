"""A base: the server's files, copied by mariadb-backup, each an entry of the snapshot.

The copy is made in the scratch directory, not streamed: mariadb-backup holds back commits at its
end, and a storage far away must not decide how long (docs/decisions/0010). Accepted is only what
ends with status 0 and says `completed OK!` last.

The consistent point is the moment at which the server holds commits back for mariadb-backup: all
that was committed before is in, nothing that came after. It is when mariadb-backup says so, while
it runs, by this host's clock; its own times are whole seconds.
"""

import json
import os
import pwd
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from drctl.engines.base import Item, PlainItem, Surroundings
from drctl.engines.child import exit_words, running
from drctl.engines.mariadb_client import Access, ask, identity_of, program, program_version, series
from drctl.engines.tree_look import reason, to_entry
from drctl.errors import SourceError
from drctl.events import Notice
from drctl.model import Entry, sort_key

if TYPE_CHECKING:
    from pymysql.connections import Connection

BLOCK_BYTES = 32 * 1024  # a multiple of InnoDB's pages; its largest are two blocks
BACKUP = ("mariadb-backup", "mariabackup")
PACKAGE = "mariadb-backup"
_PAGED = re.compile(rb"(\.ibd|\.new|undo\d+|ibdata\d+)$")
_HELD = re.compile(r"Acquired locks for BACKUP STAGE BLOCK_COMMIT")
_REDO = re.compile(r"redo log|log copying|innodb_log_file_size|log block", re.IGNORECASE)
_ATTEMPTS = 3  # where the copy of the redo log fell behind
_ROOM = 1.05
_PIECE_BYTES = 1 << 20


class BaseSource:
    """Copies the server's files and reads the copy; see engines.base.Source."""

    def __init__(self, access: Access, asset: str, around: Surroundings) -> None:
        self._access = access
        self._asset = asset
        self._around = around
        self._held_at_ns = 0

    @contextmanager
    def open(self) -> Iterator["_Capture"]:
        copy = os.path.join(self._around.scratch, f"{self._asset}.mariadb-copy")
        shutil.rmtree(copy, ignore_errors=True)  # what a killed run left
        try:
            with self._access.connect() as server:
                looked = _Looked(server, self._asset, self._around)
            tool = self._tool(looked)
            looked.check_room(self._around.scratch)
            self._copy(tool, copy)
            capture = _Capture(copy, self._held_at_ns, looked, self._asset)
            self._name_the_log(capture, looked)
            yield capture
        finally:
            shutil.rmtree(copy, ignore_errors=True)

    def _name_the_log(self, capture: "_Capture", looked: "_Looked") -> None:
        """Where a restore goes on from the snapshot, and the first file that this needs."""
        if self._around.open_log and capture.position:
            stream = self._around.open_log(looked.identity).stream
            capture.facts |= {"log_stream": stream, "log_first": capture.position["file"]}

    def _tool(self, looked: "_Looked") -> str:
        """mariadb-backup reads pages and logs as one series of the server writes them."""
        found = program(*BACKUP, package=PACKAGE)
        version = program_version(found)
        looked.facts["mariadb_backup"] = version
        if not version or series(version) != series(looked.facts["mariadb"]):
            raise SourceError(
                f"{self._asset}: {found} is of version {version or 'unknown'}, "
                f"the server of {looked.facts['mariadb']}: it cannot copy this server",
                hint="install the mariadb-backup of the server's series",
            )
        return found

    def _copy(self, tool: str, copy: str) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            words = self._run(tool, copy)
            if words is None:
                return
            shutil.rmtree(copy, ignore_errors=True)
            if not _REDO.search(words) or attempt == _ATTEMPTS:
                raise SourceError(f"{self._asset}: mariadb-backup {words}", hint=self._hint(words))
            what = f"{self._asset}: the redo log was overwritten before it was copied: once more"
            self._around.report.emit(Notice("warning", what))

    def _run(self, tool: str, copy: str) -> str | None:
        """One copy. Gives None when it is whole, what went wrong otherwise."""
        self._held_at_ns = 0
        with self._access.option_file() as descriptor:
            argv = (
                tool,
                f"--defaults-file=/dev/fd/{descriptor}",
                "--backup",
                f"--target-dir={copy}",
                "--parallel=2",
            )
            try:
                with running(argv, pass_fds=(descriptor,), listener=self._listen) as child:
                    status = child.wait()
            except OSError as error:
                return f"cannot be run: {reason(error)}"
        if status:
            return f"{exit_words(status)}; it said:\n{child.words}"
        if not child.last_line.endswith("completed OK!"):
            return f"ended without 'completed OK!'; it said:\n{child.words}"
        if not self._held_at_ns:
            return "did not say when it held commits back; drctl does not know this version"
        return None

    def _listen(self, line: str) -> None:
        if _HELD.search(line):
            self._held_at_ns = self._around.clock.now_ns()

    def _hint(self, words: str) -> str:
        if _REDO.search(words):
            return "the redo log is too small for this load: raise innodb_log_file_size"
        if "No space left" in words or "Errcode: 28" in words or "errno 28" in words:
            return f"make room in {self._around.scratch}, or point DRCTL_STATE_DIR to a larger disk"
        if "Access denied" in words:
            return "grant what docs/engines/mariadb.md names"
        if "Permission denied" in words or "Errcode: 13" in words:
            return "drctl must run as root, or as the user that the server runs as"
        return "nothing was kept, and earlier snapshots stay; see docs/engines/mariadb.md"


class _Looked:
    """What the server says of itself before it is copied. Raises SourceError."""

    def __init__(self, server: "Connection[Any]", asset: str, around: Surroundings) -> None:
        self._asset = asset
        self._variables = dict(_variables(server))
        version = self._variables["version"]
        if "MariaDB" not in version:
            raise SourceError(
                f"{asset}: the server is {version}, and mariadb-backup copies only MariaDB",
                hint="'dump: true' takes a logical dump",
            )
        self.datadir = self._variables["datadir"]
        self.identity = identity_of(server)
        self.facts = {
            "mariadb": version,
            "page_size": self._variables["innodb_page_size"],
            "lower_case_table_names": self._variables["lower_case_table_names"],
        }
        self._check(around)

    def _check(self, around: Surroundings) -> None:
        if not os.path.isdir(self.datadir):
            raise SourceError(
                f"{self._asset}: {self.datadir} is not here: mariadb-backup reads the server's "
                "files",
                hint="run drctl on the server's host as root or as the server's user, "
                "or say 'dump: true'",
            )
        if self._variables["log_bin"] != "ON":
            what = f"{self._asset}: log_bin is off: it can be restored to its snapshots only"
            around.report.emit(Notice("warning", what))
        elif self._variables["sync_binlog"] != "1":
            what = f"{self._asset}: sync_binlog is not 1: a crash of the host may lose binlog"
            around.report.emit(Notice("warning", what))

    def check_room(self, scratch: str) -> None:
        """Is there room for the copy? What may not be looked at is told by mariadb-backup."""
        needed = _size_of(self.datadir, os.path.basename(self._variables["log_bin_basename"]))
        free = shutil.disk_usage(scratch).free
        if free < needed * _ROOM:
            raise SourceError(
                f"{self._asset}: the copy needs {needed} bytes, {scratch} has {free}",
                hint="make room there, or point DRCTL_STATE_DIR to a larger disk",
            )


_ASKED = (
    "version",
    "datadir",
    "innodb_page_size",
    "lower_case_table_names",
    "log_bin",
    "log_bin_basename",
    "sync_binlog",
)


def _variables(server: "Connection[Any]") -> dict[str, str]:
    """Global variables by name; one that this version does not have is empty."""
    listed = ", ".join(f"'{name}'" for name in _ASKED)
    found = ask(server, f"show global variables where variable_name in ({listed})")
    return dict.fromkeys(_ASKED, "") | {str(name): str(value) for name, value in found}


def _size_of(top: str, binlog: str) -> int:
    """Bytes of the files below, without binlogs."""
    total = 0
    for folder, _, names in os.walk(top):
        for name in names:
            if not binlog or not name.startswith(binlog + "."):
                try:
                    total += os.lstat(os.path.join(folder, name)).st_blocks * 512
                except FileNotFoundError:
                    continue  # a table was dropped meanwhile
    return total


class _Capture:
    """The copy, as entries that belong to the server's user; see engines.base.Capture."""

    def __init__(self, copy: str, held_at_ns: int, looked: _Looked, asset: str) -> None:
        self._copy = os.fsencode(copy)
        self._asset = asset
        self.consistent_at_ns = held_at_ns
        self._owner = os.stat(looked.datadir)
        self.position = position = self._position()
        binlog = {"binlog": f"{position['file']}:{position['position']}"} if position else {}
        self.facts = {**looked.facts, **self._lsn(), **binlog, "gtid": position.get("gtid", "")}
        self.private_facts = {
            "form": "base",
            "datadir": looked.datadir,
            "owner": _name_of(self._owner.st_uid),
            "mariadb": looked.facts["mariadb"],
            "lower_case_table_names": looked.facts["lower_case_table_names"],
            "binlog": json.dumps(position),
        }

    def _position(self) -> dict[str, str]:
        """Where the binlog stood at the consistent point; empty without one."""
        text = self._read("xtrabackup_binlog_info") or self._read("mariadb_backup_binlog_info")
        parts = text.rstrip("\n").split("\t")
        if len(parts) < 2:
            return {}
        gtid = parts[2] if len(parts) > 2 else ""
        return {"file": parts[0], "position": parts[1], "gtid": gtid}

    def _lsn(self) -> dict[str, str]:
        """Every copy has these; without them nothing could be prepared. Raises SourceError."""
        text = self._read("xtrabackup_checkpoints") or self._read("mariadb_backup_checkpoints")
        found = re.search(r"last_lsn = (\d+)", text)
        if not found:
            raise SourceError(
                f"{self._asset}: mariadb-backup wrote no checkpoints: this is not a whole copy",
                hint="nothing was kept; run it again",
            )
        return {"lsn": found[1]}

    def _read(self, name: str) -> str:
        try:
            with open(os.path.join(os.fsdecode(self._copy), name), encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def items(self) -> Iterator[Item]:
        for path in sorted(_paths(self._copy), key=sort_key):
            place = os.path.join(self._copy, path)
            found = os.lstat(place)
            entry = self._entry(path, found)
            has_content = os.path.isfile(place) and found.st_size
            yield PlainItem(entry, CopyContent(place, entry) if has_content else None)

    def _entry(self, path: bytes, found: os.stat_result) -> Entry:
        import msgspec

        entry = to_entry(path, found)
        return msgspec.structs.replace(entry, uid=self._owner.st_uid, gid=self._owner.st_gid)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _paths(top: bytes) -> Iterator[bytes]:
    """The tree's root and all below it, as paths of entries."""
    for folder, directories, names in os.walk(top):
        inside = os.path.relpath(folder, top)
        yield inside
        yield from (os.path.normpath(os.path.join(inside, name)) for name in names)
        directories.sort()


class CopyContent:
    """A file of our own that nobody else changes; tablespaces are cut by pages."""

    def __init__(self, place: bytes, entry: Entry) -> None:
        self._place = place
        self.size_hint = entry.size
        self.block_bytes = BLOCK_BYTES if _PAGED.search(entry.path) else 0

    def load(self, entry: Entry) -> tuple[Entry, bytes]:
        return entry, b"".join(self.stream(entry))

    def stream(self, entry: Entry) -> "_Pieces":
        return _Pieces(self._place, entry)


class _Pieces:
    """See engines.base.Stream."""

    def __init__(self, place: bytes, entry: Entry) -> None:
        self._place = place
        self.entry = entry

    def __iter__(self) -> Iterator[bytes]:
        try:
            with open(self._place, "rb", buffering=0) as file:
                while piece := file.read(_PIECE_BYTES):
                    yield piece
        except OSError as error:
            shown = os.fsdecode(self._place)
            raise SourceError(f"{shown}: {reason(error)}", hint="look at that disk") from error
