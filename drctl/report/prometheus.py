"""Numbers about runs in Prometheus' text format, for node_exporter's textfile collector.

    https://prometheus.io/docs/instrumenting/exposition_formats/

What a run does not know of stays as the run before left it. Instants stand there, not ages: an age
is right only at the moment it is written, and a file that nobody writes any more would look young.
"""

import re
from collections.abc import Callable

from msgspec import Struct

HELP = {
    "drctl_run_end_timestamp_seconds": "When a run of the command ended last.",
    "drctl_run_last_success_timestamp_seconds": "When one ended last with exit code 0.",
    "drctl_run_exit_code": "How the last one ended, by the table of exit codes.",
    "drctl_run_duration_seconds": "How long the last one took.",
    "drctl_recovery_point_timestamp_seconds": "The instant of the newest recovery point.",
    "drctl_rpo_objective_seconds": "How old it may be by the plan.",
    "drctl_rpo_met": "Whether it was young enough when it was looked at last.",
    "drctl_repository_reachable": "Whether the repository could be asked.",
    "drctl_copy_lag_seconds": "How much older a copy's newest recovery points are.",
    "drctl_copy_lag_objects": "How many objects a copy lacks.",
    "drctl_copy_lag_bytes": "How many bytes a copy lacks.",
    "drctl_snapshot_size_bytes": "What the last snapshot holds.",
    "drctl_snapshot_added_bytes": "What it added to the repository.",
    "drctl_snapshot_duration_seconds": "How long it took.",
    "drctl_snapshot_suspect": "Whether it is suspect: far from what earlier ones were like.",
    "drctl_drill_end_timestamp_seconds": "When the drill ended last.",
    "drctl_drill_passed": "Whether the last drill passed; not one that could not be done.",
    "drctl_drill_rta_seconds": "Measured: from the declaration to the last required step or check.",
    "drctl_drill_restore_seconds": "Measured: the restoring alone.",
    "drctl_drill_rpa_seconds": "Measured: the loss of data, by what came back.",
    "drctl_drill_objective_seconds": "What the drill was judged by.",
    "drctl_drill_objective_met": "Whether the objective was met; unknown is not met.",
}
_LINE = re.compile(r"(\w+)\{(.*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Sample(Struct, frozen=True, order=True):
    """One number: what it is called, and what it is of."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float

    def of(self, label: str) -> str:
        return dict(self.labels).get(label, "")


def sample(name: str, value: float, **labels: str) -> Sample:
    return Sample(name, tuple(labels.items()), float(value))


def parse(text: str) -> list[Sample]:
    """What an earlier run left here. What this version does not write is passed over."""
    found = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match and match[1] in HELP:
            labels = tuple((m[1], _unescaped(m[2])) for m in _LABEL.finditer(match[2]))
            try:
                found.append(Sample(match[1], labels, float(match[3])))
            except ValueError:
                continue  # somebody wrote there by hand
    return found


def merge(
    before: list[Sample], now: list[Sample], is_over: Callable[[Sample], bool]
) -> list[Sample]:
    """What is known now, and what was known before and is not over."""
    known = {(s.name, s.labels) for s in now}
    return [s for s in before if (s.name, s.labels) not in known and not is_over(s)] + now


def render(samples: list[Sample]) -> str:
    """Each family once, with its help; in one order, so that a change is easy to see."""
    lines = []
    for name, told in HELP.items():
        of_family = sorted(s for s in samples if s.name == name)
        if of_family:
            lines += [f"# HELP {name} {told}", f"# TYPE {name} gauge"]
            lines += [_line(s) for s in of_family]
    return "\n".join([*lines, ""])


def _line(s: Sample) -> str:
    labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in s.labels)
    return f"{s.name}{{{labels}}} {s.value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], text)
