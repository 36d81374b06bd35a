"""PostgreSQL's archive_command and restore_command."""

import os
import traceback

import click

from drctl.cli.context import (
    Context,
    from_plan_option,
    identity_option,
    output_options,
    pass_context,
)
from drctl.errors import DrctlError, UsageError
from drctl.events import Notice

MISSING, TROUBLE = 1, 255  # what PostgreSQL takes for the end of the log, and for a reason to stop


@click.group()
def command() -> None:
    """Store and fetch WAL file by file, as archive_command and restore_command do.

    \b
    archive_command = 'drctl --plan /etc/drctl/plan.yaml -q wal push orders %p'
    restore_command = 'drctl --plan /etc/drctl/plan.yaml -q wal fetch orders %f %p'
    """


@command.command()
@click.argument("asset")
@click.argument("path")
@output_options
@pass_context
def push(context: Context, asset: str, path: str) -> None:
    """Store the WAL file PATH of ASSET. The same content again is success, another is a failure."""
    from drctl.engines import postgres_archive

    wiring = context.wiring()
    if asset not in wiring.loaded.plan.assets:
        raise UsageError(f"the plan has no asset '{asset}'")
    repository = wiring.as_writer(wiring.primary())
    is_new = postgres_archive.push(path, os.getcwd(), wiring.log_of(asset, repository))
    document = {"file": os.path.basename(path), "stored": is_new}
    context.result(document, f"{document['file']}: {'stored' if is_new else 'was stored already'}")


@command.command()
@click.argument("asset")
@click.argument("file")
@click.argument("path")
@from_plan_option
@identity_option
@output_options
@pass_context
def fetch(
    context: Context,
    asset: str,
    file: str,
    path: str,
    repository: str | None,
    identity_path: str | None,
) -> int:
    """Put the WAL FILE of ASSET at PATH. Needs an identity.

    Ends with 1 only where the repository holds no such file, and with 255 for every other trouble:
    PostgreSQL takes 1 for the end of the log, and would lose what follows a passing fault, or a
    gap. A standby asks again, and is told 1 for all of it: 255 would end its server.
    """
    try:
        found = _fetch(context, asset, file, path, repository, identity_path)
    except DrctlError as error:
        context.report.emit(Notice("warning", f"{error.what} {error.hint}".rstrip()))
        return _trouble()
    except Exception as error:
        # A bug must not look like the end of the log either: Python would end with 1.
        traceback.print_exc()
        raise click.exceptions.Exit(_trouble()) from error
    context.result({"file": file, "found": found}, "" if found else f"{file}: not stored")
    return 0 if found else MISSING


def _trouble() -> int:
    from drctl.engines.postgres_archive import is_standby

    return MISSING if is_standby(os.getcwd()) else TROUBLE


def _fetch(
    context: Context,
    asset: str,
    file: str,
    path: str,
    repository: str | None,
    identity_path: str | None,
) -> bool:
    from drctl.codec.logpiece import stream_id
    from drctl.engines import postgres_archive
    from drctl.repository.log import LogReader

    wiring = context.wiring()
    identity = context.identity(wiring, identity_path)
    opened = wiring.as_reader(repository or wiring.primary(), identity)
    here = os.getcwd()
    stream = stream_id(opened.secrets, asset, postgres_archive.system_id(here))
    log = LogReader(opened, identity, stream.hex())
    return postgres_archive.fetch(file, path, log, here)
