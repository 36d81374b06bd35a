"""From a repository's place in the plan to its bare storage."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from drctl.clock import Clock
from drctl.engines.s3bucket_place import S3Credentials, S3Place
from drctl.errors import KeyUnavailable, UsageError
from drctl.plan.model import Limits, RepositoryPart
from drctl.plan.secrets import resolve
from drctl.repository import names
from drctl.repository.retention import Rule
from drctl.storage.base import Storage
from drctl.storage.local import Local
from drctl.storage.s3 import Credentials
from drctl.storage.s3_lock import Lock, LockedS3
from drctl.storage.s3_versions import S3AsOf
from drctl.storage.s3_watch import WatchfulS3
from drctl.storage.throttle import Pace, Throttle
from drctl.units import parse_duration, parse_rate

_SDKS_OWN = "AWS_ACCESS_KEY_ID"


@dataclass(frozen=True, slots=True)
class Places:
    """`base`: where relative paths begin. `kept`: secrets by reference, from a recovery kit, for
    those that this machine does not have itself; None without a kit. `as_of_ns`: read buckets as
    they were then."""

    base: str
    kept: Mapping[str, str] | None = field(default=None, repr=False)
    as_of_ns: int | None = None

    def bare(self, part: RepositoryPart, locked: Callable[[int], None]) -> Storage:
        """A storage without wrappers and lock. `locked` is told until when the repository that is
        there is locked, where it is. Raises KeyUnavailable, UsageError."""
        if part.path is not None:
            if self.as_of_ns is not None:
                raise UsageError(
                    f"{part.path}: a directory keeps no earlier versions",
                    hint="--as-of reads a versioned bucket: name one with --from",
                )
            return Local(os.path.join(self.base, part.path))
        assert part.s3 is not None  # noqa: S101 - the plan's checks saw to it
        place, rest = part.s3, self._rest(part.s3)
        if self.as_of_ns is None:
            return WatchfulS3(place.bucket, place.prefix, names.CONFIG, locked, **rest)
        return S3AsOf(place.bucket, place.prefix, self.as_of_ns, **rest)

    def locked(
        self, part: RepositoryPart, clock: Clock, written: dict[str, int]
    ) -> LockedS3 | None:
        """The storage that locks what is put; None where the plan asks for no lock, or the past
        is read. `written`: where it tells what it locked."""
        if part.lock is None or part.s3 is None or self.as_of_ns is not None:
            return None
        mode: Literal["COMPLIANCE", "GOVERNANCE"] = part.lock.mode.upper()
        lock = Lock(mode, parse_duration(getattr(part.lock, "for")))
        rest = self._rest(part.s3)
        return LockedS3(part.s3.bucket, part.s3.prefix, lock, clock, written, names.PASSING, **rest)

    def _rest(self, place: S3Place) -> dict[str, Any]:
        credentials = self._credentials(place.credentials)
        return {"endpoint": place.endpoint, "region": place.region, "credentials": credentials}

    def _credentials(self, own: S3Credentials) -> Credentials:
        if own.profile and (of_kit := self._kept_profile(own.profile)):
            return of_kit
        return Credentials(
            self._secret(own.access_key),
            self._secret(own.secret_key),
            self._secret(own.session_token),
            own.profile or "",
        )

    def _kept_profile(self, profile: str) -> Credentials | None:
        """The kit's, where this machine's own files have no such profile."""
        kept = self.kept or {}
        access, secret = (kept.get(f"profile:{profile}:{half}") for half in ("id", "key"))
        if access is None or secret is None:
            return None
        from boto3 import Session

        return None if profile in Session().available_profiles else Credentials(access, secret)

    def _secret(self, reference: str | None) -> str:
        if not reference:
            return ""
        try:
            return resolve(reference, self.base)
        except KeyUnavailable:
            if self.kept is None:
                raise
            if reference not in self.kept and _SDKS_OWN not in os.environ:
                raise
            return self.kept.get(reference, "")  # empty: the SDK looks for its own

    def secrets(self, parts: Mapping[str, RepositoryPart]) -> dict[str, str]:
        """What a recovery kit keeps: every secret by which the storages are reached. What is only
        lent for a time is not among them. Raises KeyUnavailable."""
        found: dict[str, str] = {}
        for own in (part.s3.credentials for part in parts.values() if part.s3):
            for reference in (own.access_key, own.secret_key):
                if reference and not own.session_token:
                    found[reference] = self._secret(reference)
            if own.profile:
                found |= _of_profile(own.profile)
        return found


def _of_profile(profile: str) -> dict[str, str]:
    from boto3 import Session
    from botocore.exceptions import BotoCoreError

    try:
        held = Session(profile_name=profile).get_credentials()
        frozen = held.get_frozen_credentials() if held else None
    except BotoCoreError as error:
        raise KeyUnavailable(
            f"the profile {profile} of the S3 credentials does not read",
            hint="mend it, or leave the credentials out of the kit with --without-credentials",
        ) from error
    if frozen is None or frozen.token or not frozen.access_key or not frozen.secret_key:
        return {}
    return {f"profile:{profile}:id": frozen.access_key, f"profile:{profile}:key": frozen.secret_key}


def limited(part: RepositoryPart, bare: Storage, clock: Clock, *, reading: bool = False) -> Storage:
    """A storage within its repository's limits on writing and, with `reading`, on being read."""
    limit = part.throttle or Limits()
    if limit.write:
        bare = Throttle(bare, write=Pace(parse_rate(limit.write), clock))
    if reading and limit.read:
        bare = Throttle(bare, read=Pace(parse_rate(limit.read), clock))
    return bare


def rule_of(part: RepositoryPart) -> Rule | None:
    """What a repository is to keep; None: everything. What is locked stays: a day more, since a
    lock begins when a snapshot is stored there, not at its instant."""
    keep, lock = part.keep, part.lock
    if keep is None:
        return None
    locked = parse_duration(getattr(lock, "for")) + 86_400 if lock else 0.0
    return Rule(
        keep.last or 0,
        keep.hourly or 0,
        keep.daily or 0,
        keep.weekly or 0,
        keep.monthly or 0,
        keep.yearly or 0,
        max(parse_duration(keep.within) if keep.within else 0.0, locked),
        frozenset(keep.tags),
    )
