"""What is done to snapshots at every repository of the plan that has them."""

from collections.abc import Callable

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

Doing = Callable[[str, Repository, str, Clock], bool]  # False: there was nothing to do


def at_every_repository(
    context: Context,
    typed: tuple[str, ...],
    done: str,
    doing: Doing,
    folder: str = names.SNAPSHOTS,
) -> int:
    """11 when a repository failed. Raises UsageError when no repository has one, StorageError when
    one failed and nothing was done at any."""
    wiring = context.wiring()
    wiring.credential()  # without it nothing is done anywhere: that is no repository's fault
    document: dict[str, dict[str, bool]] = {}
    failed: list[DrctlError] = []
    lines = []
    for place in wiring.loaded.plan.repositories:
        try:
            repository = wiring.as_writer(place)
            found = catalog.load(repository, context.pool(), folder)
            wanted = [name for text in typed for name in _named(found, text)]
            document[place] = {
                name: doing(place, repository, name, wiring.clock) for name in wanted
            }
        except (StorageError, IntegrityError, KeyUnavailable) as error:
            failed.append(error)
            wiring.report.emit(Notice("warning", f"{place}: {error.what}"))
            continue
        lines += [f"{place}: {n[:8]} {done}" for n, was in document[place].items() if was]
    reached = {name for names_of in document.values() for name in names_of}
    for text in typed:
        if not failed and not any(name.startswith(text.lower()) for name in reached):
            raise UsageError(
                f"no repository has a {'removed ' * (folder == names.TRASHED)}snapshot '{text}'",
                hint=where_it_is(wiring, text) or _hint(folder),
            )
    if failed and not lines:
        raise StorageError(f"nothing was {done}: {failed[0].what}", hint=failed[0].hint)
    context.result(document, "\n".join(lines) or "nothing was to be done")
    return ExitCode.PARTIAL if failed else ExitCode.DONE


def _hint(folder: str) -> str:
    deleted = " --deleted" if folder == names.TRASHED else ""
    return f"'drctl snapshots{deleted}' lists them"


def _named(found: catalog.Catalog, text: str) -> list[str]:
    """Raises UsageError when it is too short, or names several."""
    named = [s.name for s in found.snapshots if s.name.startswith(text.lower())]
    if len(text) < 4 or len(named) > 1:
        raise UsageError(f"'{text}' does not name one snapshot", hint="give more digits of its id")
    return named
