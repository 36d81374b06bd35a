"""Results as a table, as JSON and as a picture."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmark.measure import Sample, median

STEPS = ("first", "unchanged", "changed", "restore", "verify")
COLOURS = {"drctl": "#0b6e4f", "restic": "#e0a458", "borg": "#7a9e9f", "tar+zstd": "#b8b8b8"}
Samples = dict[str, dict[str, list[Sample]]]  # tool -> step -> samples
Sizes = dict[str, list[tuple[float, float]]]  # of each tool: stored at first, growth; MiB

MEASURES = ("wall seconds", "CPU seconds", "MiB per CPU second", "peak MiB", "requests")


def table(title: str, samples: Samples, sizes: dict[str, float], data_mib: float) -> str:
    """Medians of whole processes, in Markdown."""
    lines = _lines(title, samples, STEPS, data_mib)
    for tool, mib in sizes.items():
        lines.append(f"| stored MiB | {tool} | {mib:.0f}{' |' * len(STEPS)}")
    return "\n".join(lines) + "\n"


def online_table(
    title: str, samples: Samples, steps: Sequence[str], sizes: Sizes, data_mib: float
) -> str:
    """The same of databases: what is stored at first, and by how much that grew."""
    lines = _lines(title, samples, steps, data_mib)
    for tool, pairs in sizes.items():
        columns = [statistics.median(column) for column in zip(*pairs, strict=True)]
        cells = [f"{mib:.1f}" for mib in columns] + [""] * (len(steps) - len(columns))
        lines.append(f"| stored MiB, growth | {tool} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _lines(title: str, samples: Samples, steps: Sequence[str], data_mib: float) -> list[str]:
    runs = ", ".join(f"{tool} {len(found[steps[0]])}" for tool, found in samples.items())
    lines = [
        f"### {title}: {data_mib:.0f} MiB",
        "",
        f"Medians; runs: {runs}.",
        "",
        f"| | | {' | '.join(steps)} |",
        "|---" * (len(steps) + 2) + "|",
    ]
    for measure in MEASURES:
        for tool, found in samples.items():
            cells = [_cell(measure, found.get(step), data_mib) for step in steps]
            if any(cells):
                lines.append(f"| {measure} | {tool} | {' | '.join(cells)} |")
    return lines


def _cell(measure: str, found: list[Sample] | None, data_mib: float) -> str:
    if not found:
        return ""
    middle = median(found)
    return {
        "wall seconds": f"{middle.wall_seconds:.1f}",
        "CPU seconds": f"{middle.cpu_seconds:.1f}",
        "MiB per CPU second": f"{data_mib / middle.cpu_seconds:.0f}",
        "peak MiB": f"{middle.rss_mib:.0f}",
        "requests": f"{middle.requests:.0f}" if middle.requests else "",
    }[measure]


def document(samples: Samples, sizes: dict[str, float], data_mib: float) -> dict[str, object]:
    """Everything measured, single runs included."""
    return {
        "data_mib": data_mib,
        "stored_mib": sizes,
        "samples": {
            tool: {step: [asdict(s) for s in found] for step, found in steps.items()}
            for tool, steps in samples.items()
        },
    }


def write_json(path: Path, result: dict[str, object]) -> None:
    path.write_text(json.dumps(result, indent=1) + "\n")


def picture(path: Path, results: dict[str, Samples]) -> None:
    """Bars of the medians, with the slowest and the quickest run. Needs matplotlib."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "drctl"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, len(results), figsize=(5.2 * len(results), 3.4), squeeze=False
    )
    for axis, (title, samples) in zip(axes[0], results.items(), strict=True):
        _bars(axis, samples)
        axis.set_title(title)
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="upper center", ncols=4, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.92))
    figure.savefig(path, metadata={"Date": None})


def _bars(axis: Any, samples: Samples) -> None:
    """A group of bars for each step."""
    width = 0.8 / len(samples)
    for i, (tool, steps) in enumerate(samples.items()):
        offset = (i - (len(samples) - 1) / 2) * width
        for x, step in enumerate(STEPS):
            walls = sorted(s.wall_seconds for s in steps.get(step, ()))
            if not walls:
                continue
            middle = median(steps[step]).wall_seconds
            spread = [[middle - walls[0]], [walls[-1] - middle]]
            label = tool if x == 0 else None
            axis.bar(x + offset, middle, width, yerr=spread, color=COLOURS[tool], label=label)
            text = f"{middle:.1f}"
            axis.annotate(text, (x + offset, walls[-1]), ha="center", va="bottom", fontsize=6)
    axis.set_xticks(range(len(STEPS)), STEPS)
    axis.set_ylabel("seconds, less is better")
    axis.spines[["top", "right"]].set_visible(False)
