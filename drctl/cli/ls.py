"""List what a snapshot holds."""

import click

from drctl.cli.context import (
    Context,
    as_of_option,
    from_option,
    identity_option,
    instant,
    kit_option,
    output_options,
    pass_context,
)
from drctl.cli.reading import open_for_reading
from drctl.cli.standard import say_lines
from drctl.report.results import entry_document, entry_line, snapshot_document
from drctl.units import show_path


@click.command()
@click.argument("snapshot", metavar="ASSET|SNAPSHOT")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--at", metavar="TIME", help="The newest snapshot of the asset not after TIME.")
@from_option
@as_of_option
@kit_option
@identity_option
@output_options
@pass_context
def command(
    context: Context,
    snapshot: str,
    paths: tuple[str, ...],
    at: str | None,
    repository: str | None,
    identity_path: str | None,
) -> None:
    """List the entries of a snapshot, or only PATHs and what lies below them."""
    opened = open_for_reading(context, repository, identity_path, [snapshot], at)
    picked = opened.pick(snapshot, instant(opened.wiring, at))
    root = opened.root(picked)
    entries = opened.reader.entries(root, opened.paths(root, paths))
    if context.as_json:
        listed = [entry_document(entry, show_path(entry.path)) for entry in entries]
        context.result({"snapshot": snapshot_document(picked), "entries": listed}, "")
        return
    say_lines((entry_line(entry, show_path(entry.path)) for entry in entries), context.command)
