"""What a copy is not to be given: the snapshots that its own rule would remove at once, what only
these need, what nothing needs, and indexes of packs that the copy knows already.

Without it a copy with a shorter memory would be given again, each time, what it has just removed.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import Executor

from msgspec import Struct

from drctl.codec.documents import Manifest
from drctl.errors import StorageError
from drctl.repository import catalog, collect, names, survey, trash
from drctl.repository.repository import Repository
from drctl.repository.retention import Rule, judge
from drctl.repository.survey import Needs, Survey


class Leaving(Struct, frozen=True):
    """Names that are not copied. `snapshots`: those that may be, by digest; None: all. One that was
    committed after the look is for the next time: what it needs may be among the names."""

    names: frozenset[str] = frozenset()
    snapshots: Mapping[str, Manifest] | None = None

    def leaves(self, name: str) -> bool:
        """Whether an object is not to be copied."""
        if name.startswith(names.SNAPSHOTS) and self.snapshots is not None:
            return names.digest_of(name) not in self.snapshots
        return name in self.names


ALL = Leaving()


def leave(source: Repository, copy: Repository, rule: Rule | None, pool: Executor) -> Leaving:
    """Looks at both. The caller's sign stands at the copy, so nothing marked goes meanwhile; what
    is going already cannot be relied on. Raises StorageError, IntegrityError."""
    here, there = survey.look(source, pool, probe=False), survey.look(copy, pool, probe=False)
    unwanted = _unwanted(here, there, rule)
    wanted = {d: m for d, m in here.snapshots.items() if d not in unwanted}
    refs = {m.refs for m in wanted.values()}
    needs = Needs(here.refs[digest] for digest in refs)
    needed = _packs(here, needs)
    packs = _lacking(here, there, needs, needed)
    _require_nothing_going(copy, here, packs)
    left = {
        names.SNAPSHOTS: unwanted,
        names.REFS: here.refs.keys() - refs,
        names.INDEX: _needless_index(here, there, packs),
        names.SESSIONS: _needless_sessions(here, needed),
    }
    found = {folder + digest for folder, digests in left.items() for digest in digests}
    found.update(use.info.name for digest, use in here.packs.items() if digest not in packs)
    staying = _staying(wanted.values(), there, unwanted)
    found |= collect.outlived_log(here.pieces, staying)
    found |= collect.abandoned_log(here.pieces, staying)
    return Leaving(frozenset(found), wanted)


def _unwanted(here: Survey, there: Survey, rule: Rule | None) -> frozenset[str]:
    """What the copy's rule would remove if it held all that both hold."""
    both = {**there.snapshots, **here.snapshots}
    verdicts = judge(
        (catalog.snapshot(digest, manifest) for digest, manifest in both.items()),
        rule,
        {**there.held, **here.held},
        here.seen_ns,
    )
    return frozenset(v.snapshot.name for v in verdicts if not v.stays) & here.snapshots.keys()


def _packs(here: Survey, needs: Needs) -> frozenset[str]:
    """Those that the wanted snapshots need: of two that hold the same, one that is not going."""
    marked = here.marked("packs")
    live = collect.use_of(here, needs, frozenset(), last=marked).live_bytes
    return frozenset(digest for digest, size in live.items() if size)


def _lacking(here: Survey, there: Survey, needs: Needs, packs: frozenset[str]) -> frozenset[str]:
    """But for those of which the copy has all that is needed in others that stay: each side
    rewrites its packs by itself, and would remove again what came of the other's rewriting."""
    lacking = {s for digest in packs for s, _ in here.packs[digest].segments if s in needs}
    for digest in there.packs.keys() - there.marked("packs") - there.broken:
        lacking.difference_update(segment for segment, _ in there.packs[digest].segments)
    return frozenset(
        digest
        for digest in packs
        if digest in there.packs or any(s in lacking for s, _ in here.packs[digest].segments)
    )


def _require_nothing_going(copy: Repository, here: Survey, packs: Iterable[str]) -> None:
    """What is being deleted there, a pack or the session of one, cannot be put there at the same
    time."""
    going = trash.condemned(copy, reviving=True)
    if any(
        bytes.fromhex(digest) in going.packs
        or any(session in going.sessions for (session, _), _ in here.packs[digest].segments)
        for digest in packs
    ):
        raise StorageError(
            f"{copy.where}: a prune that was killed there has to be completed first",
            hint="run 'drctl prune', then replicate again",
        )


def _needless_index(here: Survey, there: Survey, packs: frozenset[str]) -> frozenset[str]:
    """Index objects that say nothing new of the packs that are wanted, nor of what was lost at
    both."""
    known = {pack for named in there.index.values() for pack in named}
    lost = {segment for found in here.telling.values() for segment in found}
    for use in there.packs.values() if lost else ():
        lost.difference_update(segment for segment, _ in use.segments)
    telling = {d for d, segments in here.telling.items() if segments & lost}
    needless = {d for d, named in here.index.items() if named & packs <= known}
    return frozenset(needless - telling)


def _needless_sessions(here: Survey, packs: frozenset[str]) -> frozenset[str]:
    """Those of packs that are not wanted alone. Sessions without packs are those of logs, or of a
    run that begins."""
    of = {digest: collect.sessions_of(use) for digest, use in here.packs.items()}
    wanted = {session for digest in packs for session in of[digest]}
    return frozenset(session for sessions in of.values() for session in sessions) - wanted


def _staying(wanted: Iterable[Manifest], there: Survey, unwanted: frozenset[str]) -> list[Manifest]:
    return [*wanted, *(m for d, m in there.snapshots.items() if d not in unwanted)]
