"""A cluster's own configuration files, as a restored directory may keep them.

`data_directory` in them outdoes -D: a server that is started over the copy would run in the place
that the setting names, which may be production's.
"""

import os
import re
from collections.abc import Iterator

_SETTING = re.compile(
    rb"^[ \t]*(?P<name>\w+)[ \t]*=?[ \t]*(?:'(?P<quoted>(?:[^'\\\n]|''|\\.)*)'|(?P<bare>[^\s#']+))",
    re.MULTILINE,
)
_ESCAPED = re.compile(rb"''|\\(.)")
# Where a server reads or writes without being asked, and where else its settings come from.
_ELSEWHERE = frozenset(
    (b"hba_file", b"ident_file", b"external_pid_file", b"stats_temp_directory",
     b"include", b"include_if_exists", b"include_dir")
)  # fmt: skip


def is_conf(path: bytes) -> bool:
    """postgresql.conf, and what it may include."""
    return path.endswith(b".conf")


def at_home(text: bytes, top: str) -> tuple[bytes, list[str]]:
    """A configuration file whose server stays in the directory `top`, and what it named instead.
    The line stays to be read, as a comment."""
    away: list[str] = []

    def settle(found: re.Match[bytes]) -> bytes:
        if found["name"].lower() != b"data_directory" or os.path.realpath(_value(found)) == top:
            return found[0]
        away.append(_value(found))
        return b"#" + found[0]

    return _SETTING.sub(settle, text), away


def elsewhere(text: bytes, top: str) -> Iterator[str]:
    """What a configuration file names outside of the directory `top`, as it would be written."""
    for found in _SETTING.finditer(text):
        name, value = found["name"].lower(), _value(found)
        if name in _ELSEWHERE and not _is_below(os.path.join(top, value), top):
            yield f"{name.decode()} '{value}'"


def _value(found: re.Match[bytes]) -> str:
    quoted = found["quoted"]
    value = found["bare"] if quoted is None else _ESCAPED.sub(_plain, quoted)
    return os.fsdecode(value)


def _plain(found: re.Match[bytes]) -> bytes:
    return found[1] or b"'"


def _is_below(path: str, top: str) -> bool:
    return os.path.commonpath((os.path.realpath(path), top)) == top
