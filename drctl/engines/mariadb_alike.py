"""What a private server that replays a log takes over from the source: see Private."""

from msgspec import Struct


class Alike(Struct, frozen=True):
    """From a snapshot's private facts; one of an older drctl tells less."""

    zone: str = ""  # see mariadb_zone

    @classmethod
    def of(cls, facts: dict[str, str]) -> "Alike":
        return cls(facts.get("time_zone", ""))
