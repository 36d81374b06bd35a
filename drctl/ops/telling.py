"""Tells people how a run ended: all of them at once, in bounded time, whatever becomes of it.

What is told lies in a document that holds no secrets; the addresses that it is sent to are secrets
themselves, and stand in no message.
"""

import os
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPException
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from drctl.clock import Clock
from drctl.engines.child import exit_words, running
from drctl.errors import DrctlError, ExitCode

Event = Literal["failure", "objective_missed", "recovered", "success"]
_ENDING_SECONDS = 6.0  # for a program to be ended that did not end by itself


class Told(Struct, frozen=True):
    """What was told last of one kind of run, and when. `about`: what was wrong then, a few words
    each that stay the same as long as it is."""

    event: Event
    exit_code: int
    at_ns: int
    about: tuple[str, ...] = ()

    def is_followed(self, now: "Told", again: float) -> bool:
        """Whether it is as bad as it was, by its code, and not long since that was told."""
        is_same = (now.event, now.exit_code) == (self.event, self.exit_code)
        return is_same and 0 <= (now.at_ns - self.at_ns) / 1e9 < again


def event_of(exit_code: int, before: Told | None) -> Event:
    """What an ending means to people, after what they know of."""
    if exit_code == ExitCode.DONE:
        is_better = before is not None and before.event in {"failure", "objective_missed"}
        return "recovered" if is_better else "success"
    return "objective_missed" if exit_code == ExitCode.OBJECTIVE_MISSED else "failure"


def is_news(now: Told, before: Told | None, again: float) -> bool:
    """What is as bad as it was is told once more only after `again` seconds; at once, where
    anything is wrong that was not. One code has many reasons: a copy that is behind must not hide a
    suspect snapshot."""
    if before is None or not before.is_followed(now, again):
        return True
    return now.exit_code == ExitCode.DONE or not set(now.about) <= set(before.about)


def known_now(now: Told, before: Told | None, again: float) -> Told:
    """What is remembered: of reasons that come and go each is told once in `again` seconds."""
    if before is None or not before.is_followed(now, again):
        return now
    return replace(now, about=tuple(sorted({*now.about, *before.about})))


class Recipient(Struct, frozen=True):
    """`name` is for people; `send` raises DrctlError, and may take its time."""

    name: str
    send: Callable[[], None]


def tell(recipients: Sequence[Recipient], seconds: float, clock: Clock) -> dict[str, str]:
    """Send to all of them. Gives for each that was not told why."""
    troubles: dict[str, str] = {r.name: "it did not answer in time" for r in recipients}

    def send(recipient: Recipient) -> None:
        try:
            recipient.send()
        except DrctlError as error:
            troubles[recipient.name] = error.what
        else:
            del troubles[recipient.name]

    threads = [threading.Thread(target=send, args=(r,), daemon=True) for r in recipients]
    for thread in threads:
        thread.start()
    end_seconds = clock.monotonic_seconds() + seconds + _ENDING_SECONDS
    for thread in threads:
        thread.join(max(end_seconds - clock.monotonic_seconds(), 0.0))
    return dict(troubles)


# -- webhooks -------------------------------------------------------------------------------------


class _Stay(urllib.request.HTTPRedirectHandler):
    """An address that holds a secret is not passed on to wherever its server says."""

    def redirect_request(self, *_: Any) -> None:
        return None


def post(url: str, body: bytes, seconds: float) -> None:
    """A JSON document by POST; a status of 200 to 299 is right. Raises DrctlError."""
    address = _parts(url)
    if address.scheme not in {"http", "https"}:
        raise DrctlError("its address does not begin with https:// or http://")
    if "@" in address.netloc:
        raise DrctlError("a user and a password in its address are not sent: use one with a token")
    headers = {"Content-Type": "application/json", "User-Agent": "drctl"}
    try:
        asked = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310 - seen above
        urllib.request.build_opener(_Stay).open(asked, timeout=seconds).close()
    except urllib.error.HTTPError as error:
        error.close()
        raise DrctlError(f"its server answered {error.code}") from error
    except TimeoutError as error:
        raise DrctlError("it did not answer in time") from error
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None)
        why = getattr(reason, "strerror", None) or type(reason or error).__name__
        raise DrctlError(f"it cannot be reached: {why}") from error


def _parts(url: str) -> urllib.parse.SplitResult:
    try:
        return urllib.parse.urlsplit(url)
    except ValueError as error:
        raise DrctlError("it is no address") from error  # what is wrong with it would show it


# -- programs -------------------------------------------------------------------------------------


def hand(words: Sequence[str], base: str, body: bytes, seconds: float) -> None:
    """Run a program with the document as its standard input. Raises DrctlError."""
    with os.fdopen(os.memfd_create("document"), "w+b") as document:  # a full disk is told, too
        document.write(body)
        document.seek(0)
        try:
            with running(words, stdin=document, cwd=base) as child:
                status = child.wait(seconds)
                said = child.last_line
        except TimeoutError as error:
            raise DrctlError("it did not end in time and was killed") from error
        except OSError as error:
            raise DrctlError(f"{words[0]} cannot be run: {error.strerror}") from error
    if status:
        raise DrctlError(f"{words[0]} {exit_words(status)}" + (f": {said}" if said else ""))
