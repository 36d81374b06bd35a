"""Every byte of a small repository wrong, every object cut at every length, swapped, removed."""

from collections import Counter
from collections.abc import Iterator
from itertools import combinations

from small_site import History, Objects, memory_of
from sweep import restores_right_or_tells, verification_tells

from longhaul.common import Haul


def run(haul: Haul) -> dict[str, object]:
    """How many of each kind of damage were tried, and how often a restore told of it."""
    history = haul.history("tiny", 6, 600)
    tried: Counter[str] = Counter()
    told: Counter[str] = Counter()
    for kind, what, objects, is_seen in damaged(history, haul.step):
        haul.where = f"{kind}: {what}"
        storage = memory_of(objects)
        words = [
            restores_right_or_tells(history, storage, name, tree)
            for name, tree in history.trees.items()
        ]
        assert verification_tells(history, storage) or not is_seen, f"nobody noticed: {haul.where}"
        tried[kind] += 1
        told[kind] += any(words)
    size = sum(map(len, history.objects.values()))
    return {"objects": len(history.objects), "bytes": size, "tried": tried, "restores_told": told}


def damaged(history: History, step: int) -> Iterator[tuple[str, str, Objects, bool]]:
    """(kind of damage, what, the objects, whether a verification must see it)."""
    for name, data in history.objects.items():
        for at in range(0, len(data), step):
            wrong = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
            # The config is JSON: its own proof may be written in other letters.
            is_other = name != "config" or data.strip().lower() != wrong.strip().lower()
            yield "bit wrong", f"{name} at {at}", {**history.objects, name: wrong}, is_other
        for length in range(0, len(data), step):
            is_other = data[:length].strip() != data.strip()
            short = {**history.objects, name: data[:length]}
            yield "cut short", f"{name} at {length}", short, is_other
        left = {other: held for other, held in history.objects.items() if other != name}
        yield "removed", name, left, not name.startswith(("index/", "keys/", "snapshots/"))
    for one, other in combinations(history.objects, 2):
        if one.split("/")[0] == other.split("/")[0]:
            changed = {one: history.objects[other], other: history.objects[one]}
            yield "swapped", f"{one} and {other}", {**history.objects, **changed}, True
