"""Check that a storage keeps its promises."""

import click

from drctl.cli.context import Context, output_options, pass_context
from drctl.errors import ExitCode
from drctl.events import Phase
from drctl.storage.contract import CheckResult, run_contract


@click.group()
def command() -> None:
    """Check that a storage keeps its promises."""


@command.command()
@click.argument("repository", required=False)
@output_options
@pass_context
def check(context: Context, repository: str | None) -> int:
    """Try every promise that drctl builds on, in a folder of its own that is removed afterwards:
    whole puts, no overwriting, exact ranges, ordered listings."""
    wiring = context.wiring()
    storage = wiring.storage(repository or wiring.primary())
    context.report.emit(Phase(f"checking {storage.where}"))
    results = run_contract(storage, wiring.randomness)
    failed = [r for r in results if not r.ok]
    lines = [_line(r) for r in results]
    state = f"{len(failed)} of {len(results)} promises are BROKEN" if failed else "all is well"
    context.result(
        {
            "storage": storage.where,
            "checks": [
                {"promise": r.name, "ok": r.ok, "detail": r.detail, "seconds": round(r.seconds, 3)}
                for r in results
            ],
        },
        "\n".join([*lines, f"{storage.where}: {state}"]),
    )
    return ExitCode.STORAGE if failed else ExitCode.DONE


def _line(result: CheckResult) -> str:
    mark = "ok    " if result.ok else "BROKEN"
    detail = f": {result.detail}" if result.detail else ""
    return f"{mark} {result.name}{detail}"
