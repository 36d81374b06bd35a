"""What differs between two snapshots."""

import click

from drctl.cli.context import (
    Context,
    from_option,
    identity_option,
    output_options,
    pass_context,
)
from drctl.cli.reading import open_for_reading
from drctl.ops.compare import changes
from drctl.ops.intake import show_path
from drctl.report.results import snapshot_document

_MARKS = {"added": "+", "removed": "-", "content": "M", "metadata": "m", "kind": "T"}


@click.command()
@click.argument("before", metavar="SNAPSHOT")
@click.argument("after", metavar="SNAPSHOT")
@from_option
@identity_option
@output_options
@pass_context
def command(
    context: Context, before: str, after: str, repository: str | None, identity_path: str | None
) -> None:
    """Show what differs between two snapshots.

    + added, - removed, M content, m metadata only, T another kind of thing.
    """
    opened = open_for_reading(context, repository, identity_path)
    old, new = opened.pick(before), opened.pick(after)
    read = opened.reader.entries
    found = changes(read(opened.root(old)), read(opened.root(new)))
    if not context.as_json:
        for change in found:
            click.echo(f"{_MARKS[change.what]} {show_path(change.path)}")
        return
    document = {
        "before": snapshot_document(old),
        "after": snapshot_document(new),
        "changes": [{"path": show_path(c.path), "what": c.what} for c in found],
    }
    context.result(document, "")
