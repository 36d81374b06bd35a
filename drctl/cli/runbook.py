"""Print the plan as a document for the person who has to recover by it."""

import click

from drctl.cli.context import Context, output_options, pass_context
from drctl.cli.findings import write_text
from drctl.cli.guide import guide
from drctl.report.pages import runbook_html, runbook_markdown

_FORMATS = {"markdown": runbook_markdown, "html": runbook_html}


@click.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(list(_FORMATS)),
    default="markdown",
    show_default=True,
    help="What it is written in.",
)
@click.option("--to", "to", metavar="FILE", help="Write it there, over what is there; else print.")
@output_options
@pass_context
def command(context: Context, form: str, to: str | None) -> None:
    """Print the plan as instructions: what is protected, where copies lie, who holds which keys,
    and how to recover step by step, by drctl and by hand.

    It is made from the plan and holds no secret. Print it, and make it again when the plan changes:
    it names the digest of the plan that it was made from.
    """
    document = guide(context.wiring())
    text = _FORMATS[form](document)
    if to:
        write_text(to, text)
        context.result(document, f"the runbook of {document['plan']['name']} is in {to}")
    else:
        context.result(document, text.rstrip("\n"))
