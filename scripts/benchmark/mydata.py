"""A server of MariaDB with tables of its own, running."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.data import settle
from benchmark.ending import ending_with_us

_TABLES = 4
_ROW = "md5(seq), sha2(seq * 7, 256), repeat(char(97 + seq % 26), 60), rand(seq) * 1000000"


class MariaDB:
    """Tables of rows that compress as a shop's do: half text, half numbers and digests."""

    name = "mariadb"

    def __init__(self, top: Path, rows: int) -> None:
        self.path = top / "mariadb"
        self.socket = top / "mariadb-socket" / "socket"
        self._rows = rows
        self._user = "mysql" if os.geteuid() == 0 else ""

    def make(self) -> None:
        if self.path.exists():
            return
        partial = self.path.with_name("mariadb.partial")
        shutil.rmtree(partial, ignore_errors=True)
        words = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        words += [f"--user={self._user}"] if self._user else []
        argv = ["mariadb-install-db", "--no-defaults", f"--datadir={partial}", *words]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        with self.serving(partial):
            self.sql("create database shop")
            for table in range(_TABLES):
                self._fill(table)
        partial.rename(self.path)
        settle()

    def _fill(self, table: int) -> None:
        columns = "id int primary key, a char(32), b char(64), c varchar(60), d double, key (d)"
        self.sql(f"create table shop.t{table} ({columns})")
        made = f"select seq, {_ROW} from shop.seq_1_to_{self._rows}"  # noqa: S608
        # Not in the binlog, which no base holds: it would be as large as the tables.
        self.sql(f"set sql_log_bin = 0; insert into shop.t{table} {made}")

    def change(self) -> None:
        """One row in two hundred, spread over all of it; then all pages reach the disk."""
        for table in range(_TABLES):
            rows = f"id % 200 = {table}"
            self.sql(f"update shop.t{table} set b = sha2(rand(), 256) where {rows}")  # noqa: S608
        self.sql("set global innodb_max_dirty_pages_pct_lwm = 0, innodb_max_dirty_pages_pct = 0")
        time.sleep(10)
        settle()

    def state(self) -> str:
        """What a restored copy must have, too."""
        return "".join(
            self.sql(f"select count(*), sum(crc32(b)) from shop.t{table}")  # noqa: S608
            for table in range(_TABLES)
        )

    @contextmanager
    def serving(self, path: Path) -> Iterator[None]:
        """While it runs, on a socket."""
        self.socket.parent.mkdir(exist_ok=True)
        self.socket.parent.chmod(0o777)
        log = f"--log-error={self.socket.parent}/log"
        words = [f"--datadir={path}", f"--socket={self.socket}", log]
        words += ["--skip-networking", "--log-bin=binlog", "--binlog-format=ROW", "--server-id=7"]
        words += ["--sync-binlog=1", "--innodb-buffer-pool-size=512M"]
        argv = ending_with_us(["mariadbd", "--no-defaults", *words], self._user)
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self._wait(process)
            yield
        finally:
            process.terminate()
            process.wait()

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        ask = ["mariadb-admin", "--no-defaults", f"--socket={self.socket}", "-uroot", "ping"]
        for _ in range(300):
            if subprocess.run(ask, capture_output=True, check=False).returncode == 0:
                return
            if process.poll() is not None:
                break
            time.sleep(0.2)
        raise SystemExit(f"bench: MariaDB does not answer; see {self.socket.parent}/log")

    def sql(self, statement: str) -> str:
        argv = ["mariadb", "--no-defaults", f"--socket={self.socket}", "-uroot", "-N"]
        done = subprocess.run(
            [*argv, "-e", statement], check=True, stdout=subprocess.PIPE, text=True
        )
        return done.stdout
