"""Whoever stole a writer credential can write what they like: a reader is told, in bounded time and
memory, and never led out of its target or into a traceback."""

import io
import os
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_site import History

from drctl.cli.context import Context
from drctl.codec import documents, entries, table
from drctl.codec.documents import Manifest, Refs
from drctl.codec.entries import BlockInfo, Root
from drctl.codec.table import PackTable, Segment
from drctl.errors import DrctlError, IntegrityError, UsageError
from drctl.events import Phase, Progress
from drctl.model import Entry, Kind, Snapshot
from drctl.report.reporters import Terminal
from drctl.report.results import entry_line, snapshot_document, snapshot_table
from drctl.repository import catalog, lifecycle, names
from drctl.repository.index import Index
from drctl.repository.survey import Needs
from drctl.repository.writer import Writer
from drctl.storage.memory import Memory
from drctl.units import show_instant

ANY = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 2**16)
OWNER = st.integers(0, 2**32 - 2) | st.sampled_from([0, 65534])
NUMBER = st.integers(0, 2**31 - 1) | st.integers(0, 9)
FORGED = st.builds(
    Entry,
    path=st.sampled_from([b"a", b"a/b", b".", b"x" * 300, b"d/" * 60 + b"e", b"\xff"]),
    kind=st.integers(1, 8),
    mode=st.integers(0, 0o7777),
    uid=OWNER,
    gid=OWNER,
    mtime_ns=ANY,
    size=st.integers(0, 2**63 - 1) | st.sampled_from([0, 5]),
    blobs=st.booleans().map(lambda has: b"?" * 32 if has else b""),
    link=st.sampled_from([b"", b"a", b"../../etc", b"/etc/passwd", b"l" * 5000]),
    device=st.none() | st.tuples(NUMBER, NUMBER),
    xattrs=st.lists(
        st.tuples(st.sampled_from([b"user.a", b"bad", b"x" * 400, b"\xff"]), st.binary(max_size=4)),
        max_size=2,
    ).map(tuple),
    extents=st.sampled_from([(), (0, 0), (0, 5), (2, 3)]),
    problem=st.sampled_from(["", "told"]),
)


def forged(history: History, block: list[Entry]) -> tuple[Memory, Snapshot]:
    """A snapshot of exactly these entries, made with the writer credential alone."""
    storage, site = history.storage(), history.site
    repository = lifecycle.open_as_writer(storage, site.credential, os.urandom)
    writer = Writer(repository, repository.load_index(lambda _: None), site.pool, 3)
    content = writer.add(b"12345")
    held = [
        entry if entry.blobs != b"?" * 32 else Entry(**{**fields(entry), "blobs": content})
        for entry in block
    ]
    tree = writer.add(entries.encode_block(held), tree=True)
    root = writer.add(entries.encode_root(Root((BlockInfo(b"", tree, len(block)),))), tree=True)
    manifest = Manifest("a", "files", "h", 1, 2, 3, len(block), 5, 6, 0, root, writer.finish())
    return storage, catalog.commit(repository, manifest)


def fields(entry: Entry) -> dict[str, object]:
    return {name: getattr(entry, name) for name in entry.__struct_fields__}


@settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(block=st.lists(FORGED, min_size=1, max_size=3))
def test_forged_entries_stay_in_the_target_and_are_told(tiny, tmp_path, block) -> None:
    """Where they ask for what cannot be, the restore says so in its own words."""
    storage, made = forged(tiny, block)
    top = tmp_path / os.urandom(8).hex()
    (top / "outside").mkdir(parents=True)
    try:
        tiny.site.restore_to(storage, made.name, top / "target")
    except DrctlError as error:
        assert error.what  # noqa: PT017 - it may refuse, too
    assert [path.name for path in top.iterdir() if path.name != "target"] == ["outside"]
    assert list((top / "outside").iterdir()) == []


@pytest.mark.parametrize(
    "entry",
    [
        Entry(b"a", int(Kind.FILE), uid=2**32 - 1),
        Entry(b"a", int(Kind.FILE), mode=0o10000),
        Entry(b"a", int(Kind.FILE), size=-1),
        Entry(b"a", 9),
        Entry(b"a", int(Kind.SYMLINK), link=b"a\0b"),
        Entry(b"a", int(Kind.HARDLINK), link=b"../a"),
        Entry(b"a", int(Kind.FILE), xattrs=((b"user.\0", b""),)),
        Entry(b"a", int(Kind.FILE), size=9, extents=(0,)),
        Entry(b"a", int(Kind.FILE), size=9, extents=(-1, 2)),
        Entry(b"a", int(Kind.FILE), size=9, extents=(4, 2, 3, 1)),
        Entry(b"a", int(Kind.FILE), size=9, extents=(4, 6)),
        Entry(b"a", int(Kind.BLOCK_DEVICE), device=(2**40, 1)),
    ],
)
def test_an_entry_that_no_system_can_take_is_refused_when_it_is_read(entry) -> None:
    with pytest.raises(IntegrityError):
        entries.decode_block(entries.encode_block([entry]))


@settings(deadline=None, max_examples=200)
@given(numbers=st.lists(ANY, min_size=7, max_size=7), text=st.text(max_size=20))
def test_any_manifest_can_be_listed(numbers, text) -> None:
    """One absurd snapshot must not keep the others from being listed."""
    plain = documents.encode_struct(Manifest(text, text, text, *numbers, b"b" * 32, text))
    shown = catalog.snapshot("0" * 64, documents.decode_manifest(plain))
    assert snapshot_document(shown)
    assert show_instant(shown.consistent_at_ns)


def test_what_a_thief_named_is_one_cell_of_one_line(capsys) -> None:
    """A line end would tell of a snapshot that is not there."""
    named, shown = "a\n[/red]\x1b[2J\ud800", "a\\n[/red]\\x1b[2J\\ud800"
    rows = snapshot_table(
        [
            catalog.snapshot(host * 64, Manifest(named, "", host, 1, 2, 3, 1, 5, 6, 0, b"", ""))
            for host in ("h\n", "i")
        ]
    )
    assert [line.split()[1] for line in rows.splitlines()[1:]] == [f"{shown}@h\\n", f"{shown}@i"]
    entry = entry_line(Entry(b"a", int(Kind.FILE), problem=named), "a")
    assert entry.endswith(f"a  ({shown})")
    with pytest.raises(UsageError, match="confirmed"):
        Context().confirm(f"{named}?", yes=False)
    assert capsys.readouterr().err == "a\n[/red]\\x1b[2J\\ud800?\n"


def test_what_a_thief_named_neither_ends_nor_moves_the_bar(monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    told = io.StringIO()
    told.isatty = lambda: True
    terminal = Terminal(told)
    terminal.emit(Phase("a\n[/red]\x1b[7J\ud800"))
    terminal.emit(Progress(1, 2, 3))
    terminal.close()
    assert "a\\n[/red]\\x1b[7J\\ud800" in told.getvalue()
    assert "\x1b[7J" not in told.getvalue()


def test_refs_that_claim_everything_cost_neither_time_nor_memory(tiny) -> None:
    storage, site = tiny.storage(), tiny.site
    repository = lifecycle.open_as_writer(storage, site.credential, os.urandom)
    plain = documents.encode_struct(Refs({b"s" * 16: [0, 2**62, 2**62, 2**62]}))
    refs = repository.put_meta(names.REFS, documents.REFS_MAGIC, plain)
    root = catalog.manifest(repository, tiny.newest).root
    catalog.commit(repository, Manifest("a", "files", "h", 1, 2, 3, 4, 5, 6, 0, root, refs))
    tracemalloc.start()
    began = time.process_time()
    wrong = site.verified(storage)
    assert time.process_time() - began < 20
    assert tracemalloc.get_traced_memory()[1] < 200 << 20
    tracemalloc.stop()
    assert any(f"{2**63} segments" in one for one in wrong)


@pytest.mark.parametrize("is_known", [False, True])
def test_an_index_of_segments_that_cannot_be_is_refused(is_known) -> None:
    """Found by scripts/torture: their blobs lie beyond what an offset can say."""
    one = Segment(
        b"s" * 16, 0, 8, 100, 30, 1, tuple((bytes([i]) * 32, 2**32 - 1) for i in range(3))
    )
    index = Index()
    if is_known:
        index.add(table.encode([PackTable(b"p" * 32, ())]))
    with pytest.raises(IntegrityError):
        index.add(table.encode([PackTable(b"p" * 32, ()), PackTable(b"q" * 32, (one,))]))
    assert not index.knows_pack(b"q" * 32)


@pytest.mark.parametrize("packs", [1, 2])
def test_an_index_that_names_no_packs_ends_no_command(tiny, packs) -> None:
    one = Segment(b"s" * 16, 0, 8, 100, 30, 1, ((b"i" * 32, 30),))
    plain = table.encode([PackTable(b"", (one,))] * packs)
    with pytest.raises(IntegrityError):
        Index().add(plain)
    storage, site = tiny.storage(), tiny.site
    repository = lifecycle.open_as_writer(storage, site.credential, os.urandom)
    name = repository.put_meta(names.INDEX, documents.INDEX_MAGIC, plain)
    assert any(name in what for what in site.verified(storage))
    for snapshot, tree in tiny.trees.items():
        assert site.restored(storage, snapshot) == tree
    site.backup(storage, "his-state")


def test_a_block_that_snapshots_share_is_told_of_each(tiny) -> None:
    """Only those that are named are not whole, says the command."""
    storage, first = forged(tiny, [Entry(b"a", int(Kind.FILE), size=5, blobs=b"!" * 32)])
    repository = lifecycle.open_as_writer(storage, tiny.site.credential, os.urandom)
    second = Manifest("b", "files", "h", 9, 9, 9, 1, 5, 6, 0, first.root, first.refs)
    made = catalog.commit(repository, second)
    wrong = tiny.site.verified(storage)
    for who in (first, made):
        assert any(who.short in what and "1 of its blobs" in what for what in wrong)


def test_needs_that_claim_everything_are_counted_at_once() -> None:
    needs = Needs([Refs({b"s" * 16: [5, 2**62, 2**62, 2**62]})])
    here = {(b"s" * 16, 4), (b"s" * 16, 5), (b"s" * 16, 2**62 + 9), (b"t" * 16, 5)}
    assert needs.lost(here) == 2**63 - 5 - 2


def test_a_target_is_where_it_was(tmp_path: Path, tiny) -> None:
    """The negative control: entries that are sound come back."""
    storage, made = forged(tiny, [Entry(b"a", int(Kind.FILE), 0o600, size=5, blobs=b"?" * 32)])
    tiny.site.restore_to(storage, made.name, tmp_path / "target")
    assert (tmp_path / "target" / "a").read_bytes() == b"12345"
