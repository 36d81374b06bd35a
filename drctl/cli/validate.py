"""Check the plan."""

import click

from drctl.cli.context import Context, output_options, pass_context
from drctl.units import count


@click.command()
@output_options
@pass_context
def command(context: Context) -> None:
    """Check the plan. Mistakes end with exit code 3; findings are told and end with 0."""
    loaded = context.load()
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
    }
    context.result(document, "\n".join([*findings, head]))
