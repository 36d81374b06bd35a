"""What a drill leaves: evidence here and in the repository, and the reports that were asked for."""

import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from drctl.cli.proofs import Proofs, one_by_one
from drctl.errors import DrctlError, StorageError
from drctl.events import Notice
from drctl.ops.drill import DrillResult
from drctl.ops.recovery.document import drill_document
from drctl.plan.tested import tested
from drctl.report.drills import drill_text
from drctl.report.evidence import Proof
from drctl.report.junit import junit as junit_xml
from drctl.wiring import Wiring


def keep_findings(
    wiring: Wiring, result: DrillResult, junit: str | None
) -> tuple[dict[str, Any], str]:
    """The document and its text. The evidence is kept before anything else is written."""
    return keep_document(wiring, document_of(wiring, result), junit)


def document_of(wiring: Wiring, result: DrillResult) -> dict[str, Any]:
    """What a drill found, for evidence and reports."""
    loaded = wiring.loaded
    plan = loaded.plan
    judged_by = tested(plan, result.order.name)
    return drill_document(result, plan.name, loaded.digest, judged_by, socket.gethostname())


def keep_document(
    wiring: Wiring, document: dict[str, Any], junit: str | None
) -> tuple[dict[str, Any], str]:
    """The same of a drill that was carried out elsewhere."""
    drill, source = document["drill"], document["repository"]["name"]
    proofs, places = Proofs(wiring), dict.fromkeys([source, *_reachable(wiring, drill)])
    with one_by_one(wiring):
        known = [p for name in places for p in _known(wiring, proofs, name)]
        proof = proofs.add(document, [*known, *_known_beside(wiring, proofs, places)])
        told = f"  evidence {proof.number}: {proof.name[:16]} in {proofs.directory}"
        hint = "" if proof.keyids else "name a key with 'evidence: {key: ...}'"
        told += f"\n  it is NOT SIGNED: {hint}" if hint else ""
        for name in places:
            told += _share(wiring, proofs, name)
    if junit:
        write_text(junit, junit_xml(document))
    whole = {**document, "evidence": {"number": proof.number, "sha256": proof.name}}
    return whole, f"{drill_text(document)}\n{told}"


def _reachable(wiring: Wiring, drill: str) -> list[str]:
    """The repository that backups are written to, unless its site is taken for lost: by the drill,
    or as it was no drill."""
    drills = wiring.loaded.plan.drills
    name = wiring.primary()
    site = wiring.loaded.plan.repositories[name].site
    return [] if drill not in drills or site in drills[drill].deny_sites else [name]


def _known(wiring: Wiring, proofs: Proofs, repository: str) -> list[Proof]:
    """What the repository knows of earlier drills: it may be all that is left of them."""
    try:
        return proofs.there(repository)[0]
    except DrctlError as error:
        text = f"{repository}: earlier evidence cannot be read: {error.what}"
        wiring.report.emit(Notice("warning", text))
        return []


def _known_beside(wiring: Wiring, proofs: Proofs, places: Iterable[str]) -> list[Proof]:
    """What all other repositories know: a host that was replaced has nothing of its own, and two
    that drill from two repositories nothing of each other's. With a number that is taken the chain
    would be forked for ever. One that the drill takes for lost, or that is, is not missed."""
    found: list[Proof] = []
    for name in set(wiring.loaded.plan.repositories).difference(places):
        with suppress(DrctlError):
            found += proofs.there(name, hurried=True)[0]
    return found


def _share(wiring: Wiring, proofs: Proofs, name: str) -> str:
    """A repository that cannot be written to does not make the drill's findings go away."""
    try:
        proofs.share(name)
    except DrctlError as error:
        wiring.report.emit(Notice("warning", f"{name} has no copy of the evidence: {error.what}"))
        return ""
    return f", and in {name}"


def write_text(path: str, text: str) -> None:
    """A report for people or programs, in the place of the one before. Raises StorageError."""
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise StorageError(f"{os.path.abspath(path)}: {error.strerror}") from error
