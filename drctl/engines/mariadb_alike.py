"""What a private server that replays a log takes over from the source: what stands in that one's
configuration, and decides what the log's statements mean.
"""

import json
import re
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from drctl.engines.mariadb_client import ask

if TYPE_CHECKING:
    from pymysql.connections import Connection

ASKED = ("lower_case_table_names", "default_storage_engine", "innodb_default_row_format")
_ENGINES = {"innodb", "myisam", "aria", "csv", "memory", "mrg_myisam"}  # of each server
_FORMATS = {"dynamic", "compact", "redundant"}
# Of those that statements name. Others only listen, or want a configuration of their own.
_PLUGINS = (
    "select plugin_name, plugin_library from information_schema.plugins where "
    "plugin_status = 'ACTIVE' and plugin_library is not null and (plugin_type in "
    "('STORAGE ENGINE', 'AUTHENTICATION', 'DATA TYPE', 'FUNCTION', 'FTPARSER') "
    "or plugin_library like 'provider%')"
)
_OTHER_SERVERS = {"FEDERATED", "SPIDER", "CONNECT", "S3"}
_OWN_PACKAGE = re.compile(
    r"(?:ha_)?(rocksdb|mroonga|oqgraph|columnstore|provider_[a-z0-9]+)\.so", re.IGNORECASE
)


class Plugin(Struct, frozen=True):
    """By its name, and the file that it is loaded from."""

    name: str
    library: str

    @property
    def package(self) -> str:
        """Debian's."""
        found = _OWN_PACKAGE.fullmatch(self.library)
        own = found[1].replace("_", "-").lower() if found else ""
        return f"mariadb-plugin-{own}" if own else "mariadb-server"


class Alike(Struct, frozen=True):
    """From a snapshot's private facts; one of an older drctl tells less."""

    zone: str = ""  # see mariadb_zone
    tables_case: str = ""
    row_format: str = ""
    engine: str = ""
    plugins: tuple[Plugin, ...] = ()

    @classmethod
    def of(cls, facts: dict[str, str]) -> "Alike":
        plugins = tuple(Plugin(*pair) for pair in json.loads(facts.get("plugins", "[]")))
        told = (facts.get(name, "") for name in ASKED)
        tables_case, engine, row_format = told
        return cls(facts.get("time_zone", ""), tables_case, row_format, engine, plugins)

    @property
    def options(self) -> tuple[str, ...]:
        """A library that is not here is no reason not to start."""
        words = [f"--plugin-load-add={one.name}={one.library}" for one in self.plugins]
        if self.tables_case in ("0", "1"):
            words.append(f"--lower-case-table-names={self.tables_case}")
        if self.engine.lower() in _ENGINES:
            words.append(f"--default-storage-engine={self.engine}")
        if self.row_format in _FORMATS:
            words.append(f"--innodb-default-row-format={self.row_format}")
        return tuple(words)


def plugins_of(server: "Connection[Any]") -> str:
    """As a fact of a snapshot: name and library of each."""
    found = [(str(name), str(library)) for name, library in ask(server, _PLUGINS)]
    return json.dumps(sorted(pair for pair in found if pair[0].upper() not in _OTHER_SERVERS))


def bear_with_memory(server: "Connection[Any]") -> list[str]:
    """A base has no rows of MEMORY tables, and the log changes them: so rows that are not there are
    passed over, which MariaDB does for all tables or for none. Gives the names of these tables."""
    found = ask(
        server,
        "select concat(table_schema, '.', table_name) from information_schema.tables where "
        "engine = 'MEMORY' and table_schema not in ('information_schema', 'performance_schema') "
        "order by 1",
    )
    if found:
        ask(server, "set global slave_exec_mode = 'IDEMPOTENT'")
    return [str(name) for (name,) in found]


def complete(server: "Connection[Any]", alike: Alike) -> list[Plugin]:
    """What only one that runs can take over. Gives what is not here."""
    here = {name for name, _ in json.loads(plugins_of(server))}
    if alike.engine in here:
        ask(server, f"set global default_storage_engine = '{alike.engine}'")
    return [one for one in alike.plugins if one.name not in here]
