"""What every command gets: the plan, a reporter, and how the result is printed."""

import json
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from click.core import ParameterSource

from drctl.cli.standard import say
from drctl.descriptors import too_few
from drctl.errors import DrctlError, KeyUnavailable, NoPlan, UsageError, WrongPassphrase
from drctl.events import Notice, Reporter
from drctl.units import parse_instant, show_text

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from drctl.codec.recipients import Identity
    from drctl.ops.kit import OpenKit
    from drctl.plan import LoadedPlan
    from drctl.wiring import Wiring

_TRIES = 3  # of a person who types a passphrase
_SHORT = 8  # letters
NEW_PASSPHRASE = "DRCTL_NEW_PASSPHRASE"  # noqa: S105 - the variable's name
_F = TypeVar("_F", bound=Callable[..., Any])

# Whoever has lost everything must not be led to make something new.
_READING = frozenset({"snapshots", "ls", "diff", "restore", "verify"})
_WITHOUT_PLAN = (
    "name it with --plan or DRCTL_PLAN. A repository and an identity are enough without one:\n"
    "  drctl snapshots --from DIRECTORY --identity FILE\n"
    "  drctl restore ASSET --to TARGET --from DIRECTORY --identity FILE\n"
    "  A DIRECTORY is named with a slash in it, such as ./repository.\n"
    "  A bucket is named s3://BUCKET/PREFIX, and its address and keys by AWS_ENDPOINT_URL,\n"
    "  AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
)


class Context:
    """One call of drctl."""

    def __init__(self) -> None:
        self.plan_path: str | None = None
        self.as_json = False
        self.quiet = False
        self.interrupted_hint = "nothing was lost; run it again"
        self.kit_files: tuple[str, ...] = ()
        self.place = ""  # a repository that no plan need know: a directory, or s3://BUCKET/PREFIX
        self.as_of: str | None = None
        self.command = ""  # as it was typed
        self.subject = ""  # what it works on; empty: everything
        self.is_run = True  # not a mere look at one
        self.began_seconds = time.monotonic()
        self.wired: Wiring | None = None
        self.document: Any = None  # the result
        self.error: DrctlError | None = None  # what ended it
        self._kit: tuple[OpenKit, str] | None = None
        self._unlocking: dict[str, Future[Identity]] = {}
        self._report: Reporter | None = None
        self._pools: list[ThreadPoolExecutor] = []

    # -- what a command works with ------------------------------------------------------------

    def load(self) -> "LoadedPlan":
        """The plan: that of --plan, else the kit's, where one is given. A repository that is named
        by its place is read without any. Raises PlanError, KeyUnavailable, UsageError."""
        if not self.place:
            return self._load()
        from drctl.plan.placed import placed, planless

        try:
            return placed(self._load(), self.place)
        except NoPlan:
            if self.plan_path:
                raise
            return planless(self.place)

    def _load(self) -> "LoadedPlan":
        from drctl import plan

        kit = self.kit()
        if kit and kit.document and not self.plan_path:
            path = f"the plan in {kit.document.name}"
            return plan.load_text(kit.document.plan.encode(), path, kit.document.base)
        try:
            return plan.load(self.find_plan())
        except NoPlan as error:
            if self.command in _READING:
                raise NoPlan(error.what, hint=_WITHOUT_PLAN) from error
            raise

    def find_plan(self) -> str:
        """The plan's path, by the order of lookup."""
        from drctl.plan.find import find

        return find(self.plan_path, os.environ)

    def wiring(self) -> "Wiring":
        """The plan with everything it needs."""
        from drctl.wiring import Wiring, sweep_drills

        loaded, kit = self.load(), self.kit()
        wiring = Wiring(loaded, self.report, kept=kit.secrets if kit else None)
        made = replace(wiring, as_of_ns=instant(wiring, self.as_of, "--as-of"))
        self.wired = made
        if told := too_few():
            self.warn(told)
        sweep_drills(made)
        return made

    @property
    def report(self) -> Reporter:
        """Shows events as this call wants them."""
        if self._report is None:
            from drctl.report.reporters import reporter

            self._report = reporter(as_json=self.as_json, quiet=self.quiet)
        return self._report

    def pool(self, *, behind: bool = False) -> "ThreadPoolExecutor":
        """The run's pool; it ends with the call, without waiting for what was not begun. `behind`:
        see workers.pool."""
        from drctl.workers import pool

        made = pool(behind=behind)
        self._pools.append(made)
        return made

    def close(self, *, hurried: bool = False) -> None:
        """Take the progress bar away and end the pool. `hurried`: see workers.end."""
        if close := getattr(self._report, "close", None):
            close()
        pools, self._pools = self._pools, []  # who breaks this off waits for none of them again
        for pool in pools:
            from drctl.workers import end  # `--help` has no pool, and need not load it

            end(pool, hurried=hurried)

    # -- keys ---------------------------------------------------------------------------------

    def kit(self) -> "OpenKit | None":
        """The recovery kit of `--kit`, opened once. Raises KeyUnavailable."""
        if self.kit_files and self._kit is None:
            from drctl.cli.kits import gather

            self._kit = gather(self.kit_files)
        return self._kit[0] if self._kit else None

    def identity(self, wiring: "Wiring", path: str | None) -> "Identity":
        """The identity of `--identity`, of `--kit`, or the plan's. Raises KeyUnavailable."""
        kit = self.kit()
        if kit and path is None:
            return kit.identity
        path = path or wiring.loaded.identity_path()
        begun = self._unlocking.pop(path, None)
        return begun.result() if begun else self._unlocked(path, self._identity_text(path))

    def unlock_ahead(self, path: str | None) -> None:
        """Begin to open what `identity` will be asked for, where nobody has to be asked for the
        passphrase: Argon2id takes a sixth of a second, in which modules can be loaded. What is
        wrong is told by whoever needs it."""
        from drctl.codec import keys  # noqa: F401 - not by two threads at once
        from drctl.private import PASSPHRASE

        if not os.environ.get(PASSPHRASE) or (self.kit_files and path is None):
            return
        with suppress(DrctlError):
            path = path or self.load().identity_path()
            unlock = partial(self._unlocked, path, self._identity_text(path))
            self._unlocking[path] = self.pool().submit(unlock)

    def _identity_text(self, path: str) -> str:
        try:
            with open(path, encoding="utf-8") as file:
                mode, text = os.fstat(file.fileno()).st_mode, file.read()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            raise KeyUnavailable(
                f"{path}: {why}", hint="name the identity file with --identity"
            ) from error
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            self.warn(f"{path}: everybody here may read it, and try passphrases: chmod 600 {path}")
        return text

    def _unlocked(self, path: str, text: str) -> "Identity":
        """A person who types has three tries."""
        from drctl.codec.keys import decode_identity
        from drctl.private import PASSPHRASE

        tries = 1 if os.environ.get(PASSPHRASE) or not os.isatty(0) else _TRIES
        for left in reversed(range(tries)):
            try:
                return decode_identity(text, self.passphrase(f"Passphrase of {path}"))
            except KeyUnavailable as error:
                if not left or not isinstance(error, WrongPassphrase):
                    raise KeyUnavailable(f"{path}: {error.what}", hint=error.hint) from error
                click.echo(f"  {error.what}: type it again", err=True)
        raise AssertionError("the last try either succeeds or raises")

    def warn(self, text: str) -> None:
        self.report.emit(Notice("warning", text))

    def _judged(self, passphrase: str) -> str:
        """A new one. Argon2id slows down whoever guesses; it makes up for no few letters."""
        if len(passphrase) < _SHORT:
            self.warn(
                "the passphrase is very short: who gets hold of the identity file will guess it. "
                "'drctl key passphrase' takes a better one, such as five words"
            )
        return passphrase

    def passphrase(self, prompt: str, *, confirm: bool = False) -> str:
        """DRCTL_PASSPHRASE, or what a person types. Raises KeyUnavailable without either."""
        from drctl.private import PASSPHRASE

        given = os.environ.get(PASSPHRASE)
        if given:
            return self._judged(given) if confirm else given
        if not os.isatty(0):
            raise KeyUnavailable(
                "a passphrase is needed, and there is no terminal to ask at",
                hint=f"set {PASSPHRASE}, or run it in a terminal",
            )
        typed: str = click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True)
        return self._judged(typed) if confirm else typed

    def new_passphrase(self) -> str:
        """DRCTL_NEW_PASSPHRASE, or what a person types twice. Raises KeyUnavailable."""
        given = os.environ.get(NEW_PASSPHRASE)
        if given:
            return self._judged(given)
        if not os.isatty(0):
            raise KeyUnavailable(
                "a new passphrase is needed, and there is no terminal to ask at",
                hint=f"set {NEW_PASSPHRASE}, or run it in a terminal",
            )
        typed: str = click.prompt(
            "New passphrase", hide_input=True, confirmation_prompt=True, err=True
        )
        return self._judged(typed)

    def confirm(self, what: str, yes: bool) -> None:
        """Go on only if a person, or `--yes`, says so. Raises UsageError."""
        if yes:
            return
        click.echo(show_text(what), err=True)
        if not os.isatty(0):
            raise UsageError(
                "this has to be confirmed, and there is no terminal to ask at", hint="give --yes"
            )
        click.confirm("Go on?", abort=True, err=True)

    # -- results ------------------------------------------------------------------------------

    def result(self, document: Any, text: str) -> None:
        """The result: one JSON document, or text. Nothing with --quiet."""
        self.document = document
        if close := getattr(self._report, "close", None):
            close()
        if self.as_json:
            say(json.dumps(document, indent=1), self.command)
        elif text and not self.quiet:
            say(text, self.command)


def instant(wiring: "Wiring", text: str | None, option: str = "--at") -> int | None:
    """A time as people write it. Raises UsageError."""
    if text is None:
        return None
    try:
        return parse_instant(text, wiring.clock.now_ns())
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error


pass_context = click.make_pass_decorator(Context)


def output_options(function: _F) -> _F:
    """--json and --quiet, also after the command's name. A word that is empty is a mistake with
    every command: it comes from a variable that is not set, and may mean everything."""

    def set_json(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        ctx.find_object(Context).as_json |= value  # type: ignore[union-attr]

    def set_quiet(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        ctx.find_object(Context).quiet |= value  # type: ignore[union-attr]

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        _refuse_empty(click.get_current_context())
        return function(*args, **kwargs)

    made = cast(_F, checked)
    for option in (
        click.option(
            "-q",
            "--quiet",
            is_flag=True,
            expose_value=False,
            callback=set_quiet,
            help="Nothing but what went wrong.",
        ),
        click.option(
            "--json",
            is_flag=True,
            expose_value=False,
            callback=set_json,
            help="The result as one JSON document.",
        ),
    ):
        made = option(made)
    return made


def identity_option(function: _F) -> _F:
    """--identity FILE."""
    return click.option(
        "--identity", "identity_path", metavar="FILE", help="Identity file; else the plan's."
    )(function)


def _refuse_empty(ctx: click.Context) -> None:
    """Of what was given alone: a default may be nothing."""
    for parameter in ctx.command.params:
        name = parameter.name or ""
        value = ctx.params.get(name)
        if ctx.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        if value == "" or (isinstance(value, tuple) and "" in value):
            shown = parameter.opts[0] if isinstance(parameter, click.Option) else "a word"
            raise UsageError(f"{shown} is empty", hint="is a variable of the shell not set?")


def from_plan_option(function: _F) -> _F:
    """--from REPOSITORY, one of the plan's."""
    return click.option(
        "--from", "repository", metavar="REPOSITORY", help="Read this one; else the first."
    )(function)


def from_option(function: _F) -> _F:
    """--from REPOSITORY, or a place that stands in for the plan's repositories."""

    def keep(ctx: click.Context, _: click.Parameter, value: str | None) -> str | None:
        if value is None:
            return None
        from drctl.plan.placed import GIVEN, is_place

        if not is_place(value):
            return value
        ctx.find_object(Context).place = value  # type: ignore[union-attr]
        return GIVEN

    return click.option(
        "--from",
        "repository",
        metavar="REPOSITORY",
        callback=keep,
        help="Read this one, or a DIRECTORY or s3://BUCKET/PREFIX; else the first.",
    )(function)


def kit_option(function: _F) -> _F:
    """--kit FILE..., which takes the place of the plan and of the identity."""

    def keep(ctx: click.Context, _: click.Parameter, value: tuple[str, ...]) -> None:
        ctx.find_object(Context).kit_files = value  # type: ignore[union-attr]

    return click.option(
        "--kit",
        multiple=True,
        metavar="FILE",
        expose_value=False,
        callback=keep,
        help="Of a recovery kit: kit.json, a share, their directory, or - to type. Repeatable.",
    )(function)


def as_of_option(function: _F) -> _F:
    """--as-of TIME, which reads a versioned bucket as it was."""

    def keep(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
        ctx.find_object(Context).as_of = value  # type: ignore[union-attr]

    return click.option(
        "--as-of",
        metavar="TIME",
        expose_value=False,
        callback=keep,
        help="Read the versioned bucket as it was, whatever was overwritten or deleted since.",
    )(function)
