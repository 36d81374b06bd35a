"""`drctl`: finds the command, and turns what happened into words and an exit code."""

import difflib
import importlib
import json
import os
import signal
import sys
import traceback
from contextlib import suppress
from types import FrameType
from typing import Any

import click

from drctl import __version__
from drctl.cli.context import Context, pass_context
from drctl.cli.loading import loading
from drctl.cli.standard import leave, say, settle
from drctl.descriptors import hint, widen
from drctl.errors import DrctlError, ExitCode, Interrupted, PlanError, StorageError, UsageError
from drctl.signals import ENDING
from drctl.units import show_text

COMMANDS = {
    "init": "Make a starter plan, the keys and the repositories.",
    "validate": "Check the plan and show what disaster recovery would say of it.",
    "schema": "Print the plan's JSON Schema, for editors.",
    "backup": "Take a snapshot of assets, all of them by default.",
    "stream": "Store databases' logs while they are written.",
    "wal": "Store and fetch PostgreSQL's WAL, file by file.",
    "snapshots": "List snapshots.",
    "status": "Show how things stand, and what is to be done.",
    "ls": "List what a snapshot holds.",
    "diff": "Show what differs between two snapshots.",
    "restore": "Put a snapshot back, whole or in part.",
    "verify": "Prove that a repository is whole.",
    "replicate": "Bring every copy up to date.",
    "prune": "Remove what the plan does not keep, and collect what nothing needs.",
    "hold": "Keep a snapshot whatever the rules say.",
    "unhold": "Leave a held snapshot to the rules again.",
    "undelete": "Bring a removed snapshot back.",
    "forget": "Remove a snapshot, also one that is damaged and does not read.",
    "drill": "Try the recovery out, and measure it against the objectives.",
    "recover": "Bring back what is lost, for real, step by step.",
    "runbook": "Print the plan as instructions for the person who recovers.",
    "gate": "Go on only with evidence of a recovery that was tried.",
    "report": "Show and verify what drills found.",
    "mark": "Write a marker into live assets, to measure freshness by.",
    "storage": "Check that a storage keeps its promises.",
    "key": "Show and mend keys.",
    "kit": "Make and prove the recovery kit.",
    "demo": "Try it all out in a directory of its own.",
}


class _Lazy(click.Group):
    """Loads a command's module when it is called: `--help` must be quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            near = difflib.get_close_matches(cmd_name, COMMANDS, 1)
            meant = f"; did you mean '{near[0]}'?" if near else ""
            ctx.fail(f"there is no command '{cmd_name}'{meant}")
        with loading():
            found = importlib.import_module(f"drctl.cli.{cmd_name}").command
        assert isinstance(found, click.Command)  # noqa: S101 - every command's file names it so
        return found

    def invoke(self, ctx: click.Context) -> Any:
        """Raises RuntimeError for a broken pipe: click takes any for a reader who had enough, and
        ends without a word. That holds for help; a run that one ended is not done."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            if ctx.ensure_object(Context).wired is None:
                raise
            raise RuntimeError(f"what it wrote to was closed: {error}") from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="drctl")
@click.option(
    "--plan",
    "plan_path",
    metavar="FILE",
    help="The plan. Otherwise DRCTL_PLAN, ./drctl.yaml, /etc/drctl/plan.yaml.",
)
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON document.")
@click.option("-q", "--quiet", is_flag=True, help="Nothing but what went wrong.")
@pass_context
def cli(context: Context, plan_path: str | None, as_json: bool, quiet: bool) -> None:
    """Back up what matters, copy it to another site, and prove that it comes back."""
    context.plan_path = plan_path
    context.as_json = as_json
    context.quiet = quiet
    context.command = click.get_current_context().invoked_subcommand or ""


def main() -> None:
    """The entry point. Never returns."""
    for name in ENDING:
        if signal.getsignal(name) != signal.SIG_IGN:  # nohup wants it to go on
            signal.signal(name, _interrupt)
    settle()
    widen()
    context = Context()
    try:
        code = run(context)
    except SystemExit:  # click's word for a reader of its help who had enough
        code = ExitCode.DONE
    except KeyboardInterrupt:  # once more, while the first one was being told
        code = ExitCode.INTERRUPTED
    with suppress(KeyboardInterrupt):  # whoever has enough of telling has the result already
        _conclude(context, int(code))
        context.close()
    leave(int(code))


def run(context: Context) -> int:
    """The command's exit code. What went wrong is told here and nowhere else."""
    try:
        found = cli.main(prog_name="drctl", standalone_mode=False, obj=context)
        return found if isinstance(found, int) else ExitCode.DONE
    except click.exceptions.Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        with suppress(KeyboardInterrupt):  # a second one: a terminal that is closed sends two
            context.close(hurried=True)
        return _tell(context, Interrupted("interrupted", hint=context.interrupted_hint))
    except click.ClickException as error:
        return _tell_usage(context, error)
    except DrctlError as error:
        context.close(hurried=isinstance(error, Interrupted | StorageError))
        return _tell(context, error)
    except Exception as error:  # noqa: BLE001 - a bug: the only traceback there is
        return _tell_unforeseen(context, error)


def _tell_unforeseen(context: Context, error: Exception) -> int:
    """A bug, but for too many open files and a working directory that is gone: any line that opens
    a file, or completes its name, may meet that."""
    context.close()
    if isinstance(error, FileNotFoundError) and _is_nowhere():
        gone = "the directory that drctl was started in is gone, and a name is relative to it"
        return _tell(
            context, UsageError(gone, hint="go elsewhere, such as 'cd /', and run it again")
        )
    to_do = hint(error, "") if isinstance(error, OSError) else ""
    if to_do:
        return _tell(context, DrctlError(str(error), hint=to_do))
    traceback.print_exception(error)
    return _tell(context, DrctlError(f"a bug in drctl {__version__}: {error}"))


def _is_nowhere() -> bool:
    """Whoever stood on a disk that was lost stands nowhere."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _tell_usage(context: Context, error: click.ClickException) -> int:
    """Before a command is reached nobody has looked at --json yet."""
    context.as_json = context.as_json or "--json" in sys.argv[1:]
    what = error.format_message()
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        if not context.as_json:
            click.echo(what, err=True)
            return ExitCode.USAGE
        what = "a command is wanted"
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx else "drctl"
    return _tell(context, UsageError(what, hint=f"see '{path} --help'"))


def _conclude(context: Context, code: int) -> None:
    """Tell those whom the plan names, where it names any. What a bug in that would tell is less
    than what the run did, so the exit code stays."""
    if context.wired is None:
        return
    plan = context.wired.loaded.plan
    if plan.notify is None and plan.metrics is None:
        return
    from drctl.cli.aftermath import conclude

    try:
        conclude(context, code)
    except Exception as error:  # noqa: BLE001 - a bug
        traceback.print_exc()
        context.wired.warn(f"a bug in drctl {__version__}: nobody was told: {error}")


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _tell(context: Context, error: DrctlError) -> int:
    context.close()
    context.error = error
    problems = error.problems if isinstance(error, PlanError) else ()
    if context.as_json:
        with suppress(StorageError):  # the exit code still tells
            say(json.dumps({"error": _document(error, problems)}, indent=1))
        return error.exit_code
    for problem in problems:
        click.echo(problem, err=True)
    click.echo(f"drctl: {show_text(error.what)}", err=True)
    if error.hint:
        click.echo(f"  {show_text(error.hint)}", err=True)
    return error.exit_code


def _document(error: DrctlError, problems: tuple[str, ...]) -> dict[str, object]:
    return {
        "kind": type(error).__name__,
        "what": error.what,
        "hint": error.hint,
        "exit_code": int(error.exit_code),
        "problems": list(problems),
    }
