"""What a base is told by the server before it is copied, and by mariadb-backup about the copy."""

import json
import os
import pwd
import re
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from drctl.engines.base import Surroundings
from drctl.engines.mariadb_alike import ASKED, plugins_of
from drctl.engines.mariadb_client import (
    Access,
    ask,
    identity_of,
    program,
    program_version,
    series,
)
from drctl.engines.mariadb_zone import zone_of
from drctl.engines.unfinished import refuse_to_save
from drctl.errors import SourceError
from drctl.events import Notice

if TYPE_CHECKING:
    from pymysql.connections import Connection

BLOCK_BYTES = 32 * 1024  # a multiple of InnoDB's pages; its largest are two blocks
BACKUP = ("mariadb-backup", "mariabackup")
PACKAGE = "mariadb-backup"
# How often the redo log is looked at. Commits are held back until it was looked at once more: for a
# second, left to itself.
LOOK_OFTEN = "--log-copy-interval=50"
HELD = re.compile(r"Acquired locks for BACKUP STAGE BLOCK_COMMIT")
# From here on the server holds something back until mariadb-backup is done.
LOCKING = re.compile(r"Starting BACKUP STAGE (FLUSH|BLOCK_DDL|BLOCK_COMMIT)")
_PAGED = re.compile(rb"(\.ibd|\.new|undo\d+|ibdata\d+)$")
_OVERTAKEN = re.compile(r"try increasing (the )?innodb_log_file_size|log block", re.IGNORECASE)
_ANOTHERS = "it has not been overwritten; check whether the server and backup configuration are"
_ELSEWHERE = (
    "the server may run in a container, or on another host, and another one's files lie here: run "
    "drctl where its own are, or say 'dump: true'"
)
_ROOM = 1.05


class Looked:
    """What the server says of itself before it is copied. Raises SourceError."""

    def __init__(self, server: "Connection[Any]", asset: str, around: Surroundings) -> None:
        self._asset = asset
        self._around = around
        self._variables = dict(_variables(server))
        version = self._variables["version"]
        if "MariaDB" not in version:
            raise SourceError(
                f"{asset}: the server is {version}, and mariadb-backup copies only MariaDB",
                hint="'dump: true' takes a logical dump",
            )
        self.datadir = self._variables["datadir"]
        self.identity = identity_of(server)
        self._flushed = _lsn(server, "Innodb_lsn_flushed")
        self._zone, self._plugins = zone_of(server), plugins_of(server)
        self.facts = {
            "mariadb": version,
            "page_size": self._variables["innodb_page_size"],
            "lower_case_table_names": self._variables["lower_case_table_names"],
        }
        self._check()

    @property
    def has_binlog(self) -> bool:
        return self._variables["log_bin"] == "ON"

    def _check(self) -> None:
        if not os.path.isdir(self.datadir):
            raise SourceError(
                f"{self._asset}: {self.datadir} is not here: mariadb-backup reads the server's "
                "files",
                hint="run drctl on the server's host as root or as the server's user, "
                "or say 'dump: true'",
            )
        refuse_to_save(self._asset, os.fsencode(self.datadir))
        if not self.has_binlog:
            what = f"{self._asset}: log_bin is off: it can be restored to its snapshots only"
            self._around.report.emit(Notice("warning", what))
        elif self._variables["sync_binlog"] != "1":
            what = f"{self._asset}: sync_binlog is not 1: a crash of the host may lose binlog"
            self._around.report.emit(Notice("warning", what))

    def refuse_anothers(self, access: Access, copied: dict[str, str]) -> None:
        """That the server names a directory which is here, too, says little: its own may be in a
        container. The log of a copy of it ends between where the server was before and is now.
        Raises SourceError."""
        try:
            with access.connect() as server:
                now = _lsn(server, "Innodb_lsn_current")
        except SourceError as error:
            what = f"{self._asset}: whether the copy is of this server was not asked: {error.what}"
            self._around.report.emit(Notice("warning", what))
            return
        if now and not self._flushed <= int(copied["lsn"]) <= now:
            raise SourceError(
                f"{self._asset}: what lies in {self.datadir} is not of the server at "
                f"{access.settings.shown}: it ends at LSN {copied['lsn']}, and the server's log "
                f"was at {self._flushed} before, and at {now} after the copy",
                hint=_ELSEWHERE,
            )

    def tool(self) -> str:
        """mariadb-backup reads pages and logs as one series of the server writes them."""
        found = program(*BACKUP, package=PACKAGE)
        version = program_version(found)
        self.facts["mariadb_backup"] = version
        if not version or series(version) != series(self.facts["mariadb"]):
            raise SourceError(
                f"{self._asset}: {found} is of version {version or 'unknown'}, "
                f"the server of {self.facts['mariadb']}: it cannot copy this server",
                hint="install the mariadb-backup of the server's series",
            )
        return found

    def private_facts(self, position: dict[str, str]) -> dict[str, str]:
        """What a restore needs."""
        return {
            "form": "base",
            "datadir": self.datadir,
            "owner": name_of(os.stat(self.datadir).st_uid),
            "mariadb": self.facts["mariadb"],
            **{name: self._variables[name] for name in ASKED},
            "plugins": self._plugins,
            "binlog": json.dumps(position),
            "time_zone": self._zone,
        }

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
    *ASKED,
    "log_bin",
    "log_bin_basename",
    "sync_binlog",
)


def _variables(server: "Connection[Any]") -> dict[str, str]:
    """Global variables by name; one that this version does not have is empty."""
    listed = ", ".join(f"'{name}'" for name in _ASKED)
    found = ask(server, f"show global variables where variable_name in ({listed})")
    return dict.fromkeys(_ASKED, "") | {str(name): str(value) for name, value in found}


def _lsn(server: "Connection[Any]", name: str) -> int:
    """0: this version does not tell."""
    found = ask(server, f"show global status where variable_name = '{name}'")
    return int(found[0][1]) if found else 0


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


class Said:
    """What mariadb-backup wrote beside the files. `read` gives a file's text by its newer and its
    older name, empty where there is none."""

    def __init__(self, read: Callable[[str], str], asset: str) -> None:
        self._read = read
        self._asset = asset

    def position(self) -> dict[str, str]:
        """Where the binlog stood at the consistent point; empty without one."""
        text = self._either("binlog_info")
        parts = text.rstrip("\n").split("\t")
        if len(parts) < 2:
            return {}
        gtid = parts[2] if len(parts) > 2 else ""
        return {"file": parts[0], "position": parts[1], "gtid": gtid}

    def facts(self) -> dict[str, str]:
        """Raises SourceError."""
        position = self.position()
        binlog = {"binlog": f"{position['file']}:{position['position']}"} if position else {}
        return {**self._lsn(), **binlog, "gtid": position.get("gtid", "")}

    def _lsn(self) -> dict[str, str]:
        """Every copy has these; without them nothing could be prepared. Raises SourceError."""
        found = re.search(r"last_lsn = (\d+)", self._either("checkpoints"))
        if not found:
            raise SourceError(
                f"{self._asset}: mariadb-backup wrote no checkpoints: this is not a whole copy",
                hint="nothing was kept; run it again",
            )
        return {"lsn": found[1]}

    def _either(self, name: str) -> str:
        return self._read(f"xtrabackup_{name}") or self._read(f"mariadb_backup_{name}")


def block_bytes(path: bytes) -> int:
    """Tablespaces are cut by pages; see engines.base.Content."""
    return BLOCK_BYTES if _PAGED.search(path) else 0


def is_overtaken(words: str) -> bool:
    """Whether the server overwrote its redo log before mariadb-backup had read it."""
    return bool(_OVERTAKEN.search(words)) and _ANOTHERS not in words


def hint_of(words: str, scratch: str) -> str:
    """What helps where mariadb-backup failed with these words."""
    if is_overtaken(words):
        return "the redo log is too small for this load: raise innodb_log_file_size"
    if _ANOTHERS in words:
        return _ELSEWHERE
    if "No space left" in words or "Errcode: 28" in words or "errno 28" in words:
        return f"make room in {scratch}, or point DRCTL_STATE_DIR to a larger disk"
    if "Access denied" in words:
        return "grant what docs/engines/mariadb.md names"
    if "Permission denied" in words or "Errcode: 13" in words:
        return "drctl must run as root, or as the user that the server runs as"
    return "nothing was kept, and earlier snapshots stay; see docs/engines/mariadb.md"


def name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
