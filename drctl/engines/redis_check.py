"""What redis-check-rdb says of a dump: whether it is whole, and what it holds.

The program reads every key and the checksum at the end. It also says at which byte each database
begins; there the dump itself says how many keys that database has, and how many of them expire.
"""

import re
import subprocess

from msgspec import Struct

from drctl.engines.child import find_program, running
from drctl.errors import DrctlError

PACKAGE = "redis-tools"
_WHOLE = "RDB looks OK!"
_AUX = re.compile(r"\[offset \d+\] AUX FIELD ([\w-]+) = '(.*)'")
_DATABASE = re.compile(r"\[offset (\d+)\] Selecting DB ID (\d+)")
_SIZES = 0xFB  # the opcode before the two numbers
_WORDS = 400  # characters of what it said


class Dump(Struct, frozen=True):
    """A whole dump. `lasting`: database -> keys that do not expire, which is what stays comparable
    after a restore; `expiring`: how many do, in all databases."""

    aux: dict[str, str]
    lasting: dict[str, int]
    expiring: int

    @property
    def counts(self) -> dict[str, int]:
        """With the names of Standing.counts."""
        return {f"keys.{database}": keys for database, keys in self.lasting.items() if keys}


def check(path: str, shown: str, error: type[DrctlError]) -> Dump:
    """Raises `error` unless the dump is whole."""
    program = find_program("redis-check-rdb")
    if program is None:
        raise error(
            f"{shown}: redis-check-rdb is missing: the dump cannot be proven whole",
            hint=f"on Debian: apt-get install {PACKAGE}",
        )
    try:
        with running((program, path), stdout=subprocess.PIPE) as child:
            said = child.output.read().decode("utf-8", "backslashreplace")
            status = child.wait()
    except OSError as failure:
        raise error(f"{shown}: {program} cannot be run: {failure.strerror}") from failure
    if status or _WHOLE not in said:
        raise error(f"{shown}: the dump is not whole: {_complaint(said)}", hint=_hint(said))
    return _learn(path, said)


def _complaint(said: str) -> str:
    """Its last words, without the banner."""
    told = [line for line in said.splitlines() if line.strip() and not line.startswith("---")]
    wrong = [line for line in told if not _AUX.match(line) and "Checking RDB" not in line]
    return " ".join(wrong)[:_WORDS] or "redis-check-rdb said nothing"


def _hint(said: str) -> str:
    if "RDB format version" in said:
        return "the redis-check-rdb here is older than the server: install the server's version"
    return "nothing was kept, and earlier snapshots stay; look at the server's log and its memory"


def _learn(path: str, said: str) -> Dump:
    lasting, expiring = {}, 0
    with open(path, "rb") as file:
        for offset, database in _DATABASE.findall(said):
            file.seek(int(offset))
            keys, limited = _sizes(file.read(20))
            lasting[f"db{database}"] = keys - limited
            expiring += limited
    return Dump(dict(_AUX.findall(said)), lasting, expiring)


def _sizes(data: bytes) -> tuple[int, int]:
    """Keys, and how many of them expire. No numbers there: an old server's dump has none."""
    if data[:1] != bytes([_SIZES]):
        return 0, 0
    keys, rest = _number(data[1:])
    return keys, _number(rest)[0]


def _number(data: bytes) -> tuple[int, bytes]:
    """A length as a dump writes it: 6 bits, 14 bits, 32 or 64 bits, big-endian."""
    kind = data[0] >> 6
    if kind == 0:
        return data[0] & 0x3F, data[1:]
    if kind == 1:
        return (data[0] & 0x3F) << 8 | data[1], data[2:]
    width = 8 if data[0] == 0x81 else 4
    return int.from_bytes(data[1 : 1 + width], "big"), data[1 + width :]
