"""The data that is backed up: made here, the same each time, and changed as production changes."""

import os
import random
import shutil
import sys
import sysconfig
import time
from pathlib import Path

_PIECE = 8


class Tree:
    """Several copies of a Python installation and of what Debian installed, each with differences
    of its own, as hosts have them."""

    name = "tree"

    def __init__(self, top: Path, entries: int) -> None:
        self.path = top / "tree"
        self._dice = random.Random(1)
        self._entries = entries

    def make(self) -> None:
        """Copies until there are entries enough."""
        if self.path.exists():
            return
        partial = self.path.with_name("tree.partial")
        shutil.rmtree(partial, ignore_errors=True)
        count = 0
        while count < self._entries:
            for source in _sources():
                to = partial / f"host-{count}"
                shutil.copytree(source, to, symlinks=True, ignore=_unreadable)
                count += self._differ(to)
                if count >= self._entries:
                    break
        settle()
        partial.rename(self.path)

    def _differ(self, top: Path) -> int:
        """One file in twenty gets a line of its own. Gives the number of entries."""
        files = [Path(where) / name for where, _, names in os.walk(top) for name in names]
        for path in self._dice.sample(files, len(files) // 20):
            if path.is_file() and not path.is_symlink():
                with path.open("ab") as file:
                    file.write(b"# %d\n" % self._dice.getrandbits(64))
        return len(files)

    def change(self) -> None:
        """One file in a hundred is changed, one in two hundred goes, as many are new."""
        files = [Path(where) / name for where, _, names in os.walk(self.path) for name in names]
        regular = [path for path in files if path.is_file() and not path.is_symlink()]
        for path in self._dice.sample(regular, len(regular) // 100):
            with path.open("ab") as file:
                file.write(b"# %d\n" % self._dice.getrandbits(64))
        for path in self._dice.sample(regular, len(regular) // 200):
            new = path.with_name(f"{path.name}-{self._dice.getrandbits(32):x}")
            shutil.copy2(path, new)
            path.unlink()
        settle()


class Many:
    """Small files in folders of a thousand, for how cost grows with their number."""

    def __init__(self, top: Path, entries: int) -> None:
        self.name = f"{entries} files"
        self.path = top / f"many-{entries}"
        self._entries = entries

    def make(self) -> None:
        dice = random.Random(2)
        for i in range(self._entries):
            folder = self.path / f"{i // 1000:04}"
            if i % 1000 == 0:
                folder.mkdir(parents=True)
            (folder / f"{i:07}").write_bytes(dice.randbytes(100) * 5)
        settle()

    def change(self) -> None:
        for i in range(0, self._entries, 100):
            (self.path / f"{i // 1000:04}" / f"{i:07}").write_bytes(os.urandom(100) * 5)
        settle()


class Large:
    """One file of so many GiB, half of it incompressible."""

    def __init__(self, top: Path, gib: int) -> None:
        self.name = f"{gib} GiB"
        self.path = top / f"large-{gib}"
        self._gib = gib

    def make(self) -> None:
        self.path.mkdir()
        dice = random.Random(3)
        with (self.path / "file").open("wb") as file:
            for _ in range(self._gib * 1024 // _PIECE):
                piece = dice.randbytes((_PIECE << 20) // 2)
                file.write(piece + bytes(piece[:64] * (len(piece) // 64)))
        settle()

    def change(self) -> None:
        """A MiB in every 64."""
        with (self.path / "file").open("r+b") as file:
            for offset in range(0, self._gib << 30, 64 << 20):
                file.seek(offset)
                file.write(os.urandom(1 << 20))
        settle()


class Own:
    """The machine's own /usr, as it is: hard links, odd modes, other owners and all."""

    name = "/usr"
    path = Path("/usr")

    def make(self) -> None: ...

    def change(self) -> None: ...


def _sources() -> list[Path]:
    """Whatever this machine has: Python installations first, such as pyenv keeps."""
    found = [Path.home() / ".pyenv/versions", Path(sys.base_prefix).parent, Path("/opt/python")]
    around = {path.resolve() for top in found for path in top.glob("[0-9]*")}
    standard = Path(sysconfig.get_paths()["stdlib"]).resolve()
    pythons = sorted(path for path in around if (path / "bin").is_dir()) or [standard]
    return [*pythons, Path("/usr/share"), Path("/usr/lib")]


def _unreadable(folder: str, names: list[str]) -> set[str]:
    """Special files are left out."""
    paths = {name: Path(folder) / name for name in names}
    return {n for n, p in paths.items() if not (p.is_symlink() or p.is_file() or p.is_dir())}


def settle() -> None:
    """A file that was changed in the last seconds is read again by every careful tool."""
    os.sync()
    time.sleep(3)
