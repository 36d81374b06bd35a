"""Check that a storage keeps its promises."""

import click

from drctl.cli.context import Context, output_options, pass_context
from drctl.errors import ExitCode, UsageError
from drctl.events import Phase
from drctl.repository import lifecycle, there
from drctl.storage.attack import attack, check_lock
from drctl.storage.contract import CheckResult, run_contract
from drctl.storage.retry import Retry
from drctl.wiring import Wiring


@click.group()
def command() -> None:
    """Check that a storage keeps its promises."""


@command.command(short_help="Try every promise that drctl builds on.")
@click.argument("repository", required=False)
@click.option("--attack", "is_attack", is_flag=True, help="Try to destroy a locked canary.")
@output_options
@pass_context
def check(context: Context, repository: str | None, is_attack: bool) -> int:
    """Try every promise that drctl builds on, in a folder of its own that is removed afterwards:
    whole puts, no overwriting, exact ranges, ordered listings.

    With --attack, where the plan has a lock, instead: try to delete, overwrite, shorten and weaken
    a canary that is locked for two minutes, with the plan's own credentials.
    """
    wiring = context.wiring()
    name = repository or wiring.primary()
    is_in_use = _look(wiring, name)
    storage = Retry(wiring.unlocked(name), wiring.clock)
    locked = wiring.lockable(name)
    if is_attack:
        results = _attack(context, wiring, name)
    else:
        context.report.emit(Phase(f"checking {storage.where}"))
        results = run_contract(storage, wiring.randomness)
        results += [check_lock(locked)] if locked else []
    failed = [r for r in results if not r.ok]
    lines = [_line(r) for r in results]
    wrong = wiring.lapsed() and "the plan lost its lock"
    wrong = wrong or ("" if is_in_use else "there is no drctl repository yet")
    state = f"{len(failed)} of {len(results)} promises are BROKEN" if failed else _held(wrong)
    context.result(
        {
            "storage": storage.where,
            "lock": locked.lock.mode.lower() if locked else None,
            "locks_lost": wiring.lapsed(),
            "checks": [
                {"promise": r.name, "ok": r.ok, "detail": r.detail, "seconds": round(r.seconds, 3)}
                for r in results
            ],
        },
        "\n".join([*lines, f"{storage.where}: {state}"]),
    )
    if failed:
        return ExitCode.STORAGE
    return ExitCode.PARTIAL if wiring.lapsed() else ExitCode.DONE


def _look(wiring: Wiring, name: str) -> bool:
    """Whether there is a repository, before anything is written: below a mount point without its
    disk it would lie on the wrong one. A lock that the plan lost is told. Raises StorageError."""
    storage = wiring.storage(name)
    is_in_use = lifecycle.is_in_use(storage)
    if not is_in_use and there.was_there(storage):
        raise there.missing(storage, "", "nothing was tried; where it was lost, see 'drctl init'")
    wiring.tell_if_lapsed(name)
    return is_in_use


def _held(but: str) -> str:
    return f"its promises hold, but {but}" if but else "all is well"


def _attack(context: Context, wiring: Wiring, name: str) -> list[CheckResult]:
    locked = wiring.lockable(name)
    if locked is None:
        raise UsageError(f"{name} has no lock to attack", hint="give it 'lock' in the plan")
    context.report.emit(Phase(f"attacking a locked canary in {locked.where}"))
    return attack(locked, wiring.past(name), wiring.clock, wiring.randomness)


def _line(result: CheckResult) -> str:
    mark = "ok    " if result.ok else "BROKEN"
    detail = f": {result.detail}" if result.detail else ""
    return f"{mark} {result.name}{detail}"
