"""Put a snapshot back, whole or in part: how it is done, and told.

Apart from the command's own module, so that the identity is being opened while this one, and all
that it needs, is loaded.
"""

import os
from typing import Any

from drctl.cli import restore_database, restore_group
from drctl.cli.context import Context, instant
from drctl.cli.goals import check_delta, goal_of, named_point
from drctl.cli.reading import open_for_reading
from drctl.errors import ExitCode
from drctl.ops.restore import RestoreResult
from drctl.report.results import problem_documents, snapshot_document
from drctl.units import count, show_bytes, show_seconds


def put_back(
    context: Context,
    *,
    snapshot: str,
    to: str,
    at: str | None,
    until: str | None,
    timeline: str,
    paths: tuple[str, ...],
    database: str | None,
    delta: bool,
    repository: str | None,
    identity_path: str | None,
) -> int:
    """See the command `restore`, whose words these are."""
    opened = open_for_reading(context, repository, identity_path, [snapshot], at)
    at_ns = instant(opened.wiring, at)
    if restore_group.is_group(opened, snapshot):
        restore_group.refuse(bool(until or paths or delta or database or timeline != "latest"))
        context.interrupted_hint = _what_may_go(to)
        return _conclude_all(context, restore_group.restored(opened, snapshot, to, at_ns), to)
    picked = opened.pick(snapshot, named_point(opened.found, until) if at_ns is None else at_ns)
    goal = goal_of(picked, at_ns, until, timeline)
    if at_ns is None and snapshot.partition("@")[0] == picked.asset:
        picked = opened.leading_to(picked, goal)
    if database:
        restore_database.check(picked, to, is_partial=bool(paths or delta))
        done = restore_database.restored(opened, picked, goal, database, to)
        context.result(_document(done, to), _text(done, f"a private place, and {database} to {to}"))
        return _code([done])
    check_delta(picked.engine, delta=delta, paths=paths)
    root = opened.root(picked)
    wanted = opened.paths(root, paths)
    context.interrupted_hint = _what_may_go(to, delta=delta)
    done = opened.restore(picked, root, to, goal, wanted, delta=delta)
    context.result(_document(done, to), _text(done, to) + _elsewhere(context, [done]))
    return _code([done])


def _what_may_go(to: str, *, delta: bool = False) -> str:
    """For whoever breaks a restore off. What stood there before it began, such as production in a
    place that was named by mistake, must never be taken for what it left."""
    if delta:
        return f"{to} is no whole cluster now: give the same command again"
    if os.path.lexists(to) and not _is_empty_directory(to):
        return f"remove nothing of what stood in {to} before; what was restored is not whole"
    return f"{to} is not whole: remove it and restore again"


def _is_empty_directory(path: str) -> bool:
    try:
        return not os.listdir(path)
    except OSError:
        return False


def _elsewhere(context: Context, done: list[RestoreResult]) -> str:
    """What is damaged here may be sound in another repository."""
    plan = context.load()
    if not any(result.damaged for result in done) or len(plan.plan.repositories) < 2:
        return ""
    names = ", ".join(plan.plan.repositories)
    return (
        f"\nwhat is damaged may be sound in another repository ({names}): restore it to another "
        "place with --from, what is lost alone with --path; 'drctl verify --repair' mends it"
    )


def _conclude_all(context: Context, done: list[tuple[RestoreResult, str]], to: str) -> int:
    documents = [_document(result, place) for result, place in done]
    text = "\n".join(_text(result, place) for result, place in done)
    text += _elsewhere(context, [result for result, _ in done])
    context.result({"to": to, "restored": documents}, text)
    return _code([result for result, _ in done])


def _code(done: list[RestoreResult]) -> ExitCode:
    if any(result.damaged for result in done):
        return ExitCode.INTEGRITY
    return ExitCode.PARTIAL if any(result.problems for result in done) else ExitCode.DONE


def _document(done: RestoreResult, to: str) -> dict[str, Any]:
    return {
        "snapshot": snapshot_document(done.snapshot),
        "to": to,
        "entries": done.entries,
        "size_bytes": done.size_bytes,
        "seconds": round(done.seconds, 3),
        "damaged": done.damaged,
        "entry_problems": problem_documents(done.problems),
    }


def _text(done: RestoreResult, to: str) -> str:
    head = (
        f"restored {count(done.entries, 'entry', 'entries')}, {show_bytes(done.size_bytes)}, "
        f"in {show_seconds(done.seconds)} to {to}"
    )
    if not done.problems:
        return head
    damaged = (
        f"; {count(done.damaged, 'is', 'are')} DAMAGED in the repository" if done.damaged else ""
    )
    there = count(len(done.problems), "entry is", "entries are")
    return f"{head}\n{there} not as saved{damaged}"
