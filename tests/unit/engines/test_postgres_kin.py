"""What a base's own WAL tells of the log that is stored under its names."""

import os
from typing import Any

import pytest

from drctl.codec.keys import WriterCredential, new_secrets
from drctl.codec.limits import LOG_PIECE_MAX_BYTES
from drctl.codec.recipients import new_identity
from drctl.engines.postgres_kin import Held, Reach, sized_apart, stored_apart
from drctl.logpieces import LogPiece
from drctl.repository import lifecycle
from drctl.repository.log import LogWriter
from drctl.storage.memory import Memory

EACH = 1 << 20
FIRST, MIDDLE, LAST = (f"0000000100000000000000{n:02X}" for n in (4, 5, 6))


class Log(LogWriter):
    """Counts what is compared, and may be cleaned by another one just before that."""

    asked = 0
    goes = b""

    def holds(self, file: str, *parts: bytes) -> "Log":
        at = 0
        for part in parts:
            self.append(file, at, part, whole=at + len(part) == EACH)
            at += len(part)
        return self

    def differs(self, piece: LogPiece, plain: Any) -> bool:
        self.asked += 1
        if self.goes:
            self.append(piece.file, 0, self.goes, whole=True)
            self.goes = b""
            self.clean(piece.file)
        return super().differs(piece, plain)


def log() -> Log:
    identity = new_identity("someone", os.urandom)
    credential = WriterCredential(new_secrets(os.urandom), (identity.recipient(),))
    return Log(lifecycle.create(Memory(), credential, os.urandom), bytes(8))


def apart(stored: Log, own: dict[str, bytes], most: int = 7 * EACH) -> str:
    def read(file: str, offset: int, size: int) -> bytes:
        return own.get(file, b"")[offset : offset + size]

    told = stored_apart(stored, [FIRST, MIDDLE, LAST], Reach(most, EACH), read)
    return told.removeprefix("of ").partition(" ")[0]


def test_the_first_and_the_last_segment_tell_whose_log_it_is() -> None:
    own = dict.fromkeys((FIRST, MIDDLE, LAST), b"a" * EACH)
    assert apart(log(), own) == ""
    assert apart(log().holds(FIRST, b"a" * EACH), own) == ""
    assert apart(log().holds(FIRST, b"a" * 9, b"b"), own) == FIRST
    assert apart(log().holds(FIRST, b"a" * EACH).holds(LAST, b"b" * 9), own) == LAST
    assert apart(log().holds(LAST, b"b" * 9), {FIRST: b"a" * EACH}) == "", "it does not have that"


def test_of_a_standby_what_it_has_not_got_yet_is_not_compared() -> None:
    own = {LAST: b"a" * 100 + b"old"}
    stored = log().holds(LAST, b"a" * 100, b"new")
    assert apart(stored, own, most=6 * EACH + 100) == ""
    assert apart(stored, own, most=6 * EACH + 103) == LAST


def test_of_many_parts_a_few_are_compared_and_of_parts_that_went_what_took_their_place() -> None:
    own = {FIRST: b"a" * EACH}
    many = log().holds(FIRST, *([b"a"] * 30))
    assert apart(many, own) == ""
    assert many.asked == 8
    cleaned = log().holds(FIRST, b"a", b"a")
    cleaned.goes = b"aa" + b"b" * (EACH - 2)
    assert apart(cleaned, own) == FIRST


@pytest.mark.parametrize("segment", [EACH, LOG_PIECE_MAX_BYTES * 2])
def test_of_what_comes_over_the_wire_the_first_and_the_last_are_held(segment: int) -> None:
    held = Held()
    for file, content in ((FIRST, b"a"), (MIDDLE, b"b"), (LAST, b"c"), ("00000001.history", b"x")):
        for at in range(0, segment if file != "00000001.history" else 1, EACH):
            held.take(file, at, content * EACH)
    end = min(segment, LOG_PIECE_MAX_BYTES)
    assert held.get(FIRST, 0, end) == b"a" * end
    assert held.get(MIDDLE, 0, end) == b""
    assert held.get(LAST, segment - end, end) == b"c" * end
    assert held.get(FIRST, end - 10, 20) == b"a" * 10, "a piece that is not all there"


def test_a_log_whose_segments_have_another_size_is_not_gone_on_with() -> None:
    stored = log().holds(FIRST, b"a" * EACH)
    stored.append("00000001.history", 0, b"x", whole=True)
    stored.append(MIDDLE, 0, b"cut", whole=True)
    assert sized_apart(stored.pieces(), EACH) == ""
    assert sized_apart(log().pieces(), EACH) == ""
    told = f"its segments, as {FIRST}, have 1.0 MiB, and the server's 64.0 MiB"
    assert sized_apart(stored.pieces(), 64 * EACH) == told
