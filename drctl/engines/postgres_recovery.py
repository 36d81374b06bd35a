"""What makes a restored data directory recover: configuration, WAL, how far to go.

The WAL lies in pg_wal before the server starts, so that replay needs neither drctl nor a key nor a
network, cannot mistake a passing fault for the end of the log, and copies nothing twice.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import BinaryIO

from drctl.engines import postgres_layout as layout
from drctl.engines.base import Goal, Log
from drctl.engines.log_read import as_it_is
from drctl.engines.postgres_client import lsn_of
from drctl.engines.postgres_server import programs
from drctl.engines.postgres_wal import Base, number_of
from drctl.errors import IntegrityError, TargetRefused
from drctl.logpieces import LogFile
from drctl.private import passing_directory

_HEAD = (
    "# Written by drctl: how this cluster recovers. Remove it once it is up and you are content.",
    "# Its subscriptions rest until then: a copy would take rows that the original waits for.",
)
_NAME = re.compile(r"\s*(\w*)")
_COMMIT = re.compile(r"desc: (?:COMMIT|ABORT)\S* (?:\d+: )?(\S+ \S+) UTC")  # also of _PREPARED
_LOG_ENDS = (
    "error in WAL record",
    "could not find a valid record",
    "header specifies 0 bytes",  # nothing of the segment was written
)
_TARGETS = {
    "immediate": "recovery_target",
    "time": "recovery_target_time",
    "lsn": "recovery_target_lsn",
    "name": "recovery_target_name",
    "transaction": "recovery_target_xid",
}
_KEPT_ASIDE = ("port", "listen_addresses")
_ZEROS_BYTES = 1 << 20
Buffer = bytes | memoryview


def auto_conf(before: str, goal: Goal, timeline: str) -> str:
    """postgresql.auto.conf: what was set, without what an earlier recovery left, and ours. What
    postgresql.conf says of a recovery is overruled, too: it was meant for another one."""
    own = {
        "restore_command": "false",
        "archive_mode": "off",
        "archive_cleanup_command": "",
        "recovery_end_command": "",
        "recovery_min_apply_delay": "0",
        "primary_conninfo": "",
        "primary_slot_name": "",
        "synchronous_standby_names": "",
        "max_logical_replication_workers": "0",
        "recovery_target_timeline": timeline,
        **_target(goal),
    }
    lines = before.removesuffix("\n").split("\n") if before else []  # a value may have U+2028 in it
    kept = [line for line in lines if _name(line) not in own and line.strip() not in _HEAD]
    return "\n".join([*kept, *_HEAD, *(f"{k} = {_quoted(v)}" for k, v in own.items()), ""])


def _name(line: str) -> str:
    """Of the setting in a line; empty: there is none."""
    found = _NAME.match(line)
    return found[1].lower() if found else ""


def _target(goal: Goal) -> dict[str, str]:
    """None at all for the latest: a target that the log does not reach would end in an error. The
    one that is sought comes last: PostgreSQL takes any behind it for a second one, also empty."""
    sought = _TARGETS.get(goal.kind, "")
    value = show_time(int(goal.value)) if goal.kind == "time" else goal.value
    return {
        "recovery_target_inclusive": "on",
        "recovery_target_action": "promote",
        **dict.fromkeys((name for name in _TARGETS.values() if name != sought), ""),
        **({sought: value or goal.kind} if sought else {}),
    }


def show_time(at_ns: int) -> str:
    """Exact to the microsecond, as commits are; what is finer is cut off."""
    at = datetime.fromtimestamp(at_ns // 10**9, UTC)
    return f"{at:%Y-%m-%d %H:%M:%S}.{at_ns // 1000 % 10**6:06d}+00"


def _quoted(value: str) -> str:
    """As configuration files have it, where a backslash escapes and a line's end ends."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n") + "'"


def main_conf(settings: str) -> str:
    """postgresql.conf for a cluster whose own lay outside its data directory, as on Debian."""
    known: dict[str, str] = json.loads(settings or "{}")
    lines = [f"{name} = {_quoted(value)}" for name, value in sorted(known.items())]
    head = "# Written by drctl: this cluster's configuration lay outside its data directory."
    return "\n".join([head, *lines, ""])


def access_conf(text: str) -> str:
    """pg_hba.conf; without the cluster's own, only users of this machine under their own names."""
    return text or "# Written by drctl: the cluster's own could not be read.\nlocal all all peer\n"


# -- WAL ------------------------------------------------------------------------------------------


def assemble(log: Log, file: LogFile, segment_bytes: int) -> bytes:
    """All of a small file. Raises IntegrityError."""
    return b"".join(filled(log, file, segment_bytes))


def filled(log: Log, file: LogFile, segment_bytes: int) -> Iterator[Buffer]:
    """A file's bytes, a piece at a time: a segment may have 1 GiB. One that the server was still
    writing is filled up with zeros, as its own would be. Raises IntegrityError."""
    is_segment = layout.SEGMENT.fullmatch(file.file)
    if is_segment and file.whole and file.size != segment_bytes:
        raise IntegrityError(
            f"{file.file} is {file.size} bytes long in the repository, not {segment_bytes}",
            hint="it was cut before it was stored; restore up to before it, with --at",
        )
    yield from stored(log, file)
    for at in range(file.size, segment_bytes if is_segment else 0, _ZEROS_BYTES):
        yield bytes(min(_ZEROS_BYTES, segment_bytes - at))


def stored(log: Log, file: LogFile) -> Iterator[Buffer]:
    """What is there of a file, a piece at a time. A piece may reach into the next one. Raises
    IntegrityError."""
    at = 0
    for piece in file.pieces:
        if at < file.size:
            part = memoryview(log.read(piece))[at - piece.offset : file.size - piece.offset]
            at += len(part)
            yield part


def put_as_it_is(log: Log, file: LogFile, segment_bytes: int, into: BinaryIO) -> None:
    """The bytes of a file of a log that is being written meanwhile. Raises IntegrityError,
    OSError."""

    def put(now: LogFile) -> None:
        into.seek(0)
        into.truncate()
        for part in filled(log, now, segment_bytes):
            into.write(part)

    as_it_is(log, file, put)


def replayed(brought: Iterable[str], way: Iterable[str]) -> list[str]:
    """The names of the segments that are replayed, newest first: what the snapshot brought, then
    the way from there. Where a timeline was left in a segment both bring one of the same number,
    and the way's holds all that is replayed of it."""
    names = (name for name in (*sorted(brought), *way) if layout.SEGMENT.fullmatch(name))
    return [name for _, name in sorted({name[8:]: name for name in names}.items(), reverse=True)]


def newest_commit(top: str, segments: Iterable[str], major: int, segment_bytes: int) -> str:
    """When the newest commit in the log was, as text; empty: there is none. Replay can stop at an
    instant before it, and only there: PostgreSQL refuses what it takes for a target that was
    missed. `segments` come newest first, and each is read with the one behind it, in which its last
    record may go on. Raises TargetRefused."""
    reader = os.path.join(programs(major), "pg_waldump")
    wal = os.path.join(os.path.abspath(top), "pg_wal")
    numbered: dict[int, str] = {}
    with passing_directory() as folder:
        for name in segments:
            number = number_of(name, segment_bytes)
            # pg_waldump follows the names of one timeline, and the log may change over to another.
            numbered[number] = os.path.join(folder, "00000001" + name[8:])
            os.symlink(os.path.join(wal, name), numbered[number])
            words = [numbered[each] for each in (number, number + 1) if each in numbered]
            if newest := max(_COMMIT.findall(dumped(reader, "Transaction", words)), default=""):
                return newest
    return ""


def is_before(at_ns: int, commit: str) -> bool:
    """Whether an instant lies before a commit's time."""
    return commit > show_time(at_ns).removesuffix("+00")


def dumped(reader: str, kind: str, words: list[str]) -> str:
    """What pg_waldump says of the records of a kind. Raises TargetRefused."""
    try:
        done = subprocess.run(
            [reader, f"--rmgr={kind}", *words],
            capture_output=True,
            text=True,
            errors="replace",
            env={"TZ": "UTC", "LC_ALL": "C", "PATH": os.defpath},
            check=False,
        )
    except OSError as error:
        raise TargetRefused(
            f"pg_waldump cannot be run: {error.strerror}",
            hint="it comes with the server's own programs",
        ) from error
    refuse_unread(done.returncode, done.stderr)
    return done.stdout


def refuse_unread(status: int, words: str) -> None:
    """That the end of the last segment does not read is how a log ends; what else pg_waldump fails
    for is an error. Raises TargetRefused."""
    if status and not any(end in words for end in _LOG_ENDS):
        said = words.strip() or f"exit status {status}"
        raise TargetRefused(f"pg_waldump failed: {said}", hint="it comes with the server's own")


def major_of(private_facts: Mapping[str, str]) -> int:
    """The server's version. Raises TargetRefused where the snapshot does not tell it."""
    known = json.loads(private_facts["cluster"]).get("major")
    if not isinstance(known, int):
        raise TargetRefused("the snapshot does not tell its server's version")
    return known


def base_of(private_facts: Mapping[str, str]) -> Base:
    """What a snapshot tells of itself. Raises IntegrityError for one that tells nothing."""
    try:
        known = json.loads(private_facts["cluster"])
        end = lsn_of(private_facts["wal_end"])
        each = int(known["segment_bytes"])
        reached = max(0, end - 1) // each - bool(known.get("last_is_open"))
        return Base(int(known["timeline"]), each, reached, end)
    except (KeyError, ValueError, TypeError) as error:
        raise IntegrityError("the snapshot does not say where its WAL begins") from error
