"""The tools that copy a running database, and drctl told to do the same.

`data` is where the server's files are, `socket` where it listens.
"""

import shutil
import subprocess
from pathlib import Path

from benchmark.pgdata import PORT, ROLE
from benchmark.tools import Argv, Drctl, Tool


class Online(Tool):
    """One of them. All keep what they store encrypted, compressed by zstd at level 3."""

    def __init__(self, work: Path, data: Path, socket: Path) -> None:
        super().__init__(work, data, None)
        self.socket = socket

    def again(self) -> Argv:
        """The backup after the load."""
        return self.backup()

    def complete(self, restored: Path) -> None:
        """What a restored copy needs to start, where that is not the tool's work."""


class DrctlPostgres(Drctl, Online):
    """Beside the server. No stream keeps WAL, so that of the backup is in each snapshot."""

    def __init__(self, work: Path, data: Path, socket: Path) -> None:
        super().__init__(work, data, socket)
        where = f"host: {socket}, port: {PORT}, database_role: {ROLE}"
        self.asset = f"postgres: {{{{{where}, mode: local}}}}"


class PgBackRest(Online):
    """Without an archive: it need not wait for WAL, and what it stores has none in it."""

    name = "pgbackrest"

    def prepare(self) -> None:
        folders = {name: str(self.work / name) for name in ("lock", "spool", "repository")}
        options = {
            "CONFIG": "/dev/null",
            "STANZA": "data",
            "CMD": shutil.which("pgbackrest") or "",
            "LOCK_PATH": folders["lock"],
            "SPOOL_PATH": folders["spool"],
            "LOG_LEVEL_FILE": "off",
            "LOG_LEVEL_CONSOLE": "warn",
            "REPO1_PATH": folders["repository"],
            "REPO1_CIPHER_TYPE": "aes-256-cbc",
            "REPO1_CIPHER_PASS": "bench",
            "REPO1_BUNDLE": "y",
            "REPO1_BLOCK": "y",
            "REPO1_RETENTION_FULL": "9",
            "COMPRESS_TYPE": "zst",
            "COMPRESS_LEVEL": "3",
            "PROCESS_MAX": "2",
        }
        self.environment |= {f"PGBACKREST_{key}": value for key, value in options.items()}
        self.call(["pgbackrest", *self._server(), "stanza-create", "--no-online"])

    def _server(self) -> Argv:
        return [f"--pg1-path={self.data}", f"--pg1-socket-path={self.socket}",
                f"--pg1-port={PORT}", f"--pg1-user={ROLE}"]  # fmt: skip

    def _backup(self, kind: str) -> Argv:
        words = [f"--type={kind}", "--start-fast", "--no-archive-check"]
        return ["pgbackrest", *self._server(), *words, "backup"]

    def backup(self) -> Argv:
        return self._backup("full")

    def again(self) -> Argv:
        return self._backup("incr")

    def restore(self, to: Path) -> Argv:
        to.mkdir(mode=0o700)
        words = [f"--pg1-path={to}", "--recovery-option=restore_command=false"]
        return ["pgbackrest", *words, "restore"]

    def complete(self, restored: Path) -> None:
        """WAL, as an archive would give it."""
        for segment in (self.data / "pg_wal").glob("0*"):
            subprocess.run(["cp", "-p", str(segment), str(restored / "pg_wal")], check=True)


class DrctlMariadb(Drctl, Online):
    """What mariadb-backup reads goes straight into the repository."""

    mode = "pipe"

    def __init__(self, work: Path, data: Path, socket: Path) -> None:
        super().__init__(work, data, socket)
        self.asset = f"mariadb: {{{{host: {socket}, user: root, mode: {self.mode}}}}}"


class DrctlMariadbCopy(DrctlMariadb):
    """mariadb-backup into the state directory, then from there into the repository."""

    name = "drctl, copy"
    mode = "copy"


_COPY = """\
set -o pipefail
mariadb-backup --no-defaults --backup --stream=xbstream --parallel=2 --user=root \\
  --socket="$0" --datadir="$1" --target-dir="$2.tmp" |
  zstd -q -3 -T2 | openssl enc -aes-256-ctr -pbkdf2 -pass env:BENCH_WORD >"$2" && sync "$2"
"""
_BACK = """\
set -o pipefail
openssl enc -d -aes-256-ctr -pbkdf2 -pass env:BENCH_WORD <"$0" | zstd -q -d | mbstream -x -C "$1"
mariadb-backup --no-defaults --prepare --target-dir="$1" && sync -f "$1"
"""


class Pipe(Online):
    """The limit: nothing deduplicated, nothing authenticated, every copy whole."""

    name = "pipe"

    def prepare(self) -> None:
        self.environment["BENCH_WORD"] = "bench"
        self.repository().mkdir()

    def backup(self) -> Argv:
        return self._copy("full")

    def again(self) -> Argv:
        return self._copy("again")

    def _copy(self, name: str) -> Argv:
        to = self.repository() / name
        return ["bash", "-c", _COPY, str(self.socket), str(self.data), str(to)]

    def restore(self, to: Path) -> Argv:
        to.mkdir()
        return ["bash", "-c", _BACK, str(self.repository() / "again"), str(to)]

    def complete(self, restored: Path) -> None:
        """It belongs to the user that the server runs as."""
        found = self.data.stat()
        owner = f"{found.st_uid}:{found.st_gid}"
        subprocess.run(["chown", "-R", owner, str(restored)], check=True)
