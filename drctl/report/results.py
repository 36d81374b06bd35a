"""Results as JSON documents and as text within 80 columns."""

from collections.abc import Container, Iterable, Sequence
from typing import Any

from drctl.events import EntryProblem
from drctl.model import Entry, Kind, Snapshot
from drctl.units import iso_instant, show_bytes, show_instant, show_line, show_path

_LETTERS = {
    Kind.FILE: "-",
    Kind.DIRECTORY: "d",
    Kind.SYMLINK: "l",
    Kind.HARDLINK: "h",
    Kind.FIFO: "p",
    Kind.CHARACTER_DEVICE: "c",
    Kind.BLOCK_DEVICE: "b",
    Kind.SOCKET: "s",
}


def snapshot_document(s: Snapshot) -> dict[str, Any]:
    """A snapshot for programs. Times are UTC, sizes bytes."""
    return {
        "id": s.name,
        "asset": s.asset,
        "engine": s.engine,
        "host": s.host,
        "consistent_at": iso_instant(s.consistent_at_ns),
        "started_at": iso_instant(s.started_at_ns),
        "finished_at": iso_instant(s.finished_at_ns),
        "status": s.status,
        "suspect": s.suspect,
        "entries": s.entries,
        "size_bytes": s.size_bytes,
        "added_bytes": s.added_bytes,
        "problems": s.problems,
        "tags": list(s.tags),
        "plan_digest": s.plan_digest,
        "drctl_version": s.version,
        "facts": s.facts,
    }


def entry_document(entry: Entry, path: str) -> dict[str, Any]:
    """An entry for programs. `path` is shown; `path_hex` is exact where it is not UTF-8."""
    document = {
        "path": path,
        "kind": Kind(entry.kind).name.lower(),
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "mtime_ns": entry.mtime_ns,
        "size_bytes": entry.size,
    }
    if path.encode("utf-8", "surrogateescape") != entry.path:
        document["path_hex"] = entry.path.hex()
    if entry.link:
        document["link"] = show_path(entry.link)
    if entry.problem:
        document["problem"] = entry.problem
    return document


def problem_documents(problems: Iterable[EntryProblem]) -> list[dict[str, str]]:
    return [{"path": p.path, "what": p.what} for p in problems]


def asset_names(snapshots: Iterable[Snapshot]) -> dict[str, str]:
    """The asset of each, by the snapshot's name; ASSET@HOST where more than one host saved it."""
    hosts: dict[str, set[str]] = {}
    given = tuple(snapshots)
    for s in given:
        hosts.setdefault(s.asset, set()).add(s.host)
    return {s.name: f"{s.asset}@{s.host}" if len(hosts[s.asset]) > 1 else s.asset for s in given}


def snapshot_table(snapshots: Sequence[Snapshot], held: Container[str] = ()) -> str:
    """One line each, oldest first."""
    named = asset_names(snapshots)
    rows = [
        (
            s.short,
            named[s.name],
            show_instant(s.consistent_at_ns),
            show_bytes(s.size_bytes),
            f"+{show_bytes(s.added_bytes)}",
            _remark(s, is_held=s.name in held),
        )
        for s in snapshots
    ]
    return table(("snapshot", "asset", "consistent at", "size", "added", ""), rows, right=(3, 4))


def _remark(s: Snapshot, *, is_held: bool) -> str:
    remarks = ("partial" if s.status == "partial" else "", "SUSPECT" if s.suspect else "")
    group = s.facts.get("group", "")
    return " ".join(r for r in (*remarks, "held" if is_held else "", group) if r)


def entry_line(entry: Entry, path: str) -> str:
    """As `ls -l` would, in one line."""
    letter = _LETTERS[Kind(entry.kind)]
    link = show_path(entry.link)
    arrow = {Kind.SYMLINK: f" -> {link}", Kind.HARDLINK: f" = {link}"}.get(Kind(entry.kind), "")
    note = f"  ({show_line(entry.problem)})" if entry.problem else ""
    when = show_instant(entry.mtime_ns)[:16]
    return f"{letter}{entry.mode:04o} {show_bytes(entry.size):>10} {when} {path}{arrow}{note}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns as wide as their widest cell, two spaces apart; each row is one line."""
    rows = [[show_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(padded).rstrip()

    return "\n".join(line(cells) for cells in (head, *rows))
