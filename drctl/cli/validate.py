"""Check the plan."""

import click

from drctl.cli.context import Context, output_options, pass_context
from drctl.plan import LoadedPlan
from drctl.units import count


@click.command()
@output_options
@pass_context
def command(context: Context) -> None:
    """Check the plan. Mistakes end with exit code 3; findings are told and end with 0."""
    loaded = context.load()
    lapses = _lapses(context, loaded)
    findings = [finding.show(loaded.path) for finding in loaded.findings]
    assets = count(len(loaded.plan.assets), "asset", "assets")
    head = f"{loaded.path}: valid; {assets}; {count(len(findings), 'finding', 'findings')}"
    document = {
        "plan": loaded.path,
        "digest": loaded.digest,
        "valid": True,
        "findings": [
            {"line": f.line, "column": f.column, "where": f.where, "what": f.what}
            for f in loaded.findings
        ],
        "locks_lost": lapses,
    }
    context.result(document, "\n".join([*findings, head]))


def _lapses(context: Context, loaded: LoadedPlan) -> dict[str, str]:
    """Buckets in which this host locked, and that the plan has no lock for any more."""
    if all(part.lock or not part.s3 for part in loaded.plan.repositories.values()):
        return {}
    from drctl.stores import LAPSED_HINT, Stores  # more than a plan needs to be read

    found = Stores(loaded, context.report).remembered_lapses()
    for name, lapse in found.items():
        context.warn(f"{lapse}; {LAPSED_HINT.format(name)}")
    return found
