"""Mutated input to every decoder, twice: its bytes as they are, and sealed properly by a thief of
the writer credential into a repository that is then listed, verified and restored.

In a process of its own, with a limit on its memory; each input must be dealt with in bounded time,
and end in a value or in one of drctl's own errors.
"""

import json
import os
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from msgspec.structs import replace
from small_site import IDENTITY, RANDOMNESS, History, Kept, memory_of

from drctl.clock import system_randomness
from drctl.codec import documents, entries, keys, pack, seal, table
from drctl.codec.documents import SESSION_MAGIC
from drctl.errors import DrctlError
from drctl.report.results import snapshot_document
from drctl.repository import catalog, lifecycle, names
from drctl.repository.reader import Reader
from drctl.repository.repository import Repository
from drctl.repository.state import StateFile
from drctl.storage.memory import Memory
from longhaul.common import Haul

_MEMORY_BYTES = 1536 << 20
_MOST_SECONDS = 20.0
# Sizes that say the largest, numbers at their ends, depth, and what paths and texts must not hold.
_MARKS = [b"\xdd\xff\xff\xff\xff", b"\xdc\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6" + b"\xff" * 4,
          b"\xcf" + b"\xff" * 8, b"\xd3\x80" + bytes(7), b"\xcb\x7f\xf0" + bytes(6), b"\xc0",
          b"\xc1", b"\xff" * 4, bytes(8), b"[" * 50, b"\x91" * 50, b"1e999", b"\\ud800", b"..",
          b"/"]  # fmt: skip

Decoder = Callable[[bytes], object]


def run(haul: Haul) -> dict[str, object]:
    """Starts the process, and gives what it counted."""
    words = [sys.executable, "-m", "longhaul.fuzz", str(haul.top), str(haul.seed)]
    done = subprocess.run(
        [*words, str(haul.fuzz_seconds)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    found: dict[str, object] = json.loads(done.stdout)
    return found


def mutated(chance: random.Random, data: bytes, other: bytes) -> bytes:
    """A few of: bits, marks, cuts, repetitions, a piece of something else."""
    made = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 4, 16])):
        at = chance.randrange(len(made) + 1)
        how = chance.randrange(6)
        if how == 0 and made:
            made[at % len(made)] ^= 1 << chance.randrange(8)
        elif how == 1:
            made[at : at + chance.choice([0, 1, 4, 5])] = chance.choice(_MARKS)
        elif how == 2:
            del made[at : at + chance.choice([1, 4, 40, len(made)])]
        elif how == 3:
            made[at:at] = made[at : at + chance.choice([1, 8, 60])] * chance.choice([1, 3, 200])
        elif how == 4:
            begin = chance.randrange(len(other) + 1)
            made[at : at + 20] = other[begin : begin + 20]
        elif made:
            made[at % len(made)] = chance.choice([0, 1, 0x7F, 0x80, 0xFF])
    return bytes(made)


def main(top: Path, seed: int, seconds: int) -> dict[str, object]:
    """Half of the time for each of the two ways. Raises what is none of drctl's errors."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    chance = random.Random(seed)
    with ThreadPoolExecutor(2) as pool:
        haul = Haul(top, pool, seed, 0, 1, seconds)
        history = haul.history("fuzzed", 6, 600)
        fuzzed = _Fuzzed(chance, history, top)
        for way, share in ((fuzzed.decode_one, 0.5), (fuzzed.read_one, 1.0)):
            end = fuzzed.began + seconds * share
            while time.monotonic() < end:
                way()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {**fuzzed.counts, "slowest_seconds": round(fuzzed.slowest, 2), "peak_mib": peak}


class _Fuzzed:
    """Inputs, and what came of them."""

    def __init__(self, chance: random.Random, history: History, top: Path) -> None:
        self.chance = chance
        self.history = history
        self.state = top / "state"
        self.repository = lifecycle.open_as_writer(
            history.storage(), history.site.credential, system_randomness
        )
        self.counts: Counter[str] = Counter()
        self.slowest = 0.0
        self.began = time.monotonic()
        self.samples, self.decoders = self._samples()

    def _samples(self) -> tuple[dict[str, bytes], dict[str, Decoder]]:
        """Good input for each decoder, out of a real repository."""
        objects, plain = self.history.objects, self.plain
        found = {folder: next(n for n in objects if n.startswith(folder)) for folder in _META}
        block, root = self._entries()
        session = next(n for n in objects if n.startswith(names.SESSIONS))
        held = next(n for n in objects if n.startswith(names.PACKS))
        identity = keys.encode_identity(IDENTITY, "x", RANDOMNESS)
        toc = self.repository.toc_in(held, objects[held])
        decoders: dict[str, tuple[bytes, Decoder]] = {
            "index": (plain(found[names.INDEX]), table.decode),
            "refs": (plain(found[names.REFS]), documents.decode_refs),
            "manifest": (plain(found[names.SNAPSHOTS]), documents.decode_manifest),
            "block": (block, entries.decode_block),
            "root": (root, entries.decode_root),
            "toc": (table.encode([replace(toc, name=b"")]), lambda d: pack.decode_toc(d, 5000)),
            "session": (objects[session], _check_session),
            "config": (objects[names.CONFIG], lambda d: documents.decode_config(d, None)),
            "credential": (
                keys.encode_credential(self.history.site.credential).encode(),
                lambda d: keys.decode_credential(d.decode("latin-1")),
            ),
            "public half": (
                identity.encode(),
                lambda d: keys.identity_recipient(d.decode("latin-1")),
            ),
            "state": ((self.history.site.top / "state").read_bytes(), self._read_state),
            "frame": (_frame(b"plain" * 90), lambda d: seal.decompress(d, 1 << 20)),
        }
        return {k: v[0] for k, v in decoders.items()}, {k: v[1] for k, v in decoders.items()}

    def plain(self, name: str) -> bytes:
        folder, digest = name.split("/")
        return self.repository.get_meta(folder + "/", _META[folder + "/"], digest)

    def _entries(self) -> tuple[bytes, bytes]:
        """The plain bytes of a block and of a root."""
        reader = Reader(self.repository, self.repository.load_index(lambda _: None), IDENTITY)
        root = reader.root(catalog.manifest(self.repository, self.history.newest).root)
        return entries.encode_block(reader.block(root.blocks[0].blob)), entries.encode_root(root)

    def _read_state(self, data: bytes) -> object:
        self.state.write_bytes(data)
        return list(StateFile(str(self.state)).read())

    # -- the two ways -------------------------------------------------------------------------

    def decode_one(self) -> None:
        name, other = self.chance.choice(list(self.samples)), self.chance.choice(list(self.samples))
        data = mutated(self.chance, self.samples[name], self.samples[other])
        self._timed(f"decoded {name}", data, lambda: self.decoders[name](data))

    def read_one(self) -> None:
        """One object replaced by what a writer could seal."""
        folder = self.chance.choice(list(_META))
        name = self.chance.choice([n for n in self.history.objects if n.startswith(folder)])
        data = mutated(
            self.chance, self.plain(name), self.chance.choice(list(self.samples.values()))
        )
        storage = memory_of({n: d for n, d in self.history.objects.items() if n != name})
        opened = Repository(
            storage, self.repository.secrets, self.repository.recipients, system_randomness
        )
        opened.put_meta(folder, _META[folder], data)
        self._timed(f"sealed {folder}", data, lambda: self._use(storage))

    def _use(self, storage: Memory) -> None:
        """All that a person could do with it."""
        site, refused = self.history.site, None
        for deed in (self._list, site.verified, self._restore):
            try:
                deed(storage)
            except DrctlError as error:
                refused = error
        if refused:
            raise refused

    def _list(self, storage: Memory) -> None:
        for snapshot in self.history.site.snapshots(storage):
            json.dumps(snapshot_document(snapshot))

    def _restore(self, storage: Memory) -> None:
        """What it gives for a snapshot that is as it was is what was saved."""
        for snapshot in self.history.site.snapshots(storage):
            kept = Kept()
            self.history.site.restore(storage, snapshot.name, kept)
            tree = self.history.trees.get(snapshot.name)
            assert tree is None or all(tree[path] == data for path, data in kept.files.items())

    def _timed(self, kind: str, data: bytes, deed: Callable[[], object]) -> None:
        began = time.monotonic()
        try:
            deed()
            self.counts[f"{kind}: taken"] += 1
        except DrctlError:
            self.counts[f"{kind}: refused"] += 1
        except BaseException:
            print(f"{kind}: {data.hex()}", file=sys.stderr)
            raise
        took = time.monotonic() - began
        self.slowest = max(self.slowest, took)
        assert took < _MOST_SECONDS, f"{kind} took {took:.0f} s: {data.hex()}"


_META = {
    names.INDEX: documents.INDEX_MAGIC,
    names.REFS: documents.REFS_MAGIC,
    names.SNAPSHOTS: documents.SNAPSHOT_MAGIC,
}


def _check_session(data: bytes) -> object:
    """As it is, and with a right proof behind it."""
    body = data[:-32]
    documents.check_sealed(SESSION_MAGIC, body + sha256(body).digest())
    return documents.check_sealed(SESSION_MAGIC, data)


def _frame(plain: bytes) -> bytes:
    import zstandard

    return zstandard.compress(plain)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir(exist_ok=True)
    os.environ.pop("DRCTL_PASSPHRASE", None)
    print(json.dumps(main(place, int(sys.argv[2]), int(sys.argv[3]))))
