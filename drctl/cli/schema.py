"""The plan's JSON Schema."""

import json

import click

from drctl.cli.context import Context, output_options, pass_context


@click.command()
@output_options
@pass_context
def command(context: Context) -> None:
    """Print the plan's JSON Schema. For an editor's YAML language server, begin the plan with
    "# yaml-language-server: $schema=FILE"."""
    from drctl.plan.schema import schema

    made = schema()
    context.result(made, json.dumps(made, indent=1))
