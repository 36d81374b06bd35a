"""After a run: its numbers go to the file that the plan names, beside those of other runs."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from drctl.cli.context import Context
from drctl.cli.ended import Ended
from drctl.cli.recovering import source_of_drill
from drctl.cli.standing import stand, stand_document
from drctl.errors import Busy, DrctlError, ExitCode, StorageError
from drctl.plan.model import Plan
from drctl.report.prometheus import Sample, merge, parse, render, sample
from drctl.wiring import Wiring

_LOOKING = ("backup", "replicate")  # after these a look shows what has changed
_DRILLED = "drctl_drill_passed"
# Of these nothing follows for whether a recovery would come out well.
_NO_DRILL = (ExitCode.USAGE, ExitCode.PLAN, ExitCode.BUSY, ExitCode.INTERRUPTED)
_WAIT_SECONDS = 5.0
_TRIES = 50
Document = dict[str, Any]


def keep_metrics(context: Context, ended: Ended, textfile: str) -> None:
    """Raises DrctlError."""
    wiring = ended.wiring
    path = os.path.join(wiring.loaded.base, textfile)
    plan = wiring.loaded.plan
    seen = _seen(context, ended)
    now = [*_of_run(plan.name, ended), *_of_result(ended)]
    now += _of_standing(plan, seen) if seen else []
    silent = {r["repository"] for r in seen.get("repositories", ()) if r["trouble"]}
    alone = {c["repository"] for c in seen.get("copies", ()) if c["lag_objects"] is None}
    drill = ended.subject if ended.command == "drill" else ""
    measured = "objectives" in ended.document

    def is_over(s: Sample) -> bool:
        """It tells of what the plan has no more, or of what was looked at anew. What was known of
        a repository that did not answer stays: a point that grows old raises the alarm, one that
        vanishes cannot."""
        if s.of("plan") != plan.name:
            return False
        if drill and s.of("drill") == drill:
            return measured or any(known.name == s.name for known in now)
        unseen = alone if s.name in _COMPARED else silent
        looked_anew = bool(seen) and s.name in _LOOKED_AT and s.of("repository") not in unseen
        return _is_gone(plan, s) or looked_anew

    with _alone(wiring, os.path.dirname(path)):
        _replace(path, render(merge(_before(path), now, is_over)))


_COMPARED = frozenset({"drctl_copy_lag_seconds", "drctl_copy_lag_objects", "drctl_copy_lag_bytes"})
_LOOKED_AT = _COMPARED | {
    "drctl_recovery_point_timestamp_seconds",
    "drctl_rpo_objective_seconds",
    "drctl_rpo_met",
    "drctl_repository_reachable",
}


def _is_gone(plan: Plan, s: Sample) -> bool:
    known = {"asset": plan.assets, "repository": plan.repositories, "drill": plan.drills}
    return any(s.of(label) and s.of(label) not in names for label, names in known.items())


# -- what is told ---------------------------------------------------------------------------------


def _of_run(plan: str, ended: Ended) -> Iterator[Sample]:
    labels = {"plan": plan, "command": ended.command, "subject": ended.subject}
    at_seconds = ended.at_ns / 1e9
    yield sample("drctl_run_end_timestamp_seconds", at_seconds, **labels)
    yield sample("drctl_run_exit_code", ended.exit_code, **labels)
    yield sample("drctl_run_duration_seconds", round(ended.seconds, 3), **labels)
    if ended.exit_code == ExitCode.DONE:
        yield sample("drctl_run_last_success_timestamp_seconds", at_seconds, **labels)


def _seen(context: Context, ended: Ended) -> Document:
    """How things stand, where the run came to look; else nothing. One whose storage failed looks,
    too: which one does not answer is what people are waiting for."""
    if ended.command == "status":
        return ended.document
    if ended.command in _LOOKING and (ended.document or ended.exit_code == ExitCode.STORAGE):
        try:
            return stand_document(stand(ended.wiring, context.pool()))
        except DrctlError as error:  # how the run ended is told all the same
            ended.wiring.warn(f"the metrics do not tell how things stand: {error.what}")
    return {}


def _of_result(ended: Ended) -> Iterator[Sample]:
    plan, document = ended.wiring.loaded.plan, ended.document
    if ended.command == "backup":
        yield from _of_snapshots(ended.wiring, document)
    if ended.command == "drill" and "objectives" in document:
        yield from _of_drill(plan.name, ended.subject, document)
    elif ended.command == "drill" and ended.exit_code not in _NO_DRILL and not ended.is_mistyped:
        yield _not_drilled(ended)


def _of_snapshots(wiring: Wiring, document: Document) -> Iterator[Sample]:
    plan = wiring.loaded.plan
    for s in document.get("snapshots", ()):
        of_asset = {"plan": plan.name, "asset": s["asset"]}
        yield sample("drctl_snapshot_size_bytes", s["size_bytes"], **of_asset)
        yield sample("drctl_snapshot_added_bytes", s["added_bytes"], **of_asset)
        yield sample("drctl_snapshot_duration_seconds", s["seconds"], **of_asset)
        yield sample("drctl_snapshot_suspect", bool(s["suspect"]), **of_asset)


def _of_standing(plan: Plan, document: Document) -> Iterator[Sample]:
    site = {name: part.site for name, part in plan.repositories.items()}
    for s in document["assets"]:
        of_asset = {"plan": plan.name, "asset": s["asset"]}
        at = {**of_asset, "repository": s["repository"], "site": site[s["repository"]]}
        if s["recovery_point"]:
            instant = _seconds(s["recovery_point"])
            yield sample("drctl_recovery_point_timestamp_seconds", instant, **at)
        if s["rpo_seconds"] is not None:
            yield sample("drctl_rpo_met", s["verdict"] == "met", **at)
    for name, rpo in {s["asset"]: s["rpo_seconds"] for s in document["assets"]}.items():
        if rpo is not None:
            yield sample("drctl_rpo_objective_seconds", rpo, plan=plan.name, asset=name)
    for r in document["repositories"]:
        at = {"plan": plan.name, "repository": r["repository"], "site": site[r["repository"]]}
        yield sample("drctl_repository_reachable", not r["trouble"], **at)
    for copy in document["copies"]:
        at = {"plan": plan.name, "repository": copy["repository"], "site": site[copy["repository"]]}
        for what in ("seconds", "objects", "bytes"):
            if copy[f"lag_{what}"] is not None:
                yield sample(f"drctl_copy_lag_{what}", copy[f"lag_{what}"], **at)


def _of_drill(plan: str, drill: str, document: Document) -> Iterator[Sample]:
    of_drill = {"plan": plan, "drill": drill, "repository": document["repository"]["name"]}
    ended_seconds = _seconds(document["finished_at"])
    yield sample("drctl_drill_end_timestamp_seconds", ended_seconds, **of_drill)
    yield sample(_DRILLED, document["verdict"] == "passed", **of_drill)
    restored = document["timing"]["restore_seconds"]
    yield sample("drctl_drill_restore_seconds", restored, **of_drill)
    for j in document["objectives"]:
        labels = {**of_drill, "asset": j["asset"]}
        of_objective = {**labels, "objective": "rpo" if j["what"] == "rpa" else "rto"}
        if j["measured_seconds"] is not None:
            yield sample(f"drctl_drill_{j['what']}_seconds", j["measured_seconds"], **labels)
        if j["objective_seconds"] is not None:
            due = j["objective_seconds"]
            yield sample("drctl_drill_objective_seconds", due, **of_objective)
            yield sample("drctl_drill_objective_met", j["answer"] == "met", **of_objective)


def _not_drilled(ended: Ended) -> Sample:
    """One that could not be carried out has not passed, whatever the one before did."""
    plan, drill = ended.wiring.loaded.plan, ended.subject
    source = source_of_drill(ended.wiring, plan.drills[drill])
    return sample(_DRILLED, 0, plan=plan.name, drill=drill, repository=source)


def _seconds(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()


# -- the file -------------------------------------------------------------------------------------


@contextmanager
def _alone(wiring: Wiring, directory: str) -> Iterator[None]:
    """One run at a time reads and replaces files of this directory: itself is what is locked, so
    that nothing else lies in it. Raises Busy, StorageError."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(
            f"{directory}: {error.strerror}", hint="make it, or change metrics.textfile"
        ) from error
    try:
        for _ in range(_TRIES):
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            wiring.clock.sleep(_WAIT_SECONDS / _TRIES)
        else:
            raise Busy(f"{directory}: another program holds its lock")
        yield
    finally:
        os.close(descriptor)


def _before(path: str) -> list[Sample]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return parse(file.read())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


def _replace(path: str, text: str) -> None:
    """The collector, another user, reads the old or the new."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=os.path.dirname(path), prefix=".drctl-", delete=False
        ) as file:
            try:
                file.write(text)
                os.fchmod(file.fileno(), 0o644)
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
