"""Documents for people: the runbook as Markdown and HTML, a drill's evidence as a page.

A page is one file with nothing outside of it. The templates hold words and shape; what a page
computes is here.
"""

from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from drctl.report.evidence import Proof
from drctl.units import show_bytes, show_seconds

if TYPE_CHECKING:
    from jinja2 import Environment

Document = dict[str, Any]
_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#"})
BASES = {
    "marker": "by the marker found in it",
    "consistent point": "by its consistent point",
    "journal": "by the journal",
    "not proven": "its proof did not pass",
    "none": "nothing to measure it by",
}


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    made = Environment(
        loader=PackageLoader("drctl.report"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "took": lambda seconds: "unknown" if seconds is None else show_seconds(seconds),
        "due": lambda seconds: "-" if seconds is None else show_seconds(seconds),
        "size": show_bytes,
        "moment": lambda text: f"{text[:10]} {text[11:19]} UTC",
        "md": lambda text: " ".join(str(text).split()).translate(_SPECIAL),
        "basis": lambda basis: BASES[basis],
    }
    made.filters.update(filters)
    return made


def runbook_markdown(document: Document) -> str:
    return _environment().get_template("runbook.md").render(document)


def runbook_html(document: Document) -> str:
    return _environment().get_template("runbook.html").render(document)


def drill_page(proof: Proof, signature: tuple[str, str]) -> str:
    """What a drill found. `signature`: see signers.Trust.judge."""
    d = proof.predicate
    facts = {
        "d": d,
        "evidence": {"number": proof.number, "sha256": proof.name, "previous": proof.previous},
        "signature": signature,
        "bars": _bars(d),
    }
    return _environment().get_template("drill.html").render(facts)


def _bars(d: Document) -> list[Document]:
    """Every step on one scale, in percent of the whole."""
    t = d["timing"]
    began = _seconds(d["declared_at"])
    saves = {s["step"]: s["saves_seconds"] for s in t["critical_path"]}
    ends = [_seconds(s["ended_at"]) - began for s in d["steps"] if s["ended_at"]]
    total = max([*ends, t["prepare_seconds"], 0.001])
    bars = [_bar("preparing", "done", 0.0, t["prepare_seconds"], total, None)]
    for step in d["steps"]:
        since = _seconds(step["asked_at"]) - began if step["asked_at"] else 0.0
        took = step["seconds"] if step["ended_at"] else None
        bar = _bar(step["step"], step["status"], since, took, total, saves.get(step["step"]))
        bars.append({**bar, "what": step["what"], "by": step["by"], "attempts": step["attempts"]})
    return bars


def _bar(
    name: str, status: str, since: float, took: float | None, total: float, saves: float | None
) -> Document:
    return {
        "step": name,
        "status": status,
        "seconds": took,
        "left": round(min(since / total, 1) * 100, 2),
        "width": round(max((took or 0) / total, 0.004) * 100, 2),
        "saves": saves,
        "what": "",
        "by": "",
        "attempts": 1,
    }


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
