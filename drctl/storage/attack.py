"""What a thief of the storage's credentials could do: tried on a canary, with these credentials.

A canary is locked for two minutes and attacked in every way in which an object can be destroyed.
What hides it (an overwrite, a delete marker) is allowed; that it still reads as it was is not
open to question. Nothing else in the bucket is touched.
"""

from collections.abc import Callable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from drctl.clock import Clock, Randomness
from drctl.errors import NotFound, StorageError, StorageFault
from drctl.storage.base import Storage
from drctl.storage.contract import BrokenPromise, CheckResult, expect
from drctl.storage.s3_lock import LockedS3, locked_date

CANARY_SECONDS = 120
_NS = 10**9


class _Scene(Struct, frozen=True):
    """The canary: `version` is the one that was locked, `until_ns` until when."""

    storage: LockedS3
    past: Callable[[int], Storage]
    clock: Clock
    name: str
    data: bytes
    version: str
    until_ns: int


def attack(
    storage: LockedS3, past: Callable[[int], Storage], clock: Clock, randomness: Randomness
) -> list[CheckResult]:
    """Every attack, and whether it was held off. `storage` is used with a short lock of its own
    mode; `past` opens the same place as it was at an instant. Raises StorageError when the canary
    cannot even be put."""
    short = storage.relocked(replace(storage.lock, period_seconds=CANARY_SECONDS))
    name = f"check-{randomness(8).hex()}/canary"
    data = randomness(64)
    short.put(name, data)
    version, until_ns = short.version_of(name), short.written[name]
    scene = _Scene(short, past, clock, name, data, version, until_ns)
    return [_run(promise, check, scene, clock) for promise, check in ATTACKS]


def check_lock(storage: LockedS3) -> CheckResult:
    """Whether the bucket can lock at all; nothing is written."""
    words = storage.lock_trouble()
    return CheckResult("the bucket keeps versions and locks them", not words, words, 0.0)


def _run(promise: str, check: Callable[[_Scene], None], scene: _Scene, clock: Clock) -> CheckResult:
    began, detail = clock.monotonic_seconds(), ""
    try:
        check(scene)
    except BrokenPromise as broken:
        detail = str(broken)
    except StorageError as error:
        detail = f"unexpected error: {error}"
    return CheckResult(promise, not detail, detail, clock.monotonic_seconds() - began)


def _refused(scene: _Scene, call: Callable[..., Any], what: str, **words: Any) -> None:
    """The storage must refuse it. A passing fault is no refusal."""
    try:
        scene.storage.try_on(scene.name, call, **words)
    except (StorageFault, NotFound):
        raise
    except StorageError:
        return
    raise BrokenPromise(what)


def _is_locked(scene: _Scene) -> None:
    found = scene.storage.retained_until_ns(scene.name)
    expect(found >= scene.until_ns, "the canary is not locked, though it was put with a lock")


def _delete(scene: _Scene) -> None:
    call = scene.storage.client.delete_object
    told = "the locked version was deleted"
    _refused(scene, call, told, VersionId=scene.version)


def _delete_by_right(scene: _Scene) -> None:
    call = scene.storage.client.delete_object
    told = (
        "the locked version was deleted: these credentials may bypass governance; take that right "
        "from them, or use mode: compliance"
    )
    _refused(scene, call, told, VersionId=scene.version, BypassGovernanceRetention=True)


def _shorten(scene: _Scene) -> None:
    soon_ns = scene.clock.now_ns() + 5 * _NS
    _refuse_retention(scene, "the lock was shortened", scene.storage.lock.mode, soon_ns, False)
    _refuse_retention(
        scene,
        "the lock was shortened: these credentials may bypass governance",
        scene.storage.lock.mode,
        soon_ns,
        True,
    )


def _weaken(scene: _Scene) -> None:
    """From compliance to governance, which others may bypass."""
    if scene.storage.lock.mode == "COMPLIANCE":
        told = "a compliance lock was turned into a governance lock"
        _refuse_retention(scene, told, "GOVERNANCE", scene.until_ns + 60 * _NS, False)


def _refuse_retention(scene: _Scene, told: str, mode: str, until_ns: int, bypass: bool) -> None:
    words: dict[str, Any] = {"BypassGovernanceRetention": True} if bypass else {}
    _refused(
        scene,
        scene.storage.client.put_object_retention,
        told,
        VersionId=scene.version,
        Retention={"Mode": mode, "RetainUntilDate": locked_date(until_ns)},
        **words,
    )


def _hide(scene: _Scene) -> None:
    """Overwritten, then deleted: both only hide it."""
    before = scene.past(scene.storage.head(scene.name).modified_ns)
    scene.clock.sleep(1.1)  # the storage's clock tells seconds
    scene.storage.try_on(scene.name, scene.storage.client.put_object, Body=b"overwritten")
    scene.storage.delete(scene.name)
    told = "what was overwritten and deleted does not read as of before"
    try:
        expect(before.get(scene.name) == scene.data, told)
    except NotFound as error:
        raise BrokenPromise(told) from error


ATTACKS: tuple[tuple[str, Callable[[_Scene], None]], ...] = (
    ("what is put is locked", _is_locked),
    ("a locked version cannot be deleted", _delete),
    ("a lock cannot be shortened", _shorten),
    ("a lock cannot be weakened", _weaken),
    ("overwriting and deleting only hide: as of before, it reads", _hide),
    ("no right of these credentials deletes a locked version", _delete_by_right),
)
