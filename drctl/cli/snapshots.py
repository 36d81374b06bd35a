"""List snapshots."""

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
from drctl.cli.emptied import way_back
from drctl.cli.newest import Known, Sought
from drctl.cli.reading import newest_of, open_to_list, order_of, source_of
from drctl.errors import ExitCode, UsageError
from drctl.events import Notice
from drctl.ops import group
from drctl.report.results import snapshot_document, snapshot_table
from drctl.repository import catalog, holds, names
from drctl.wiring import Wiring


@click.command()
@click.argument("asset", required=False, metavar="[ASSET|GROUP]")
@click.option("--deleted", is_flag=True, help="Those that 'drctl undelete' can bring back.")
@from_option
@as_of_option
@kit_option
@identity_option
@output_options
@pass_context
def command(
    context: Context,
    asset: str | None,
    deleted: bool,
    repository: str | None,
    identity_path: str | None,
) -> int:
    """List snapshots, of one ASSET, of a GROUP or of all, oldest first. Needs the writer credential
    only; where it is lost, an identity or a recovery kit."""
    wiring = context.wiring()
    name = source_of(context, wiring, repository)
    opened = open_to_list(context, wiring, name, identity_path)
    folder = names.TRASHED if deleted else names.SNAPSHOTS
    pool = context.pool()
    found = catalog.load(opened, pool, folder)
    if context.kit() and not repository and not deleted:
        known = Known(name, opened, found)
        sought = Sought([asset] if asset else list(wiring.loaded.plan.assets))
        best = newest_of(wiring, order_of(context, wiring), known, sought)
        if best != name:
            name, opened = best, open_to_list(context, wiring, best, identity_path)
            found = catalog.load(opened, pool, folder)
    held = holds.load(opened)
    for damaged in found.damaged:
        wiring.report.emit(Notice("warning", damaged))
    shown = found.of(asset) if asset else found.snapshots
    if asset and not shown:
        shown = tuple(s for s in found.snapshots if s.facts.get(group.NAME) == asset)
    if asset and not shown and not (deleted and catalog.load(opened, context.pool()).of(asset)):
        _must_be_in_plan(wiring, asset)
    if not shown and not deleted and (left := way_back(wiring, name, opened, found, asset or "")):
        wiring.warn(f"{opened.where}: {left}")
    text = snapshot_table(shown, held) if shown else "no snapshots"
    context.result([snapshot_document(s) | {"held": held.get(s.name)} for s in shown], text)
    return ExitCode.INTEGRITY if found.damaged else ExitCode.DONE


def _must_be_in_plan(wiring: Wiring, name: str) -> None:
    """A name that neither the plan nor the repository knows is a mistake, not an empty list."""
    plan = wiring.loaded.plan
    known = [*plan.assets, *plan.groups]
    if name not in known:
        raise UsageError(
            f"neither the plan nor the repository has '{name}'",
            hint=f"the plan has {', '.join(known)}",
        )
