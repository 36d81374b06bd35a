"""A log in a repository: what was appended is read back, and nothing passes for something else."""

import io
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from drctl.codec.keys import WriterCredential, new_secrets
from drctl.codec.limits import LOG_PIECE_MAX_BYTES
from drctl.codec.logpiece import stream_id
from drctl.codec.recipients import new_identity
from drctl.engines.postgres_recovery import put_as_it_is
from drctl.errors import IntegrityError, KeyUnavailable, NotFound, StorageError
from drctl.events import Silent
from drctl.logpieces import LogPiece, by_file, outlived, superseded
from drctl.ops.replicate import copy_logs, replicate
from drctl.ops.transfer import check_object
from drctl.ops.verify import Effort, verify
from drctl.repository import lifecycle, names, survey, trash
from drctl.repository.log import LogReader, LogWriter, session_of
from drctl.repository.repository import Repository
from drctl.storage.local import Local
from drctl.storage.memory import Memory

SEGMENT = "000000010000000000000003"
IDENTITY = new_identity("someone", os.urandom)


@pytest.fixture
def repository() -> Repository:
    credential = WriterCredential(new_secrets(os.urandom), (IDENTITY.recipient(),))
    return lifecycle.create(Memory(), credential, os.urandom)


@pytest.fixture
def writer(repository: Repository) -> LogWriter:
    return LogWriter(repository, stream_id(repository.secrets, "orders", "7"))


def reader(writer: LogWriter, repository: Repository) -> LogReader:
    return LogReader(repository, IDENTITY, writer.stream)


def read_file(log: LogReader, file: str) -> bytes:
    """As an engine does: the least pieces, each put where it belongs."""
    data = bytearray()
    for piece in by_file(log.pieces())[file].pieces:
        data[piece.offset :] = log.read(piece)
    return bytes(data)


def test_pieces_join_to_what_was_appended(writer, repository) -> None:
    data = os.urandom(300_000)
    writer.append(SEGMENT, 0, data[:1000])
    writer.append(SEGMENT, 1000, memoryview(data)[1000:200_000])
    writer.append(SEGMENT, 200_000, data[200_000:], whole=True)
    log = reader(writer, repository)
    assert read_file(log, SEGMENT) == data
    assert by_file(log.pieces())[SEGMENT].whole
    assert [(p.offset, p.size, p.whole) for p in log.pieces()] == [
        (0, 1000, False),
        (1000, 199_000, False),
        (200_000, 100_000, True),
    ]


def test_what_is_longer_than_a_piece_is_cut_at_its_borders(writer, repository) -> None:
    data = bytes(LOG_PIECE_MAX_BYTES - 5) + os.urandom(10)
    writer.append(SEGMENT, 0, data, whole=True)
    pieces = writer.pieces(SEGMENT)
    assert [(p.offset, p.whole) for p in pieces] == [(0, False), (LOG_PIECE_MAX_BYTES, True)]
    assert read_file(reader(writer, repository), SEGMENT) == data


def test_a_whole_file_supersedes_its_parts_and_the_writer_deletes_them(writer, repository) -> None:
    data = os.urandom(5000)
    writer.append(SEGMENT, 0, data[:2000])
    writer.append(SEGMENT, 2000, data[2000:4000])
    writer.append("000000010000000000000004", 0, b"next")
    writer.append(SEGMENT, 0, data, whole=True)
    assert len(superseded(writer.pieces())) == 2
    assert writer.clean(SEGMENT) == 2
    assert [p.size for p in writer.pieces()] == [5000, 4]
    assert read_file(reader(writer, repository), SEGMENT) == data


def test_a_file_without_bytes_and_a_gap_are_told_apart(writer) -> None:
    writer.append("empty", 0, b"", whole=True)
    writer.append(SEGMENT, 100, b"later", whole=True)
    found = by_file(writer.pieces())
    assert found["empty"].whole
    assert (found[SEGMENT].size, found[SEGMENT].whole) == (0, False)
    assert found[SEGMENT].is_torn
    writer.append(SEGMENT, 0, b"begin")
    assert by_file(writer.pieces())[SEGMENT].is_torn
    writer.append(SEGMENT, 5, bytes(95))
    assert not by_file(writer.pieces())[SEGMENT].is_torn


def test_a_writer_tells_another_content_without_opening_the_stored_one(writer) -> None:
    writer.append(SEGMENT, 0, b"mine", whole=True)
    (piece,) = writer.pieces()
    assert not writer.differs(piece, b"mine and more")
    assert writer.differs(piece, b"mind")


def test_names_of_one_file_never_bring_those_of_another(writer) -> None:
    for file in ("a", "a.history", "a.1"):
        writer.append(file, 0, file.encode(), whole=True)
    assert [p.file for p in writer.pieces("a")] == ["a"]
    assert [p.file for p in writer.pieces("a.1")] == ["a.1"]


def test_what_others_leave_among_the_pieces_keeps_nobody_from_the_log(tmp_path) -> None:
    """A file server's, a copying tool's and a person's own files."""
    source, copy = Local(str(tmp_path / "source")), Local(str(tmp_path / "copy"))
    for storage in (source, copy):
        storage.create()
    credential = WriterCredential(new_secrets(os.urandom), (IDENTITY.recipient(),))
    opened = lifecycle.create(source, credential, os.urandom)
    log = LogWriter(opened, stream_id(opened.secrets, "orders", "7"))
    log.append(SEGMENT, 0, b"wal", whole=True)
    with ThreadPoolExecutor(2) as pool:
        replicate(source, copy, pool, Silent())
        log.append(SEGMENT, 0, b"wal", whole=True)
        (*_, piece) = (info.name for info in source.list(names.LOG))
        for storage in (source, copy):
            for beside in ("log/.DS_Store", f"log/{log.stream}/.nfs0001", f"{piece}.partial"):
                storage.put(beside, b"not ours")
        assert copy_logs(source, copy, pool) == 1
        survey.look(opened, pool)
        wrong = verify(source, opened, None, Effort(100, 0), pool, Silent()).wrong
    assert sum("not the name of a piece" in what for what in wrong) == 3
    assert read_file(reader(log, opened), SEGMENT) == b"wal"


@pytest.mark.parametrize("file", ["", "../x", "a/b", ".hidden", "x" * 121, "a\0b"])
def test_a_name_that_would_lead_elsewhere_is_refused(writer, file) -> None:
    with pytest.raises(StorageError):
        writer.append(file, 0, b"x")


def moved(name: str) -> list[str]:
    """The same object under every other name that it could pretend to have."""
    folder, stream, piece, digest = name.split("/")
    file, offset, size, end, session = piece.rsplit(".", 4)
    pieces = [
        f"{file[:-1]}4.{offset}.{size}.{end}.{session}",
        f"{file}.{1:016x}.{size}.{end}.{session}",
        f"{file}.{offset}.{5:08x}.{end}.{session}",
        f"{file}.{offset}.{size}.part.{session}",
    ]
    return [
        f"{folder}/{'0' * 16}/{piece}/{digest}",
        *(f"{folder}/{stream}/{other}/{digest}" for other in pieces),
    ]


def test_a_piece_under_another_name_is_refused_by_whoever_opens_it(writer, repository) -> None:
    writer.append(SEGMENT, 0, b"wal!", whole=True)
    (piece,) = writer.pieces()
    data = repository.storage.get(piece.name)
    for name in moved(piece.name):
        repository.storage.put(name, data)
        stream = name.split("/")[1]
        log = LogReader(repository, IDENTITY, stream)
        (found,) = [p for p in log.pieces() if p.name == name]
        with pytest.raises(IntegrityError):
            log.read(found)
        with pytest.raises(IntegrityError):
            log.prove(name, data)


def test_every_changed_byte_is_seen_with_and_without_a_key(writer, repository) -> None:
    writer.append(SEGMENT, 0, b"wal", whole=True)
    (piece,) = writer.pieces()
    data = bytearray(repository.storage.get(piece.name))
    for at in range(0, len(data), 7):
        changed = bytes((*data[:at], data[at] ^ 1, *data[at + 1 :]))
        repository.storage.put(piece.name, changed, replace=True)
        with pytest.raises(IntegrityError):
            check_object("here", piece.name, changed)
        with pytest.raises(IntegrityError, match="log/"):
            reader(writer, repository).read(piece)


def test_an_identity_that_is_no_recipient_opens_nothing(writer, repository) -> None:
    writer.append(SEGMENT, 0, b"wal", whole=True)
    log = LogReader(repository, new_identity("thief", os.urandom), writer.stream)
    with pytest.raises(KeyUnavailable):
        log.read(log.pieces()[0])


def test_a_writer_whose_session_was_collected_begins_another(writer, repository) -> None:
    writer.append(SEGMENT, 0, b"old", whole=True)
    (old,) = writer.pieces()
    repository.storage.delete(old.name)
    repository.storage.delete(names.SESSIONS + session_of("here", old.name))
    writer.append(SEGMENT, 0, b"new", whole=True)
    assert read_file(reader(writer, repository), SEGMENT) == b"new"


def test_two_assets_and_two_sources_never_share_a_stream(repository) -> None:
    secrets = repository.secrets
    made = {stream_id(secrets, *words) for words in (("a", "1"), ("a", "2"), ("b", "1"))}
    assert len(made) == 3


def test_a_copy_and_a_verification_know_the_log(writer, repository) -> None:
    writer.append(SEGMENT, 0, b"wal", whole=True)
    (piece,) = writer.pieces()
    copy = Memory()
    with ThreadPoolExecutor(2) as pool:
        replicate(repository.storage, copy, pool, Silent())
        again = lifecycle.open_as_reader(copy, IDENTITY, os.urandom)
        assert LogReader(again, IDENTITY, writer.stream).read(piece) == b"wal"
        assert not verify(copy, again, IDENTITY, Effort(100, 0), pool, Silent()).wrong
        copy.delete(names.SESSIONS + session_of("here", piece.name))
        found = verify(copy, again, IDENTITY, Effort(100, 0), pool, Silent()).wrong
    assert "is missing, though log/" in found[0]


def test_a_copy_of_the_logs_alone_follows_and_drops_what_is_covered(writer, repository) -> None:
    copy = Memory()
    with ThreadPoolExecutor(2) as pool:
        replicate(repository.storage, copy, pool, Silent())
        writer.append(SEGMENT, 0, b"wa")
        assert copy_logs(repository.storage, copy, pool) == 1
        writer.append(SEGMENT, 0, b"wal", whole=True)
        writer.clean(SEGMENT)
        assert copy_logs(repository.storage, copy, pool) == 1
        assert copy_logs(repository.storage, copy, pool) == 0
    (left,) = copy.list(names.LOG)
    again = lifecycle.open_as_reader(copy, IDENTITY, os.urandom)
    assert read_file(LogReader(again, IDENTITY, writer.stream), SEGMENT) == b"wal"
    assert ".whole." in left.name


def test_a_copy_that_collects_is_not_given_again_what_it_has_done_with(writer, repository) -> None:
    """Each few seconds, and all of it: where the copy keeps less than the first repository."""
    source, copy = repository.storage, Memory()
    for number in "123":
        writer.append(f"{SEGMENT[:-1]}{number}", 0, number.encode(), whole=True)
    with ThreadPoolExecutor(2) as pool:
        replicate(source, copy, pool, Silent())
        gone = [i.name for i in copy.list(names.LOG) if f"{SEGMENT[:-1]}1" in i.name]
        gone += [i.name for i in copy.list(names.SESSIONS)]
        for name in gone:
            copy.delete(name)
        trash.storage_now_ns(copy)  # as a collection leaves it
        assert copy_logs(source, copy, pool) == 0
        writer.append(f"{SEGMENT[:-1]}4", 0, b"4", whole=True)
        writer.append("00000002.history", 0, b"1", whole=True)
        assert copy_logs(source, copy, pool) == 2
        assert len(list(copy.list(names.SESSIONS))) == 1
        for info in list(copy.list(names.TRASH)):
            copy.delete(info.name)
        assert copy_logs(source, copy, pool) == 1, "a first copying that was killed goes on"


def test_a_damaged_whole_piece_takes_no_sound_part_of_it_from_a_copy(writer, repository) -> None:
    source, copy = repository.storage, Memory()
    with ThreadPoolExecutor(2) as pool:
        replicate(source, copy, pool, Silent())
        writer.append(SEGMENT, 0, b"wa")
        copy_logs(source, copy, pool)
        writer.append(SEGMENT, 0, b"wal", whole=True)
        (whole,) = [i.name for i in source.list(names.LOG) if ".whole." in i.name]
        source.put(whole, b"x" * source.head(whole).size_bytes, replace=True)
        with pytest.raises(IntegrityError, match="not copied"):
            copy_logs(source, copy, pool)
    (left,) = copy.list(names.LOG)
    assert ".part." in left.name


class Vanishing(Memory):
    """A storage in which parts of a log go between the listing and the reading."""

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        if ".part." in name:
            raise NotFound(name, self.where)
        return super().get(name, offset, length)


def test_parts_that_go_while_they_are_copied_or_verified_are_no_damage() -> None:
    credential = WriterCredential(new_secrets(os.urandom), (IDENTITY.recipient(),))
    repository = lifecycle.create(Vanishing(), credential, os.urandom)
    writer = LogWriter(repository, stream_id(repository.secrets, "orders", "7"))
    writer.append(SEGMENT, 0, b"wa")
    writer.append(SEGMENT, 0, b"wal", whole=True)
    with ThreadPoolExecutor(2) as pool:
        copy = Memory()
        replicate(repository.storage, copy, pool, Silent())
        effort = Effort(100, 0)
        assert not verify(repository.storage, None, None, effort, pool, Silent()).wrong
    assert [".whole." in info.name for info in copy.list(names.LOG)] == [True]


def test_a_log_is_assembled_though_its_parts_go_meanwhile(writer, repository) -> None:
    writer.append(SEGMENT, 0, b"wa")
    log = reader(writer, repository)
    before = by_file(log.pieces())[SEGMENT]
    writer.append(SEGMENT, 0, b"wal", whole=True)
    writer.clean(SEGMENT)
    into = io.BytesIO(b"what an earlier try left")
    put_as_it_is(log, before, 3, into)
    assert into.getvalue() == b"wal"


def piece(file: str, offset: int, size: int, *, whole: bool = False, name: str = "") -> LogPiece:
    return LogPiece(name or f"{file}.{offset}.{size}", file, offset, size, whole, 0)


def test_of_twins_one_stays() -> None:
    twins = [piece("a", 0, 5, name="1"), piece("a", 0, 5, name="2"), piece("a", 0, 5, name="3")]
    assert [p.name for p in superseded(twins)] == ["2", "3"]


def test_a_whole_piece_is_never_covered_by_a_part() -> None:
    assert superseded([piece("a", 0, 5, whole=True), piece("a", 0, 9)]) == []


def test_overlapping_pieces_give_the_least_chain() -> None:
    pieces = [piece("a", 0, 5), piece("a", 0, 8), piece("a", 3, 9), piece("a", 12, 1, whole=True)]
    found = by_file(pieces)["a"]
    assert [(p.offset, p.size) for p in found.pieces] == [(0, 8), (3, 9), (12, 1)]


def test_what_is_older_than_the_oldest_need_is_outlived_but_histories_are_not() -> None:
    pieces = [piece(f, 0, 1) for f in ("00000002.history", "000000010000", "000000030000")]
    assert [p.file for p in outlived(pieces, "000000030000")] == ["000000010000"]


def test_what_goes_before_the_first_that_is_needed_goes_by_the_servers_order() -> None:
    binlogs = [f"binlog.{n:06d}" for n in (999_998, 999_999, 1_000_000)]
    pieces = [LogPiece(f"log/{file}", file, 0, 9, True, 0) for file in reversed(binlogs)]
    assert list(by_file(pieces)) == binlogs
    assert outlived(pieces, binlogs[0]) == []
    assert {p.file for p in outlived(pieces, binlogs[2])} == set(binlogs[:2])
