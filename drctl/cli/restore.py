"""Put a snapshot back, whole or in part: what is asked for."""

from typing import Any

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
from drctl.cli.loading import loading


@click.command()
@click.argument("snapshot", metavar="ASSET[@HOST]|SNAPSHOT|GROUP")
@click.option("--to", "to", required=True, metavar="TARGET", help="Where it is put.")
@click.option("--at", metavar="TIME", help="As it was at TIME; without a log, the newest before.")
@click.option(
    "--until",
    metavar="POINT",
    help="Replay the log up to lsn:, name:, transaction: or gtid:POINT; or 'immediate'.",
)
@click.option(
    "--timeline",
    default="latest",
    metavar="NUMBER",
    help="Timeline to follow: a number, latest or current.",
)
@click.option("--path", "paths", multiple=True, metavar="PATH", help="Only this; may be repeated.")
@click.option("--database", metavar="NAME", help="One database of a cluster, as a dump or across.")
@click.option("--delta", is_flag=True, help="Write over a stopped cluster, only what differs.")
@from_option
@as_of_option
@kit_option
@identity_option
@output_options
@pass_context
def command(context: Context, /, identity_path: str | None, **given: Any) -> int:
    """Put the newest snapshot of an ASSET, or a given SNAPSHOT, into TARGET. Where several hosts
    save one ASSET, it is this one's; ASSET@HOST names another's.

    A tree goes below the directory TARGET, which must be empty or not exist. A database or a
    command's output goes to the file TARGET, or into the directory TARGET. Nothing that exists is
    ever overwritten, but for a stopped database cluster with --delta. Of a database whose log is
    kept, the log is replayed: to its end, or up to --at or --until. The assets of a GROUP go into
    TARGET/ASSET each, all from one recovery point. With --database the cluster is restored
    privately, and that database goes to TARGET: a new file as of pg_dump, or an empty database of
    a server, told as 'host=/run/postgresql dbname=shop'.
    """
    with loading():
        context.unlock_ahead(identity_path)
        from drctl.cli.restoring import put_back
    return put_back(context, identity_path=identity_path, **given)
