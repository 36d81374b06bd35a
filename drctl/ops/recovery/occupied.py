"""What stands where an asset is to be put: seen, set aside or removed, together with what stands
beside it and is part of it. A database whose log was left behind is not whole any more.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress

from msgspec import Struct

from drctl.durable import sync_directory
from drctl.engines.unfinished import MARK
from drctl.errors import TargetRefused
from drctl.removing import remove_all


class Spot(Struct, frozen=True):
    """Where an asset is put. `beside` and `moved`: see engines.base.Engine."""

    to: str
    beside: Sequence[str] = ()
    moved: Callable[[str, str], None] | None = None

    def standing(self) -> list[str]:
        """What stands there that a restore would destroy: an empty directory is nothing."""
        found = [self.to] if _is_there(self.to) else []
        return found + [part for part in self._parts() if _holds_anything(part)]

    def is_whole(self) -> bool:
        """Whether something stands there that is not known to be what an interrupted restore
        left."""
        return _is_there(self.to) and not os.path.lexists(os.path.join(self.to, os.fsdecode(MARK)))

    def _parts(self, mark: str = "") -> list[str]:
        return [f"{self._name}{mark}{ending}" for ending in self.beside]

    @property
    def _name(self) -> str:
        return self.to.rstrip("/")

    def set_aside(self, mark: str) -> list[tuple[str, str]]:
        """Rename all of it, and give what is where now. It is on the disk when this returns; one
        that was killed meanwhile is called again. Raises TargetRefused."""
        aside = self._name + mark
        where = dict(zip((self.to, *self._parts()), (aside, *self._parts(mark)), strict=True))
        done = [(part, where[part]) for part in self.standing()]
        try:
            for part, now in done:
                _rename(part, now)
            if self.moved and os.path.lexists(aside):
                self.moved(self._name, aside)
            # Who says afterwards that the place is his must not be believed of what stood there.
            sync_directory(os.path.dirname(os.path.abspath(aside)))
        except OSError as error:
            raise TargetRefused(
                f"{error.filename or self.to}: cannot be set aside: {error.strerror}",
                hint="set it aside by hand, and go on with 'drctl recover --resume'",
            ) from error
        return done

    def remove(self) -> None:
        """Take away what was restored. Raises TargetRefused."""
        for part in (self.to, *self._parts()):
            _remove(part)


def _is_there(path: str) -> bool:
    if os.path.isdir(path) and not os.path.islink(path):
        return bool(os.listdir(path))
    return os.path.lexists(path)


def _holds_anything(path: str) -> bool:
    """Beside an asset, empty directories may have been prepared for what will be in them."""
    if not os.path.isdir(path):
        return os.path.lexists(path)
    inner = [os.path.join(path, name) for name in os.listdir(path)]
    return any(os.listdir(one) if os.path.isdir(one) else True for one in inner)


def _rename(path: str, now: str) -> None:
    if os.path.lexists(now):
        raise FileExistsError(0, f"{now} is there already", path)
    os.rename(path, now)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        left = remove_all(path)
        if left and _is_there(path):
            raise TargetRefused(left, hint="mend that, and go on with 'drctl recover --resume'")
        return
    for suffix in ("", ".drctl-partial"):
        with suppress(FileNotFoundError):
            os.unlink(path + suffix)
