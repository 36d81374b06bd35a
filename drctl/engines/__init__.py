"""What drctl can protect: one file a kind, one line here."""

from drctl.engines import btrfs, command, files, mariadb, postgres, redis, s3bucket, sqlite
from drctl.engines.base import Engine

ENGINES: tuple[Engine, ...] = (
    files.ENGINE,
    command.ENGINE,
    sqlite.ENGINE,
    mariadb.ENGINE,
    postgres.ENGINE,
    redis.ENGINE,
    btrfs.ENGINE,
    s3bucket.ENGINE,
)


def engine(kind: str) -> Engine:
    """Raises KeyError for a kind that does not exist."""
    return {found.kind: found for found in ENGINES}[kind]
