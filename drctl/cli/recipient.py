"""Give and take the power to read: who the recipients of a repository are."""

import os
from collections.abc import Sequence
from contextlib import suppress

import click

from drctl.cli.change import (
    Change,
    carry_out,
    conclude,
    confirm,
    named_once,
    recipients,
    tell,
    warn,
)
from drctl.cli.context import (
    Context,
    identity_option,
    kit_option,
    output_options,
    pass_context,
)
from drctl.cli.keyfiles import read_recipient, read_text, write_private
from drctl.codec import keys
from drctl.codec.recipients import Identity, Recipient, new_identity
from drctl.errors import DrctlError, ExitCode, PlanError, UsageError
from drctl.ops.recipients import out_of_line
from drctl.report.results import table
from drctl.wiring import Wiring

_NAMED = "give the new identity another name with --name"


@click.group()
def command() -> None:
    """Give and take the power to read what is backed up.

    Only sessions and keys are sealed anew, never data. Each command may be broken off at any
    point: run it, or 'apply', again.
    """


yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@command.command("list", short_help="Show who can read, and what is not in line.")
@output_options
@pass_context
def list_(context: Context) -> int:
    """Show who can read what is backed up, and sessions that are not in line. Needs no identity."""
    wiring, pool = context.wiring(), context.pool()
    credential = wiring.credential()
    rows = [(r.name, r.fingerprint) for r in credential.recipients]
    states: dict[str, tuple[int, int]] = {}
    silent: dict[str, str] = {}
    for name in wiring.loaded.plan.repositories:
        try:
            states[name] = out_of_line(wiring.storage(name), credential.recipients, pool)
        except DrctlError as error:
            silent[name] = error.what
    document = {
        "recipients": [{"name": name, "fingerprint": print_} for name, print_ in rows],
        "repositories": {
            name: {"out_of_line": odd, "sessions": all_} for name, (odd, all_) in states.items()
        },
        "silent": silent,
    }
    lines = [table(("recipient", "fingerprint"), rows)]
    lines += [
        f"{name}: {odd} of {all_} sessions are sealed to others: run 'drctl key recipient apply'"
        if odd
        else f"{name}: all {all_} sessions are sealed to them"
        for name, (odd, all_) in states.items()
    ]
    lines += [f"{name} cannot be asked: {what}" for name, what in silent.items()]
    context.result(document, "\n".join(lines))
    if not states:
        return ExitCode.STORAGE
    return ExitCode.PARTIAL if silent or any(odd for odd, _ in states.values()) else ExitCode.DONE


@command.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@yes_option
@kit_option
@identity_option
@output_options
@pass_context
def add(context: Context, files: tuple[str, ...], yes: bool, identity_path: str | None) -> int:
    """Let the identities of FILEs read everything, old and new. A FILE is an identity, or what
    'drctl key public' printed of one."""
    wiring = context.wiring()
    identity = context.identity(wiring, identity_path)
    present = recipients(wiring, identity)
    new = [r for r in map(read_recipient, files) if r.fingerprint not in _prints(present)]
    change = Change(context, wiring, present, named_once((*present, *new)))
    confirm(change, yes)
    return conclude(change, [identity])


@command.command()
@click.argument("who", metavar="NAME|FINGERPRINT")
@yes_option
@kit_option
@identity_option
@output_options
@pass_context
def remove(context: Context, who: str, yes: bool, identity_path: str | None) -> int:
    """Seal everything away from a recipient. Copies that it has already stay readable for it."""
    wiring = context.wiring()
    identity = context.identity(wiring, identity_path)
    present = recipients(wiring, identity)
    gone = _one(present, who)
    if gone.fingerprint == identity.recipient().fingerprint:
        raise UsageError(
            "the identity that does it cannot remove itself: nobody would have proven that another "
            "one opens everything",
            hint="give another with --identity, or use 'rotate'",
        )
    change = Change(context, wiring, present, tuple(r for r in present if r != gone))
    confirm(change, yes)
    return conclude(change, [identity])


@command.command()
@click.argument("who", metavar="NAME|FINGERPRINT")
@click.option("--to", "file", required=True, metavar="FILE", help="The new identity's file.")
@click.option("--name", help="Name of the new identity; else as before, with a number.")
@yes_option
@kit_option
@identity_option
@output_options
@pass_context
def rotate(
    context: Context, who: str, file: str, name: str | None, yes: bool, identity_path: str | None
) -> int:
    """Put a new identity in the place of a recipient.

    The new one is made in FILE under DRCTL_NEW_PASSPHRASE, or what you type. The old one is
    dropped only after the new one has opened every session in every repository of the plan.
    """
    wiring = context.wiring()
    old = context.identity(wiring, identity_path)
    present = recipients(wiring, old)
    gone = _one(present, who)
    fresh = name or f"{gone.name.rstrip('-0123456789')}-{len(present) + 1}"
    new = _new_identity(context, wiring, file, fresh)
    both = named_once((*(r for r in present if r != new.recipient()), new.recipient()), _NAMED)
    change = Change(context, wiring, present, both)
    without = tuple(r for r in both if r != gone)
    confirm(Change(context, wiring, both, without), yes)
    carry_out(change, [old, new])
    if not change.is_whole:
        warn(wiring, f"{gone.name} was not removed: first everything must be sealed to {fresh}")
        return tell(change)
    last = Change(context, wiring, both, without)
    if gone == old.recipient() and not context.kit():
        last.note = _say_in_plan(wiring, file)
    return conclude(last, [new])


def _say_in_plan(wiring: Wiring, file: str) -> str:
    """The plan still names the identity that opens nothing any more."""
    with suppress(PlanError):
        if os.path.realpath(wiring.loaded.identity_path()) == os.path.realpath(file):
            return ""
    return (
        f"Let keys.identity be file:{os.path.abspath(file)} in the plan: the old one opens nothing."
    )


@command.command(short_help="Bring every repository in line with the credential.")
@yes_option
@kit_option
@identity_option
@output_options
@pass_context
def apply(context: Context, yes: bool, identity_path: str | None) -> int:
    """Bring every repository in line with this host's writer credential: to end what was broken
    off, or after another host wrote with an older credential."""
    wiring = context.wiring()
    present = wiring.credential().recipients
    change = Change(context, wiring, present, present)
    confirm(change, yes)
    return conclude(change, [context.identity(wiring, identity_path)])


# -- who ------------------------------------------------------------------------------------------


def _prints(recipients: Sequence[Recipient]) -> set[str]:
    return {r.fingerprint for r in recipients}


def _one(recipients: tuple[Recipient, ...], who: str) -> Recipient:
    found = [r for r in recipients if who in (r.name, r.fingerprint)]
    if len(found) != 1:
        names = ", ".join(r.name for r in recipients)
        raise UsageError(
            f"'{who}' is {'no recipient' if not found else 'not one recipient'}",
            hint=f"they are: {names}. What was broken off is ended by 'drctl key recipient apply'",
        )
    return found[0]


def _new_identity(context: Context, wiring: Wiring, file: str, name: str) -> Identity:
    """What is in FILE already, from a run that was broken off, is opened: that proves it."""
    passphrase = context.new_passphrase()
    if os.path.exists(file):
        return keys.decode_identity(read_text(file), passphrase)
    identity = new_identity(name, wiring.randomness)
    write_private(file, keys.encode_identity(identity, passphrase, wiring.randomness))
    return identity
