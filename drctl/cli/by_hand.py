"""How a person does by hand what drctl would do: each step and each check as lines to type."""

import shlex
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from drctl.cli.recovering import place_of, restoring
from drctl.engines import engine
from drctl.ops.recovery.graph import Step
from drctl.ops.recovery.look import Expectation, Look
from drctl.plan import LoadedPlan
from drctl.plan.model import engine_of
from drctl.units import show_seconds

Document = dict[str, Any]
_FAILURES = {
    "stop": "",  # said once, above all steps
    "continue": "If it fails, go on, and mend it later.",
    "undo": "If it fails, take back what was done, from the last step to the first.",
}
_WHOLENESS = {
    "files": "Every block was proven while it was restored; look into a few files.",
    "btrfs": "Every block was proven while it was restored; look into a few files.",
    "command": "Every block was proven while it was restored; read it with what reads it.",
}
_LED_ANEW = (
    "Before a cluster that was set aside is started again: links in {0}.before/pg_tblspc that lead"
    " to {0}-tablespaces must lead to {0}.before-tablespaces."
)


class ByHand(Struct, frozen=True):
    """A plan, the values of its parameters, and its repositories in the order in which they are
    read, each with words for a person."""

    loaded: LoadedPlan
    values: Mapping[str, str]
    sources: tuple[tuple[str, str], ...]

    def at(self, asset: str) -> str:
        """Where an asset is put. A plan that does not say it leaves that to the person."""
        found = place_of(self.loaded, asset, self.values)
        return found or f"{self.loaded.base.rstrip('/')}/recovered/{asset}"

    # -- steps --------------------------------------------------------------------------------

    def step(self, number: int, step: Step) -> Document:
        """A step of a recovery as a document."""
        says, blocks = self._how(step)
        if step.env:
            says.append(f"Its program also needs, from your shell: {', '.join(step.env)}.")
        return {
            "number": number,
            "step": step.name,
            "kind": step.kind,
            "title": _title(step),
            "after": list(step.after),
            "says": says,
            "blocks": blocks,
            "checks": [self.check(look) for look in step.looks],
            "undo": shlex.join(step.undo),
            "limits": _limits(step),
            "on_failure": _FAILURES[step.on_failure],
            "signs": step.kind == "approval",
        }

    def _how(self, step: Step) -> tuple[list[str], list[Document]]:
        if step.kind == "restore":
            return self._restore(step.asset)
        if step.kind == "run":
            return [], [_block("", shlex.join(step.words))]
        if step.kind == "approval":
            told = f"drctl recover --approve {step.name} --by NAME"
            says = f"Ask {step.words[0]} for a yes. Write down who gave it, and when."
            return [says], [_block("If drctl recover is running, also:", told)]
        if step.kind == "wait":
            return [], [_block("", f"sleep {step.words[0]}")]
        if step.kind == "notify":
            return [f"Tell people: {step.words[0]}"], []
        return [], []

    def _restore(self, asset: str) -> tuple[list[str], list[Document]]:
        place, says = self.at(asset), []
        blocks = [
            _block(what, f"drctl restore {asset} --from {name} --to {shlex.quote(place)}")
            for name, what in self.sources
        ]
        if place_of(self.loaded, asset, self.values) is None:
            says.append(
                "The plan does not say where it is put: choose a place. 'drctl recover' needs"
                " --to DIRECTORY, or 'to' in this step."
            )
        if restoring(self.loaded.plan, asset).existing == "set_aside":
            aside, also = self._aside(asset)
            blocks.insert(0, _block("If something stands there, set it aside:", *aside))
            says += also
        else:
            says.append("Nothing is overwritten: if something stands there, it is refused.")
        says.append("Add --at 'YYYY-MM-DD HH:MM' for the state of an earlier moment.")
        return says, blocks

    def _aside(self, asset: str) -> tuple[list[str], list[str]]:
        """What is part of an asset is renamed with it. The commands, and what is to be known."""
        place = self.at(asset).rstrip("/")
        kind, settings = engine_of(self.loaded.plan.assets[asset])
        beside = () if _is_dump(settings) else engine(kind).beside
        lines = [shlex.join(["mv", place, f"{place}.before"])]
        for ending in beside:
            part, aside = shlex.quote(place + ending), shlex.quote(f"{place}.before{ending}")
            lines.append(f"if test -e {part}; then mv {part} {aside}; fi")
        also = _LED_ANEW.format(place) if kind == "postgres" and beside else ""
        return lines, [also] if also else []

    # -- checks -------------------------------------------------------------------------------

    def check(self, look: Look) -> Document:
        """A check as a document: how to look, and what must be found."""
        says, lines = self._look(look)
        return {"check": look.name, "says": says, "lines": list(lines), "due": _due(look)}

    def _look(self, look: Look) -> tuple[str, tuple[str, ...]]:
        if look.kind == "command":
            return "", (shlex.join(look.words),)
        if look.kind == "http":
            code = r"\n%{http_code}\n"
            return "", (shlex.join(["curl", "-sS", "-w", code, look.what]),)
        if look.kind == "sql":
            return self._asks(look.asset, look.what)
        if look.kind == "integrity":
            return self._wholeness(look.asset)
        if look.kind == "counts":
            return "Compare the rows of each table with what people remember.", ()
        return "Restore it once more, beside it, and compare:", self._twice(look.asset)

    def _twice(self, asset: str) -> tuple[str, ...]:
        place = self.at(asset)
        again = f"{place}.again"
        restore = f"drctl restore {asset} --from {self.sources[0][0]} --to {shlex.quote(again)}"
        return restore, shlex.join(["diff", "-r", "--no-dereference", place, again])

    def _asks(self, asset: str, query: str) -> tuple[str, tuple[str, ...]]:
        kind, settings = engine_of(self.loaded.plan.assets[asset])
        if kind == "sqlite":
            return "", (shlex.join(["sqlite3", "-readonly", self.at(asset), query]),)
        line = (shlex.join([*_client(kind, settings), *_question(kind, query)]),)
        return ("Once it is loaded:" if _is_dump(settings) else "Once its server is up:"), line

    def _wholeness(self, asset: str) -> tuple[str, tuple[str, ...]]:
        kind, settings = engine_of(self.loaded.plan.assets[asset])
        if kind in _WHOLENESS:
            return _WHOLENESS[kind], ()
        if kind == "sqlite":
            return self._asks(asset, "pragma integrity_check")
        if _is_dump(settings):
            return "Load it into an empty server, and see that nothing is refused.", ()
        return "Once its server is up:", (shlex.join(_examiner(kind, settings, self.at(asset))),)


def _block(says: str, *lines: str) -> Document:
    return {"says": says, "lines": list(lines)}


def _title(step: Step) -> str:
    titles = {
        "restore": f"Restore {step.asset}",
        "prove": f"Prove that {step.asset} is whole",
        "run": "Run a program",
        "check": "Check",
        "approval": f"Get the approval of {' '.join(step.words)}",
        "wait": f"Wait {_round(float(step.words[0])) if step.kind == 'wait' else ''}",
        "notify": "Tell people",
    }
    return titles[step.kind]


def _limits(step: Step) -> str:
    if step.kind in {"wait", "notify"}:
        return ""
    told = f"It may take {_round(step.timeout_seconds)}"
    times = {0: "", 1: "; try it once more if it fails"}
    return told + times.get(step.retries, f"; try it up to {step.retries} times more") + "."


def _round(seconds: float) -> str:
    return show_seconds(seconds).removesuffix(" 00s").removesuffix(" 00m")


def _due(look: Look) -> str:
    if look.kind in {"compare", "counts"}:
        return "nothing differs"
    if look.kind == "integrity":
        return "nothing is wrong"
    return _expected(look.expect) or "exit status 0"


def _expected(expect: Expectation | None) -> str:
    if expect is None:
        return ""
    parts = (
        None if expect.equals is None else f"exactly '{expect.equals}'",
        None if expect.min is None else f"at least {expect.min:g}",
        None if expect.max is None else f"at most {expect.max:g}",
        None if expect.contains is None else f"it holds '{expect.contains}'",
    )
    return ", ".join(part for part in parts if part)


# -- databases' own programs ----------------------------------------------------------------------


def _is_dump(settings: Any) -> bool:
    return bool(getattr(settings, "dump", False))


def _client(kind: str, settings: Any) -> list[str]:
    """What asks a server, up to the query."""
    if kind == "postgres":
        return ["psql", "-XAt", *_postgres(settings), "-d", settings.dbname, "-c"]
    if kind == "mariadb":
        return ["mariadb", "-N", "-B", *_mariadb(settings), "-e"]
    is_socket = settings.host.startswith("/")
    reach = ["-s", settings.host] if is_socket else ["-h", settings.host, "-p", str(settings.port)]
    return ["redis-cli", *reach]


def _question(kind: str, query: str) -> list[str]:
    return shlex.split(query) if kind == "redis" else [query]


def _examiner(kind: str, settings: Any, place: str) -> list[str]:
    if kind == "postgres":
        return ["pg_amcheck", *_postgres(settings), "--all"]
    if kind == "mariadb":
        return ["mariadb-check", *_mariadb(settings), "--all-databases", "--check"]
    return ["redis-check-rdb", f"{place.rstrip('/')}/dump.rdb"]


def _postgres(settings: Any) -> list[str]:
    host = ["-h", settings.host] if settings.host else []
    role = ["-U", settings.database_role] if settings.database_role else []
    return [*host, "-p", str(settings.port), *role]


def _mariadb(settings: Any) -> list[str]:
    user = [f"--user={settings.user}"] if settings.user else []
    if settings.host.startswith("/"):
        return [f"--socket={settings.host}", *user]
    return [f"--host={settings.host}", f"--port={settings.port}", *user]
