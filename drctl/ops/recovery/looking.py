"""Carries out the looks at what came back."""

import json
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial

from msgspec import Struct

from drctl.clock import Clock
from drctl.engines.base import Standing
from drctl.errors import DrctlError
from drctl.events import Notice, Reporter
from drctl.ops.recovery.asking import ask
from drctl.ops.recovery.look import Expectation, Look, Looked, compare_counts
from drctl.ops.recovery.manifest import compare_manifest
from drctl.ops.recovery.process import Programs
from drctl.ops.recovery.returning import View
from drctl.ops.recovery.runner import Control
from drctl.repository.reader import Reader

_HTTP = """
import json, sys, urllib.error, urllib.request
class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None
try:
    ask = urllib.request.build_opener(urllib.request.ProxyHandler({}), Stay)
    with ask.open(sys.argv[1], timeout=10) as answer:
        status, body = answer.status, answer.read(1 << 20)
except urllib.error.HTTPError as error:
    status, body = error.code, error.read(1 << 20)
except OSError as error:
    sys.exit(f"no answer: {getattr(error, 'reason', error)}")
print(json.dumps({"status": status, "holds": sys.argv[2].encode() in body}))
"""


class Eyes(Struct, frozen=True):
    """What looks are carried out with."""

    reader: Reader
    programs: Programs
    clock: Clock
    report: Reporter

    def tell(self, text: str) -> None:
        self.report.emit(Notice("warning", text))

    def look(
        self, look: Look, view: View | None, also: Mapping[str, str], control: Control
    ) -> Looked:
        """What a look finds. Never raises for what is looked at: that is its finding."""
        began = self.clock.monotonic_seconds()
        if control.over():
            return Looked(look, False, f"nothing was asked: {control.over()}", 0.0)
        files = self.programs.files(look.words) if look.kind == "command" else {}
        try:
            with view.alone() if view else nullcontext():
                missing, found = self._find(look, view, also, control)
        except DrctlError as error:
            missing, found = error.what, ""
        seconds = self.clock.monotonic_seconds() - began
        return Looked(look, not missing, missing or found, seconds, files)

    def _find(
        self, look: Look, view: View | None, also: Mapping[str, str], control: Control
    ) -> tuple[str, str]:
        """What is wrong, empty where nothing is; and what was found."""
        if look.kind == "http":
            return self._http(look, control)
        if look.kind == "command":
            outcome = self.programs.run(look.words, also, control)
            said = str(outcome.facts.get("said", ""))
            missing = look.expect.miss(said) if outcome.ok and look.expect else ""
            return (missing if outcome.ok else outcome.what), outcome.what
        assert view is not None  # noqa: S101 - the plan's checks saw to it that it has an asset
        if look.kind == "compare":
            compared = compare_manifest(self.reader, view.asset.root, view.at)
            return (compared.tell() if compared.different else ""), compared.tell()
        if view.standing is None:
            return view.why_down, ""
        return ask(view, control, partial(_find_out, look, view))

    def _http(self, look: Look, control: Control) -> tuple[str, str]:
        expect = look.expect or Expectation()
        words = (sys.executable, "-c", _HTTP, look.what, expect.contains or "")
        outcome = self.programs.run(words, {}, control)
        if not outcome.ok:
            return outcome.what, ""
        answer = json.loads(str(outcome.facts["said"]))
        status = str(answer["status"])
        missing = Expectation(expect.equals, expect.min, expect.max).miss(status)
        if not answer["holds"]:
            missing = missing or f"the answer does not hold '{expect.contains}'"
        return missing, f"status {status}"


def _find_out(look: Look, view: View, standing: Standing) -> tuple[str, str]:
    if look.kind == "integrity":
        health = standing.health()
        return ("" if health.ok else health.what), health.what
    if look.kind == "counts":
        due = view.asset.counts_due
        found = "; ".join(filter(None, (_counted(due), view.asset.not_saved)))
        return compare_counts(due, standing.counts()), f"as counted then: {found}"
    rows = standing.query(look.what)
    found = rows[0][0] if rows and rows[0] else ""
    missing = (look.expect or Expectation()).miss(found)
    return missing, f"found {found}"


def _counted(counts: Mapping[str, int]) -> str:
    shown = [f"{name} {number}" for name, number in list(counts.items())[:3]]
    return ", ".join(shown) + (f" and {len(counts) - 3} more" if len(counts) > 3 else "")
