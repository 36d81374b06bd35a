"""Look at evidence: list it, show a piece of it, verify it without trusting anybody."""

import json
import os
from contextlib import suppress

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from drctl.cli.context import Context, output_options, pass_context
from drctl.cli.findings import write_text
from drctl.cli.gate import gather_and_tell
from drctl.cli.proofs import Proofs
from drctl.errors import ExitCode, IntegrityError, KeyUnavailable, UsageError
from drctl.report import evidence
from drctl.report.drills import drill_text
from drctl.report.evidence import Proof
from drctl.report.junit import junit
from drctl.report.pages import drill_page
from drctl.report.signers import Keys, Trust, read_keys
from drctl.wiring import Wiring

_SIGNED = {"good": "signed", "bad": "NOT SIGNED", "unknown": "unproven"}
_WHERE = "'drctl report list' looks into the repositories, too; 'drctl drill' makes evidence"


@click.group(name="report")
def command() -> None:
    """Look at what drills found, and verify it."""


@command.command(name="list", short_help="List the plan's evidence, oldest first.")
@output_options
@pass_context
def list_(context: Context) -> int:
    """List the plan's evidence, oldest first: what is kept here, and what the repositories have.

    Exit code 6 where a piece is missing, is not what was written, or claims a signature that is
    not by the plan's key.
    """
    wiring = context.wiring()
    here = {p.name for p in Proofs(wiring).here()[0]}
    found, wrong = gather_and_tell(wiring)
    found.sort(key=lambda p: p.number)
    wrong += evidence.chain_faults(found)
    trust = Trust(_keys(wiring), found)
    states = {p.name: trust.judge(p)[0] for p in found}
    wrong += [
        f"evidence {p.number}, {p.name[:12]}, is not signed by the plan's key"
        for p in found
        if p.keyids and states[p.name] == "bad"
    ]
    lines = [
        f"{p.number:>4}  {p.predicate['finished_at'][:19]}Z  {p.predicate['drill']:20}"
        f"{p.predicate['verdict']:8}{_SIGNED[states[p.name]]:11}{p.name[:12]}"
        f"{'' if p.name in here else '  in a repository, not here'}"
        for p in found
    ]
    document = [
        {**p.predicate, "sha256": p.name, "signed_by": list(p.keyids), "signature": states[p.name]}
        for p in found
    ]
    context.result(document, "\n".join(lines))
    for what in wrong:
        wiring.warn(what)
    return ExitCode.INTEGRITY if wrong else ExitCode.DONE


def _keys(wiring: Wiring) -> Keys:
    """Without any where there is none here: a host that drills nothing needs none."""
    with suppress(KeyUnavailable):
        return Proofs(wiring).keys()
    return Keys(None)


@command.command()
@click.argument("number", type=click.IntRange(1), required=False)
@click.option("--junit", "as_junit", is_flag=True, help="As JUnit XML.")
@click.option("--html", "html", metavar="FILE", help="Also write it as a page.")
@output_options
@pass_context
def show(context: Context, number: int | None, as_junit: bool, html: str | None) -> None:
    """Show what drill NUMBER found; the newest by default. Who signed it stands below it."""
    wiring = context.wiring()
    found = Proofs(wiring).here()[0]
    if number not in {p.number for p in found}:  # what was taken away here may be there
        found = gather_and_tell(wiring)[0]
    chosen = [p for p in found if p.number == number] if number else [*found]
    trust = Trust(_keys(wiring), found)
    proof = evidence.newest(trust.good(chosen)) or evidence.newest(chosen)
    if proof is None:
        raise UsageError("there is no such evidence here", hint="see 'drctl report list'")
    state, told = trust.judge(proof)
    if html:
        write_text(html, drill_page(proof, (state, told)))
    if state == "bad":
        wiring.warn(f"evidence {proof.number}: {told}")
    text = junit(proof.predicate) if as_junit else f"{drill_text(proof.predicate)}\n  {told}"
    context.result({**proof.predicate, "signature": state}, text.rstrip("\n"))


@command.command()
@output_options
@pass_context
def key(context: Context) -> None:
    """Print the public key that evidence is verified with.

    The plan's former ones, which 'evidence.former' names, stand behind it.
    """
    keys = _needed(Proofs(context.wiring()).keys(), "name one with 'evidence: {key: ...}'")
    pem = "".join(evidence.public_pem(key) for key in keys)
    former = [evidence.key_id(key) for key in keys[1:]]
    document = {"key": evidence.key_id(keys[0]), "former": former, "pem": pem}
    context.result(document, pem.rstrip("\n"))


def _needed(keys: Keys, hint: str) -> list[Ed25519PublicKey]:
    if keys.current is None:
        raise KeyUnavailable("the plan names no key", hint=hint)
    return [keys.current, *keys.former]


@command.command(short_help="Verify evidence offline, by the public key.")
@click.argument("files", nargs=-1, metavar="[FILE|DIRECTORY]...")
@click.option(
    "--key",
    "key_path",
    metavar="FILE",
    help="Public keys in PEM, as 'report key' prints them; else the plan's.",
)
@output_options
@pass_context
def verify(context: Context, files: tuple[str, ...], key_path: str | None) -> None:
    """Verify evidence offline: who signed it, that nothing was changed, that none is missing.

    Needs the public key and nothing else: no plan, no repository, no network. Of a directory all
    evidence is taken as one chain. Without a FILE it is all that the plan's drills left here.
    """
    files = files or (_kept_here(context),)
    keys = _keys_of(context, key_path)
    read = {path: _read(path) for path in _all(files)}
    proofs = list(read.values())
    trust = {plan: Trust(keys, [p for p in proofs if p.plan == plan]) for plan in _plans(proofs)}
    wrong = [
        f"{path}: not signed by this key"
        for path, p in read.items()
        if trust[p.plan].judge(p)[0] != "good"
    ]
    for plan in trust:
        own = [p for p in proofs if p.plan == plan]
        if len(own) > 1 or any(os.path.isdir(path) for path in files):
            wrong += [f"{plan}: {fault}" for fault in evidence.chain_faults(own)]
    if wrong:
        raise IntegrityError(f"evidence is not as it was signed: {'; '.join(wrong)}")
    if not proofs:
        raise UsageError(f"{', '.join(files)}: there is no evidence", hint=_WHERE)
    by = ", ".join(evidence.key_id(key) for key in _needed(keys, "give one with --key"))
    document = {"verified": [p.name for p in proofs], "signed_by": by}
    lines = [
        f"{p.plan} {p.number}: drill {p.predicate['drill']} {p.predicate['verdict']}, "
        f"{p.predicate['finished_at'][:19]}Z"
        for p in proofs
    ]
    count = f"verified: {len(proofs)}, signed with {by}"
    context.result(document, "\n".join([*lines, count]))


def _kept_here(context: Context) -> str:
    """The directory of the plan's evidence."""
    found = Proofs(context.wiring()).directory
    if not os.path.isdir(found):
        raise UsageError(f"{found}: no drill left evidence here", hint=_WHERE)
    return found


def _plans(proofs: list[Proof]) -> list[str]:
    return sorted({p.plan for p in proofs})


def _keys_of(context: Context, path: str | None) -> Keys:
    if path is None:
        found = Proofs(context.wiring()).keys()
        _needed(found, "give the public one with --key")
        return found
    try:
        with open(path, encoding="utf-8") as file:
            return read_keys(file.read())
    except (OSError, UnicodeDecodeError) as error:
        raise KeyUnavailable(f"{path}: it cannot be read", hint="is it the public key?") from error
    except KeyUnavailable as error:
        raise KeyUnavailable(f"{path}: {error.what}") from error


def _all(files: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    for path in files:
        if os.path.isdir(path):
            names = (n for n in sorted(os.listdir(path)) if not n.endswith(".new"))  # of a kill
            found += [os.path.join(path, name) for name in names]
        else:
            found.append(path)
    return found


def _read(path: str) -> Proof:
    try:
        with open(path, "rb") as file:
            return evidence.read(file.read())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except (IntegrityError, json.JSONDecodeError) as error:
        raise IntegrityError(f"{path}: {error}") from error
