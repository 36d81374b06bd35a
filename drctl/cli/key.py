"""Show and mend keys."""

import os

import click

from drctl.cli.context import (
    Context,
    as_of_option,
    from_option,
    identity_option,
    kit_option,
    output_options,
    pass_context,
)
from drctl.cli.keyfiles import read_recipient, rewrite_private, write_private
from drctl.cli.reading import source_of
from drctl.cli.recipient import command as recipient_commands
from drctl.codec import keys
from drctl.codec.recipients import new_identity
from drctl.errors import DrctlError, ExitCode, TargetRefused
from drctl.report.results import table
from drctl.repository import lifecycle


@click.group()
def command() -> None:
    """Show and mend keys.

    The writer credential lets a host back up; an identity lets a person restore.
    """


@command.command("list")
@output_options
@pass_context
def list_(context: Context) -> None:
    """Show where the keys lie, and who can read what is backed up."""
    wiring = context.wiring()
    credential = wiring.credential()
    identity = wiring.loaded.identity_path()
    here = ""
    if os.path.exists(identity):
        here = read_recipient(identity).fingerprint
    rows = [
        (r.name, r.fingerprint, identity if r.fingerprint == here else "")
        for r in credential.recipients
    ]
    document = {
        "repository": credential.secrets.repository_id.hex(),
        "credential": wiring.loaded.credential_path(),
        "recipients": [
            {"name": name, "fingerprint": print_, "identity": path or None}
            for name, print_, path in rows
        ],
    }
    where = wiring.loaded.credential_path() or wiring.loaded.plan.keys.credential
    text = f"writer credential: {where}\n" + table(("recipient", "fingerprint", "identity"), rows)
    context.result(document, text)


@command.command()
@identity_option
@output_options
@pass_context
def test(context: Context, identity_path: str | None) -> int:
    """Prove that the identity opens every repository of the plan.

    All are tried. One that it does not open is told, and the exit code is the highest of these.
    """
    wiring = context.wiring()
    identity = context.identity(wiring, identity_path)
    opened: list[str] = []
    failed: dict[str, DrctlError] = {}
    for name in wiring.loaded.plan.repositories:
        try:
            lifecycle.open_as_reader(wiring.storage(name), identity, wiring.randomness)
            opened.append(name)
        except DrctlError as error:
            failed[name] = error
            hint = f" ({error.hint})" if error.hint else ""
            context.warn(f"{name}: {error.what}{hint}")
    names = ", ".join(opened) or "no repository of the plan"
    document = {
        "identity": identity.name,
        "opens": opened,
        "failed": {name: error.what for name, error in failed.items()},
    }
    context.result(document, f"identity {identity.name} opens {names}")
    return max((error.exit_code for error in failed.values()), default=ExitCode.DONE)


@command.command()
@click.argument("file")
@click.option("--name", required=True, help="Whose it is, such as oncall-2.")
@output_options
@pass_context
def new(context: Context, file: str, name: str) -> None:
    """Make a new identity in FILE. It reads nothing until it is made a recipient."""
    if os.path.exists(file):
        raise TargetRefused(f"{file} exists", hint="name another file")
    from drctl.clock import system_randomness

    identity = new_identity(name, system_randomness)
    passphrase = context.passphrase("New passphrase", confirm=True)
    write_private(file, keys.encode_identity(identity, passphrase, system_randomness))
    print_ = identity.recipient().fingerprint
    context.result(
        {"identity": file, "name": name, "fingerprint": print_},
        f"identity {name} ({print_}) is in {file}",
    )


@command.command(short_help="Give the identity file another passphrase.")
@identity_option
@output_options
@pass_context
def passphrase(context: Context, identity_path: str | None) -> None:
    """Give the identity file another passphrase: DRCTL_NEW_PASSPHRASE, or what you type."""
    from drctl.clock import system_randomness

    path = identity_path or context.wiring().loaded.identity_path()
    identity = context.identity(context.wiring(), path)
    text = keys.encode_identity(identity, context.new_passphrase(), system_randomness)
    rewrite_private(path, text)
    context.result({"identity": path}, f"{path} has a new passphrase")


@command.command(short_help="Print the public half of the identity in FILE.")
@click.argument("file")
@output_options
@pass_context
def public(context: Context, file: str) -> None:
    """Print the public half of the identity in FILE, which 'key recipient add' takes. No secret."""
    recipient = read_recipient(file)
    document = {"name": recipient.name, "fingerprint": recipient.fingerprint}
    context.result(
        {**document, "file": keys.encode_recipient(recipient)},
        keys.encode_recipient(recipient).rstrip(),
    )


@command.command(short_help="Write a writer credential, from the repository.")
@click.argument("file")
@from_option
@as_of_option
@kit_option
@identity_option
@output_options
@pass_context
def credential(
    context: Context, file: str, repository: str | None, identity_path: str | None
) -> None:
    """Write a writer credential to FILE, from the repository: for a new host, or a lost one."""
    wiring = context.wiring()
    name = source_of(context, wiring, repository)
    opened = wiring.as_reader(name, context.identity(wiring, identity_path), fresh=True)
    write_private(file, keys.encode_credential(lifecycle.credential_of(opened)))
    names = [r.name for r in opened.recipients]
    context.result(
        {"credential": file, "recipients": names},
        f"{file} lets a host back up to {opened.where}, sealed to {', '.join(names)}",
    )


command.add_command(recipient_commands, "recipient")
