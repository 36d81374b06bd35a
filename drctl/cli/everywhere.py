"""What is done to snapshots at every repository of the plan that has them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from drctl.cli.context import Context
from drctl.cli.reading import where_it_is
from drctl.clock import Clock
from drctl.errors import (
    DrctlError,
    ExitCode,
    IntegrityError,
    KeyUnavailable,
    StorageError,
    UsageError,
)
from drctl.events import Notice
from drctl.repository import catalog, names
from drctl.repository.repository import Repository
from drctl.wiring import Wiring

Doing = Callable[[str, Repository, str, Clock], bool]  # False: there was nothing to do


def at_every_repository(
    context: Context,
    typed: tuple[str, ...],
    done: str,
    doing: Doing,
    folder: str = names.SNAPSHOTS,
) -> int:
    """11 when a repository failed. Raises UsageError, before anything is done, for what does not
    name one snapshot or is nowhere; StorageError when one failed and nothing was done at any."""
    wiring = context.wiring()
    wiring.credential()  # without it nothing is done anywhere: that is no repository's fault
    failed: list[DrctlError] = []
    there: dict[str, tuple[Repository, list[str]]] = {}
    for place in wiring.loaded.plan.repositories:
        with _telling(wiring, place, failed):
            repository = wiring.as_writer(place)
            found = catalog.load(repository, context.pool(), folder)
            there[place] = repository, [name for text in typed for name in _named(found, text)]
    reached = {name for _, wanted in there.values() for name in wanted}
    for text in typed:
        if not failed and not any(name.startswith(text.lower()) for name in reached):
            raise UsageError(
                f"no repository has a {'removed ' * (folder == names.TRASHED)}snapshot '{text}'",
                hint=where_it_is(wiring, text) or _hint(folder),
            )
    document: dict[str, dict[str, bool]] = {}
    for place, (repository, wanted) in there.items():
        with _telling(wiring, place, failed):
            document[place] = {
                name: doing(place, repository, name, wiring.clock) for name in wanted
            }
    lines = [
        f"{place}: {name[:8]} {done}"
        for place, outcome in document.items()
        for name, was in outcome.items()
        if was
    ]
    if failed and not lines:
        raise StorageError(f"nothing was {done}: {failed[0].what}", hint=failed[0].hint)
    context.result(document, "\n".join(lines) or "nothing was to be done")
    return ExitCode.PARTIAL if failed else ExitCode.DONE


@contextmanager
def _telling(wiring: Wiring, place: str, failed: list[DrctlError]) -> Iterator[None]:
    """One repository that fails keeps no other from what is to be done."""
    try:
        yield
    except (StorageError, IntegrityError, KeyUnavailable) as error:
        failed.append(error)
        wiring.report.emit(Notice("warning", f"{place}: {error.what}"))


def _hint(folder: str) -> str:
    deleted = " --deleted" if folder == names.TRASHED else ""
    return f"'drctl snapshots{deleted}' lists them"


def _named(found: catalog.Catalog, text: str) -> list[str]:
    """Raises UsageError when it is too short, or names several."""
    named = [s.name for s in found.snapshots if s.name.startswith(text.lower())]
    if len(text) < 4 or len(named) > 1:
        raise UsageError(f"'{text}' does not name one snapshot", hint="give more digits of its id")
    return named
