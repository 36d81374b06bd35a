"""The drill of a site that is gone: drctl on a machine that has the kit, one repository, and no
memory. That the plan in the kit is enough is shown by its being all that there is."""

import json
import os
import sys
from functools import partial
from typing import Any

from msgspec import Struct

from drctl.cli.context import Context
from drctl.cli.findings import keep_document
from drctl.cli.kits import TYPED
from drctl.cli.recovering import denied, live_paths
from drctl.cli.standard import say
from drctl.engines.s3bucket_place import is_server_of, server_of
from drctl.errors import ExitCode, UsageError
from drctl.homes import STATE_DIRECTORY
from drctl.ops.recovery.box import Box, must_be_apart
from drctl.ops.recovery.clean import Clean
from drctl.ops.recovery.judge import told_left
from drctl.plan.recovery import DrillPart
from drctl.repository.state import exclusive
from drctl.wiring import Wiring, drill_home

_KIT = "/kit"
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "TERM")


class Gone(Struct, frozen=True):
    """What is drilled: from which repository, and with which seed."""

    drill: str
    part: DrillPart
    repository: str
    seed: int


def site_gone(context: Context, wiring: Wiring, gone: Gone, junit: str | None) -> int:
    """Carry the drill out there, and keep what it found here. Raises TargetRefused, UsageError."""
    if TYPED in context.kit_files:
        raise UsageError(
            "words cannot be typed in a drill", hint="name the files of the kit with --kit"
        )
    home = drill_home(wiring, gone.part.directory)
    with exclusive(os.path.join(home, "drill.lock"), "a drill"):
        box = Box(home, wiring.randomness)
        try:
            must_be_apart(box.path, live_paths(wiring))
            code, output, document = _carry_out(context, wiring, gone, box)
        finally:
            left = box.remove()
    if document is None:  # it has told why itself
        if output:
            say(output.decode())
        return code
    speak_against(document, left)
    context.result(*keep_document(wiring, document, junit))
    return ExitCode.DONE if document["verdict"] == "passed" else ExitCode.OBJECTIVE_MISSED


def speak_against(document: dict[str, Any], left: tuple[str, ...]) -> None:
    """What is left on this side of the wall is left of the drill."""
    document["left_behind"] += left
    document["reasons"] += told_left(left)
    if left and document["verdict"] != "invalid":
        document["verdict"] = "failed"


def _carry_out(
    context: Context, wiring: Wiring, gone: Gone, box: Box
) -> tuple[int, bytes, dict[str, Any] | None]:
    for part in ("root", "state", "home"):
        os.makedirs(box.at(part), exist_ok=True)
    found = box.at("state", "findings.json")
    clean = _clean(context, wiring, gone, box)
    words = [sys.executable, "-m", "drctl", *_manner(context), "drill", gone.drill]
    words += ["--seed", str(gone.seed), "--findings", found]
    for number in range(len(context.kit_files)):
        words += ["--kit", f"{_KIT}/{number}"]
    code, output = clean.run(words, _environment(box))
    if not os.path.exists(found):
        return code, output, None
    with open(found, encoding="utf-8") as file:
        document: dict[str, Any] = json.load(file)
    document["site_gone"] = {"in_view": gone.repository, "network": _network(wiring, gone)}
    return code, output, document


def _manner(context: Context) -> list[str]:
    """Its events are shown as this call's."""
    return [o for o, wanted in (("--json", context.as_json), ("--quiet", context.quiet)) if wanted]


def _environment(box: Box) -> dict[str, str]:
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**passed, "HOME": box.at("home"), STATE_DIRECTORY: box.at("state")}


def _clean(context: Context, wiring: Wiring, gone: Gone, box: Box) -> Clean:
    """A bucket is reached through a door, with the credentials that are in the kit."""
    plan, base = wiring.loaded.plan, wiring.loaded.base
    shown = [(box.at(part), box.at(part)) for part in ("state", "home")]
    shown.append((box.at("empty"), base))  # where the plan lay: programs are run from there
    for number, path in enumerate(context.kit_files):
        shown.append((os.path.realpath(path), f"{_KIT}/{number}"))
    if gone.part.directory:
        shown.append((box.at("target"), os.path.join(base, gone.part.directory)))
    own = plan.repositories[gone.repository]
    if own.path:
        place = os.path.join(base, own.path)
        shown.append((os.path.realpath(place), place))
    shown.sort(key=lambda pair: len(pair[1]))  # what lies in another comes after it
    leads_to = partial(is_server_of, own.s3) if own.s3 else None
    hidden, addresses = _hidden(wiring, gone), _addresses(wiring, gone)
    return Clean(box.at("root"), shown, hidden, addresses, leads_to)


def _hidden(wiring: Wiring, gone: Gone) -> list[str]:
    """What is lost with the site: data, other repositories, keys."""
    base, plan = wiring.loaded.base, wiring.loaded.plan
    others = [p.path for name, p in plan.repositories.items() if name != gone.repository and p.path]
    keys = [wiring.loaded.credential_path()]
    paths = [*live_paths(wiring).values(), *(os.path.join(base, p) for p in others), *keys]
    return [path for path in paths if path]


def _addresses(wiring: Wiring, gone: Gone) -> list[tuple[str, int]]:
    """What is lost with it on the network: servers, and buckets elsewhere."""
    own = wiring.loaded.plan.repositories[gone.repository].s3
    found = []
    for place in denied(wiring, wiring.loaded.plan.sites):
        host, _, port = place.place.rpartition(":")
        if place.kind == "address" and not (own and is_server_of(own, host, int(port))):
            found.append((host, int(port)))
    return found


def _network(wiring: Wiring, gone: Gone) -> str:
    own = wiring.loaded.plan.repositories[gone.repository].s3
    if own is None:
        return "no network"
    host, port = server_of(own)
    return f"no network but a door to its server, {host}:{port}"
