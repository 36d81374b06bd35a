"""The recovery kit: make one, open one from what people hold, prove that it opens a repository."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from drctl.clock import Randomness
from drctl.codec import kit as codec
from drctl.codec.kit import Kit
from drctl.codec.recipients import Identity, Recipient
from drctl.errors import DrctlError, KeyUnavailable
from drctl.events import Phase, Reporter
from drctl.model import Snapshot
from drctl.ops.recipients import sealed_away
from drctl.repository import catalog, lines
from drctl.repository.reader import Reader
from drctl.repository.repository import Repository
from drctl.units import iso_instant


@dataclass(frozen=True, slots=True)
class Shares:
    """A kit that was just made: what its holders get, and who it reads as."""

    kit: Kit
    shares: tuple[str, ...] = field(repr=False)
    recipient: Recipient


@dataclass(frozen=True, slots=True)
class OpenKit:
    """What enough shares open. `document` is None where only words were at hand."""

    document: Kit | None
    identity: Identity = field(repr=False)
    secrets: dict[str, str] = field(repr=False)
    shares: tuple[int, ...]  # the numbers of those that were given


@dataclass(frozen=True, slots=True)
class Blank:
    """What a kit says beside its secret."""

    name: str
    need: int
    of: int
    repository: str
    base: str
    plan: str
    made_at_ns: int


def make(blank: Blank, secrets: dict[str, str], randomness: Randomness) -> Shares:
    """A new kit, with an identity of its own. It reads nothing until that is a recipient."""
    seed = randomness(codec.SEED_BYTES)
    recipient = codec.identity(blank.name, seed).recipient()
    kit = Kit(
        blank.name,
        iso_instant(blank.made_at_ns),
        blank.need,
        blank.of,
        recipient.fingerprint,
        blank.repository,
        blank.base,
        blank.plan,
        codec.seal_secrets(seed, secrets, randomness),
    )
    return Shares(kit, tuple(codec.split(seed, blank.need, blank.of)), recipient)


def open_kit(document: Kit | None, shares: Sequence[str]) -> OpenKit:
    """Raises KeyUnavailable: too few shares, or not of this kit."""
    seed = codec.combine(shares)
    name = document.name if document else "the kit"
    identity = codec.identity(name, seed)
    if document and document.fingerprint != identity.recipient().fingerprint:
        raise KeyUnavailable(
            f"these shares are not of {document.name}", hint="look at the name on their pages"
        )
    secrets = codec.open_secrets(seed, document.sealed) if document else {}
    numbers = sorted({codec.number(share) for share in shares})
    return OpenKit(document, identity, secrets, tuple(numbers))


# -- the proof ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Proof:
    """What the kit opens in one repository. `read`: assets whose newest snapshot gave data."""

    where: str
    sessions: int = 0
    closed: int = 0
    read: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        return not (self.closed or self.wrong)


def prove(repository: Repository, identity: Identity, pool: Executor, report: Reporter) -> Proof:
    """Is every session sealed to the kit, and does data of each asset's newest snapshot come out?
    Raises StorageError."""
    report.emit(Phase(f"proving what the kit opens in {repository.where}"))
    proof = Proof(repository.where)
    recipient = identity.recipient()
    proof.closed, proof.sessions = sealed_away(repository.storage, recipient, pool)
    reader = Reader(repository, repository.load_index(proof.wrong.append, pool), identity)
    found = catalog.load(repository, pool)
    proof.wrong += found.damaged
    for snapshot in lines.newest(found.snapshots):
        try:
            _read_some(reader, snapshot)
        except DrctlError as error:
            proof.wrong.append(f"{snapshot.asset}: snapshot {snapshot.short}: {error.what}")
        else:
            proof.read.append(snapshot.asset)
    return proof


def _read_some(reader: Reader, snapshot: Snapshot) -> None:
    """The list of entries, and the first content that there is."""
    root = reader.root(snapshot.root)
    for entry in reader.entries(root):
        if leaves := reader.leaves(entry):
            reader.blobs(leaves[:1])
            return
