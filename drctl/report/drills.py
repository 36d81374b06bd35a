"""A drill's document as text within 80 columns."""

from collections.abc import Iterator
from typing import Any

from drctl.units import count, show_seconds

Document = dict[str, Any]
_WIDTH = 80
_BAR = 24
_BASES = {
    "marker": "by the marker",
    "consistent point": "by its consistent point",
    "journal": "by the journal",
    "not proven": "its proof did not pass",
    "none": "nothing to measure it by",
}


def drill_text(d: Document) -> str:
    """The whole drill on a screen."""
    source = d["repository"]
    about = f"{d['plan']['name']} from {source['name']} (site {source['site']}), {d['picked']}"
    if d["isolation"] and d.get("mode", "drill") != "drill":
        about += f"; the steps of {d['mode']}"
    what = f"drill {d['drill']}" if d["isolation"] else d["mode"]
    head = "\n".join([f"{what}: {d['verdict'].upper()}", *_wrapped(about, "  ")])
    blocks = [head, *filter(None, (_reasons(d), _objectives(d), _time(d), _checks(d), _around(d)))]
    return "\n\n".join(blocks)


def _reasons(d: Document) -> str:
    return "\n".join(line for reason in d["reasons"] for line in _wrapped(reason, "  ! "))


def _wrapped(text: str, front: str) -> Iterator[str]:
    line = front
    for word in text.split():
        if len(line) + len(word) > _WIDTH and line.strip():
            yield line.rstrip()
            line = " " * len(front)
        line += f"{word} "
    yield line.rstrip()


def _objectives(d: Document) -> str:
    lines = [f"  {'':24}{'measured':>10}{'objective':>12}   verdict"]
    for j in d["objectives"]:
        name = f"{j['what'].upper()} {j['asset']}".strip()[:23]
        measured = (
            "unknown" if j["measured_seconds"] is None else show_seconds(j["measured_seconds"])
        )
        due = "-" if j["objective_seconds"] is None else show_seconds(j["objective_seconds"])
        answer = j["answer"].upper() if j["answer"] in {"missed", "unknown"} else j["answer"]
        basis = f", {_BASES[j['basis']]}" if j["what"] == "rpa" else ""
        lines.append(f"  {name:24}{measured:>10}{due:>12}   {answer}{basis}")
    t = d["timing"]
    shares = (
        f"machine {show_seconds(t['machine_seconds'])}, "
        f"people {show_seconds(t['human_seconds'])}; "
        f"restoring alone took {show_seconds(t['restore_seconds'])}"
    )
    lines.append(f"  of the RTA: {shares}")
    if d["left_out"]:
        lines += _wrapped(f"the RTA leaves out: {', '.join(d['left_out'])}", "  ")
    return "\n".join(lines)


def _time(d: Document) -> str:
    """Every step on one scale; those of the critical path are marked, with what each would save."""
    t = d["timing"]
    total = max(t["machine_seconds"] + t["human_seconds"], 0.001)
    saves = {s["step"]: s["saves_seconds"] for s in t["critical_path"]}
    lines = [f"  {'step':24}{'took':>8}  {'since the declaration':{_BAR}}  would save"]
    lines.append(_line("(preparing)", t["prepare_seconds"], 0.0, total, ""))
    began = _instant(d["declared_at"])
    for step in d["steps"]:
        if step["ended_at"] is None:
            lines.append(f"  {step['step'][:23]:24}{'-':>8}  {step['status']}")
            continue
        since = _instant(step["asked_at"]) - began
        saved = show_seconds(saves[step["step"]]) if step["step"] in saves else ""
        name = step["step"] if step["status"] == "done" else f"! {step['step']}"
        lines.append(_line(name, step["seconds"], since, total, saved))
    return "\n".join(lines)


def _instant(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def _line(name: str, seconds: float, since: float, total: float, saved: str) -> str:
    begin = min(int(since / total * _BAR), _BAR - 1)
    length = max(1, min(round(seconds / total * _BAR), _BAR - begin))
    bar = "." * begin + ("#" if saved else "=") * length
    line = f"  {name[:23]:24}{show_seconds(seconds):>8}  {bar:.<{_BAR}}  {saved}"
    return line.rstrip()


def _checks(d: Document) -> str:
    lines = [f"  {'check':30}{'':9}{'on an empty':13}{'on a damaged':14}took"]
    for c in d["checks"]:
        state = {True: "ok", False: "FAILED", None: "-"}[c["ok"]]
        took = "" if c["seconds"] is None else show_seconds(c["seconds"])
        empty, damaged = (_control(c[key]) for key in ("on_empty", "on_damaged"))
        lines.append(f"  {c['check'][:29]:30}{state:9}{empty:13}{damaged:14}{took}".rstrip())
        if c["ok"] is False or c["proves"] is False:
            lines += _wrapped(str(c["found"]), "    ")
    return "\n".join(lines)


def _control(found: str) -> str:
    return {"failed": "fails", "passed": "passes", "not tried": "-"}[found]


def _around(d: Document) -> str:
    i = d["isolation"]
    if i is None:
        return "\n".join(f"  undone: {name}" for name, what in d["undone"].items() if not what)
    tried = count(len(i["tried"]), "place", "places")
    if i["proven"]:
        text = f"isolation proven: {tried} of production tried from inside, none reached"
    else:
        text = f"isolation NOT proven: {i['why_not'] or '; '.join(i['reached'])}"
    lines = list(_wrapped(text, "  "))
    if "site_gone" in d:
        gone = d["site_gone"]
        text = f"site gone: nothing of {d['host']} in view but the kit and {gone['in_view']}"
        lines += _wrapped(f"{text}; {gone['network']}", "  ")
    left = d["left_behind"]
    lines.append("  torn down: nothing is left" if not left else f"  LEFT: {'; '.join(left)}")
    lines += [f"  undone: {name}" for name, what in d["undone"].items() if not what]
    return "\n".join(lines)
