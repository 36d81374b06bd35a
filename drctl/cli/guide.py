"""The plan as a document for the person who has to recover by it: every fact that a page shows."""

import os
import shlex
from typing import Any

from drctl import __version__
from drctl.cli.by_hand import ByHand
from drctl.cli.losses import losses
from drctl.cli.recovering import assets_of, recover_line
from drctl.cli.steps import steps_of
from drctl.ops.recovery.graph import MODES, Graph, Mode
from drctl.plan import LoadedPlan
from drctl.plan.model import Plan, RepositoryPart, engine_of
from drctl.plan.secrets import path_of
from drctl.wiring import Wiring

Document = dict[str, Any]
_PURPOSES: dict[Mode, str] = {
    "failover": "What is protected is lost, without warning.",
    "planned": "Everything is moved while it still works.",
    "failback": "Back to where it was, after a failover.",
}


def guide(wiring: Wiring) -> Document:
    """Everything that the runbook tells. Secrets are named by where they lie, never told."""
    loaded = wiring.loaded
    plan = loaded.plan
    by_hand = ByHand(loaded, plan.recovery.parameters, _sources(wiring))
    return {
        "drctl_version": __version__,
        "plan": {
            "name": plan.name,
            "owner": plan.owner,
            "path": os.path.abspath(loaded.path),
            "export": _export(loaded),
            "sha256": loaded.digest,
        },
        "objectives": {
            "rpo": plan.objectives.rpo,
            "rto": plan.objectives.rto,
            "drill_every": plan.objectives.drill_every,
        },
        "assets": [_asset(plan, name) for name in plan.assets],
        "not_recovered": [name for name in plan.assets if name not in assets_of(plan)],
        "repositories": [_repository(wiring, name) for name, _ in by_hand.sources],
        "keys": _keys(wiring),
        "parameters": dict(plan.recovery.parameters),
        "recoveries": _recoveries(by_hand),
        "losses": losses(wiring),
        "drills": [_drill(plan, name) for name in plan.drills],
    }


def _export(loaded: LoadedPlan) -> str:
    return f"export DRCTL_PLAN={shlex.quote(os.path.abspath(loaded.path))}"


# -- what is protected, and where -----------------------------------------------------------------


def _asset(plan: Plan, name: str) -> Document:
    part: Any = plan.assets[name]
    kind, settings = engine_of(part)
    groups = [group for group, members in plan.groups.items() if name in members.assets]
    return {
        "asset": name,
        "engine": kind,
        "where": _source(settings),
        "schedule": part.schedule,
        "rpo": part.rpo or plan.objectives.rpo,
        "rto": part.rto or plan.objectives.rto,
        "group": groups[0] if groups else None,
    }


def _source(settings: Any) -> str:
    """Where it is in production; of a program only its name, since arguments may be anything."""
    paths = getattr(settings, "paths", None) or [getattr(settings, "path", None)]
    if paths[0]:
        return ", ".join(paths)
    run = getattr(settings, "run", None)
    if run:
        return f"what {os.path.basename(run[0])} prints"
    host, port = getattr(settings, "host", ""), getattr(settings, "port", None)
    if not host or host.startswith("/"):
        return host or "this host"
    return f"{host}:{port}" if port else host


def _sources(wiring: Wiring) -> tuple[tuple[str, str], ...]:
    """The repositories in the order in which they are read, each with what a person should know."""
    plan = wiring.loaded.plan
    found = []
    for name in (wiring.primary(), *wiring.others()):
        site = plan.repositories[name].site
        domain = plan.sites[site].failure_domain
        found.append((name, f"From {name}, at site {site} ({domain}):"))
    return tuple(found)


def _repository(wiring: Wiring, name: str) -> Document:
    part = wiring.loaded.plan.repositories[name]
    return {
        "repository": name,
        "site": part.site,
        "failure_domain": wiring.loaded.plan.sites[part.site].failure_domain,
        "where": _place(wiring.loaded, part),
        "role": f"copy of {part.copy_of}" if part.copy_of else "backups are written to it",
        "lock": f"locked for {getattr(part.lock, 'for')}" if part.lock else None,
    }


def _place(loaded: LoadedPlan, part: RepositoryPart) -> str:
    if part.s3 is None:
        return os.path.join(loaded.base, part.path or "")
    where = f"s3://{part.s3.bucket}/{part.s3.prefix}".rstrip("/")
    return f"{where} at {part.s3.endpoint}" if part.s3.endpoint else where


# -- keys -----------------------------------------------------------------------------------------


def _keys(wiring: Wiring) -> list[Document]:
    plan, base = wiring.loaded.plan, wiring.loaded.base
    identity = plan.keys.identity
    lies = _lies(identity, base) if identity else "identity.key beside the writer credential"
    found = [
        _key("identity", lies, "Opens every backup; it has a passphrase.", "drctl key test"),
        _key(
            "writer credential",
            _lies(plan.keys.credential, base),
            "Makes backups and reads none.",
            "drctl key list",
        ),
        _key(
            "recovery kit",
            "on paper, with those who are named here",
            "Takes the place of plan and identity: a few of its shares open every backup.",
            "drctl kit test --kit DIRECTORY",
        ),
    ]
    if plan.evidence.key:
        says = "Signs what drills find; no backup needs it."
        found.append(_key("evidence key", _lies(plan.evidence.key, base), says, "drctl report key"))
    return found + [_storage_key(name, part, base) for name, part in _buckets(plan)]


def _key(name: str, where: str, purpose: str, proven_by: str) -> Document:
    return {"key": name, "where": where, "purpose": purpose, "proven_by": proven_by}


def _buckets(plan: Plan) -> list[tuple[str, RepositoryPart]]:
    return [(name, part) for name, part in plan.repositories.items() if part.s3]


def _storage_key(name: str, part: RepositoryPart, base: str) -> Document:
    told = part.s3.credentials if part.s3 else None
    references = told and [r for r in (told.access_key, told.secret_key, told.session_token) if r]
    where = ", ".join(_lies(r, base) for r in references or ())
    if not where:
        profile = told and told.profile
        where = f"profile {profile} of the AWS configuration" if profile else "where the SDK looks"
    says = f"Reaches the bucket of {name}."
    return _key(f"storage key of {name}", where, says, f"drctl storage check {name}")


def _lies(reference: str, base: str) -> str:
    """Where a secret lies. Of a command only the program: its arguments may be anything."""
    path = path_of(reference, base)
    kind, _, rest = reference.partition(":")
    if path:
        return path
    return f"variable {rest}" if kind == "env" else f"told by {shlex.split(rest)[0]}"


# -- recovery -------------------------------------------------------------------------------------


def _recoveries(by_hand: ByHand) -> list[Document]:
    """One for each way of recovering that differs from the others."""
    plan = by_hand.loaded.plan
    found: list[tuple[Graph, list[Mode]]] = []
    for mode in MODES:
        if mode == "drill":
            continue
        made = steps_of(plan, mode, {}, by_hand.values)
        same = next((modes for graph, modes in found if graph.steps == made.steps), None)
        if same is None:
            found.append((made, [mode]))
        else:
            same.append(mode)
    return [_recovery(by_hand, graph, modes) for graph, modes in found]


def _recovery(by_hand: ByHand, graph: Graph, modes: list[Mode]) -> Document:
    assets = [step.asset for step in graph.steps if step.kind == "restore"]
    numbers = {step.name: number for number, step in enumerate(graph.steps, 1)}
    return {
        "modes": modes,
        "purposes": [_PURPOSES[mode] for mode in modes],
        "command": recover_line(by_hand.loaded, "--mode", modes[0]),
        "before": [
            shlex.join(["cd", by_hand.loaded.base]),
            _export(by_hand.loaded),
            f"export DRCTL_MODE={modes[0]}",
            *(f"export {_variable(a)}={shlex.quote(by_hand.at(a))}" for a in assets),
        ],
        "steps": [by_hand.step(numbers[step.name], step) for step in graph.steps],
        "left_out": [name for name in graph.left_out if "." not in name],
        "undo": [step.name for step in reversed(graph.steps) if step.undo],
    }


def _variable(asset: str) -> str:
    return f"DRCTL_AT_{asset.upper().replace('-', '_')}"


def _drill(plan: Plan, name: str) -> Document:
    part: Any = plan.drills[name]
    every = plan.objectives.drill_every
    return {
        "drill": name,
        "from": part.source,
        "deny_sites": list(part.deny_sites),
        "every": every,
        "commands": [f"drctl drill {name}", f"drctl gate {name}"],
    }
