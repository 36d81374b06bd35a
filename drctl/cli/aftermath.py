"""After a run: whoever the plan names is told. Nothing here changes how the run ended."""

import json
import os
import socket
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from typing import Any

from msgspec.structs import asdict

from drctl import __version__
from drctl.cli.context import Context
from drctl.cli.ended import Ended, ended
from drctl.cli.metrics import keep_metrics
from drctl.cli.namesakes import home_of
from drctl.errors import DrctlError, ExitCode
from drctl.events import Notice
from drctl.ops.telling import Event, Recipient, Told, event_of, hand, is_news, known_now, post, tell
from drctl.plan import secrets
from drctl.plan.telling import Notify
from drctl.plan.telling import Recipient as To
from drctl.private import replace
from drctl.units import iso_instant, parse_duration
from drctl.wiring import Wiring

_MOST_REASONS = 20
_WORDS: dict[Event, str] = {
    "failure": "FAILED",
    "objective_missed": "missed an objective",
    "recovered": "is well again",
    "success": "ended well",
}


def conclude(context: Context, exit_code: int) -> None:
    """Leave the numbers, then tell people: what they are told must not hold up the numbers."""
    run = ended(context, exit_code)
    if run is None:
        return
    plan = run.wiring.loaded.plan
    try:
        if plan.metrics:
            keep_metrics(context, run, plan.metrics.textfile)
    except DrctlError as error:
        run.wiring.warn(f"the metrics were not written: {error.what}")
    if plan.notify and not (exit_code == ExitCode.INTERRUPTED and os.isatty(0)):
        _notify(run, plan.notify)


def _notify(run: Ended, notify: Notify) -> None:
    """Remember what each of them was told, so that the same is not told every ten minutes, and that
    whoever did not hear it is told by the next run."""
    path = _memory(run)
    heard = _remembered(path)
    due = {
        number: event
        for number, to in enumerate(notify.to)
        if (event := _due(run, notify, heard.get(_key(to))))
    }
    bodies = {n: json.dumps(_message(run, e)).encode() for n, e in due.items() if e in notify.on}
    troubles = tell_recipients(run.wiring, notify, bodies)
    told = {n: event for n, event in due.items() if n not in troubles}
    if told:
        known = {key: heard[key] for key in map(_key, notify.to) if key in heard}
        again = parse_duration(notify.again)
        for number, event in told.items():
            key = _key(notify.to[number])
            known[key] = known_now(_now(run, event), known.get(key), again)
        _remember(run, path, known)


def _due(run: Ended, notify: Notify, before: Told | None) -> Event | None:
    """What somebody who was told this last is to know; None: nothing new."""
    event = event_of(run.exit_code, before)
    if not is_news(_now(run, event), before, parse_duration(notify.again)):
        return None
    return "success" if event == "recovered" and event not in notify.on else event


def _now(run: Ended, event: Event) -> Told:
    return Told(event, run.exit_code, run.at_ns, tuple(run.about()))


def tell_recipients(wiring: Wiring, notify: Notify, bodies: Mapping[int, bytes]) -> dict[int, str]:
    """Tell each, by its number, something. Gives who was not told and why, which is warned of here.
    Secrets are looked up as late as this: one that is missing keeps no other from being told."""
    seconds = parse_duration(notify.timeout)
    ways = {number: _way(wiring, notify.to[number], seconds) for number in bodies}
    recipients = [
        Recipient(_name(number), partial(way, bodies[number])) for number, way in ways.items()
    ]
    found = tell(recipients, seconds, wiring.clock)
    for name, why in found.items():
        wiring.report.emit(Notice("warning", f"not told: {name}: {why}"))
    return {number: found[_name(number)] for number in bodies if _name(number) in found}


def _name(number: int) -> str:
    return f"notify.to[{number}]"


def _way(wiring: Wiring, to: To, seconds: float) -> Callable[[bytes], None]:
    if to.webhook:
        return partial(_post, to.webhook, wiring.loaded.base, seconds)
    assert to.run  # noqa: S101 - the plan's checks saw to it
    return partial(_hand, to.run, wiring.loaded.base, seconds)


def tell_step(wiring: Wiring, mode: str, step: str, words: str) -> list[str]:
    """A step of a recovery has something to say. Gives who was not told, and why."""
    plan, host = wiring.loaded.plan, socket.gethostname()
    if plan.notify is None:
        return []
    message = {
        "text": f"drctl: {mode} of {plan.name} on {host}: {words}",
        "event": "step",
        "step": step,
        "mode": mode,
        **_about(wiring),
        "at": iso_instant(wiring.clock.now_ns()),
    }
    body = json.dumps(message).encode()
    found = tell_recipients(wiring, plan.notify, dict.fromkeys(range(len(plan.notify.to)), body))
    return [f"{_name(number)}: {why}" for number, why in found.items()]


def _post(reference: str, base: str, seconds: float, body: bytes) -> None:
    post(secrets.resolve(reference, base), body, seconds)


def _hand(words: tuple[str, ...], base: str, seconds: float, body: bytes) -> None:
    program = os.path.join(base, words[0]) if "/" in words[0] else words[0]
    hand((program, *words[1:]), base, body, seconds)


def _message(run: Ended, event: Event) -> dict[str, Any]:
    """`text` is what chat programs show; the rest is for programs."""
    plan, host = run.wiring.loaded.plan, socket.gethostname()
    reasons = run.reasons() if run.exit_code else []
    what = f"{run.command} {run.subject}".strip()
    text = f"drctl: {what} of {plan.name} on {host} {_WORDS[event]}"
    if run.exit_code:
        text += f" (exit code {run.exit_code})"
    return {
        "text": "\n".join([text, *(f"- {reason}" for reason in reasons[:_MOST_REASONS])]),
        "event": event,
        **_about(run.wiring),
        "command": run.command,
        "subject": run.subject,
        "exit_code": run.exit_code,
        "reasons": reasons[:_MOST_REASONS],
        "hint": run.hint,
        "seconds": round(run.seconds, 3),
        "ended_at": iso_instant(run.at_ns),
    }


def _about(wiring: Wiring) -> dict[str, str]:
    plan = wiring.loaded.plan
    return {
        "plan": plan.name,
        "plan_sha256": wiring.loaded.digest,
        "owner": plan.owner,
        "host": socket.gethostname(),
        "drctl_version": __version__,
    }


# -- what was told before -------------------------------------------------------------------------


def _memory(run: Ended) -> str:
    of_run = f"{run.command} {run.subject}".encode()
    return os.path.join(home_of(run.wiring, "told"), sha256(of_run).hexdigest()[:16])


def _key(to: To) -> str:
    """Of a recipient, whatever its place in the list."""
    return sha256(to.model_dump_json().encode()).hexdigest()[:16]


def _remembered(path: str) -> dict[str, Told]:
    try:
        with open(path, encoding="utf-8") as file:
            return {key: Told(**told) for key, told in json.load(file).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # then it is told once too often


def _remember(run: Ended, path: str, heard: dict[str, Told]) -> None:
    known = {key: {**asdict(told), "exit_code": int(told.exit_code)} for key, told in heard.items()}
    try:
        replace(path, json.dumps(known))
    except OSError as error:
        run.wiring.warn(f"{path}: {error.strerror}: the same will be told again")
