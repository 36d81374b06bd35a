"""A drill's document as JUnit XML, which every CI system reads."""

from typing import Any
from xml.etree import ElementTree as ET

Document = dict[str, Any]


def junit(d: Document) -> str:
    """One suite: each step, each check, each objective, and the drill itself."""
    suite = ET.Element("testsuite", name=f"drctl drill {d['drill']}", timestamp=d["declared_at"])
    for step in d["steps"]:
        fault = "" if step["status"] == "done" else step["what"] or step["status"]
        _case(suite, "step", step["step"], step["seconds"], fault)
    for check in d["checks"]:
        fault = "" if check["ok"] else check["found"]
        if check["proves"] is False:
            fault = fault or "it passes where it must fail, so it proves nothing"
        _case(suite, "check", check["check"], check["seconds"], fault)
    for j in d["objectives"]:
        fault = f"{j['answer']}: {j['measured_seconds']} s of {j['objective_seconds']} s"
        is_bad = j["answer"] in {"missed", "unknown"}
        name = f"{j['what']} {j['asset']}".strip()
        _case(suite, "objective", name, j["measured_seconds"], fault if is_bad else "")
    fault = "" if d["verdict"] == "passed" else "; ".join(d["reasons"]) or d["verdict"]
    _case(suite, "drill", d["drill"], d["timing"]["rta_seconds"], fault)
    failures = str(len(suite.findall("testcase/failure")))
    suite.attrib |= {"tests": str(len(suite)), "failures": failures, "errors": "0"}
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: ET.Element, kind: str, name: str, seconds: float | None, fault: str) -> None:
    case = ET.SubElement(
        suite, "testcase", classname=f"drctl.{kind}", name=name, time=f"{seconds or 0:.3f}"
    )
    if fault:
        ET.SubElement(case, "failure", message=_printable(fault))


def _printable(text: str) -> str:
    """XML has no word for most control characters."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
