"""Check the plan."""

import click

from drctl.cli.context import Context, output_options, pass_context


@click.command()
@output_options
@pass_context
def command(context: Context) -> None:
    """Check the plan. Mistakes end with exit code 3; findings are told and end with 0."""
    loaded = context.load()
    findings = [finding.show(loaded.path) for finding in loaded.findings]
    count = {0: "no findings", 1: "one finding"}.get(len(findings), f"{len(findings)} findings")
    head = f"{loaded.path}: valid; {len(loaded.plan.assets)} assets; {count}"
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
