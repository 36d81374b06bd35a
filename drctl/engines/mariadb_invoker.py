"""Statements that a replica runs in the name of whoever ran them at the source.

The binlog names that account (Q_INVOKER) where it matters: it becomes the definer of an event that
is altered, the administrator of a role that is made, and is what CURRENT_USER means. The text that
mariadb-binlog writes has no word for it, and would do all that to whoever reads it.

So such a statement is run by a procedure of that account's. Where the account may not (it had its
rights from a role, or is not there any more) it is run as all others; its event or role is given to
the account by hand, and a person must hear of it.
"""

import re
import struct
import zlib

from msgspec import Struct

_HEADER_BYTES, _FIXED_BYTES = 19, 13
_INVOKER, _CATALOG, _ZONE = 11, 2, 5
# What stands before it among a statement's variables: their sizes. A catalog and a zone say theirs.
_SIZES = {0: 4, 1: 8, 3: 4, 4: 6, 7: 2, 8: 2, 9: 8, 10: 4}
_NAMED = {_ZONE, 6}
_SHOWN = 120
_MATTERS = re.compile(  # where each comment ends is plain: else a head of thirty would take an hour
    rb"(?:\s|/\*(?!!)(?:[^*]|\*(?!/))*\*/|--(?:[^\S\n][^\n]*)?\n|\#[^\n]*\n)*"
    rb"(?:alter\s+event\b|create\s+(?:or\s+replace\s+)?role\b|(?:grant|revoke|set|"
    rb"(?:alter|create|drop|rename)\s+(?:or\s+replace\s+)?user)\b.*\bcurrent_(?:user|role)\b)",
    re.IGNORECASE | re.DOTALL,
)
_END = b"\n/*!*/;\n"
_NO_PLACE = {b"", b"information_schema", b"performance_schema"}  # they take no procedure


class Invoked(Struct, frozen=True):
    """By whom and where. No user: by nobody in particular."""

    user: bytes
    host: bytes  # empty: it is a role
    database: bytes
    text: bytes

    @property
    def shown(self) -> str:
        return (self.user + b"@" + self.host).decode("utf-8", "backslashreplace")

    @property
    def shown_text(self) -> str:
        return " ".join(self.text.decode("utf-8", "backslashreplace").split())[:_SHOWN]


def invoked(data: bytes | memoryview, begin: int, end: int, *, is_packed: bool) -> Invoked | None:
    """From a QUERY event, without its checksum; None where it does not matter who ran it."""
    at = begin + _HEADER_BYTES
    (size,) = struct.unpack_from("<H", data, at + 11)
    variables = bytes(data[at + _FIXED_BYTES : at + _FIXED_BYTES + size])
    text_at = at + _FIXED_BYTES + size + data[at + 8] + 1
    text = bytes(data[text_at:end])
    text = zlib.decompress(text[1 + (text[0] & 7) :]) if is_packed else text
    if not _MATTERS.match(text):
        return None
    database = bytes(data[at + _FIXED_BYTES + size : text_at - 1])
    return Invoked(*_account(variables), database, text)


def _account(variables: bytes) -> tuple[bytes, bytes]:
    at = 0
    while at < len(variables):
        code, at = variables[at], at + 1
        if code == _INVOKER:
            user = variables[at + 1 : at + 1 + variables[at]]
            at += 1 + len(user)
            return user, variables[at + 1 : at + 1 + variables[at]]
        if code in _NAMED:
            at += 1 + variables[at]
        elif code == _CATALOG:
            at += 2 + variables[at]
        elif code in _SIZES:
            at += _SIZES[code]
        else:
            break  # of what comes behind it
    return b"", b""


def on_behalf(said: bytes, one: Invoked, gtid: str, passing: str) -> bytes:
    """What mariadb-binlog said of the transaction, so that it is done in the name of the account.
    `passing`: ours. The table of this name holds what could not be done so."""
    statement = one.text + _END
    if said.count(statement) != 1:
        return said
    run = _run(one, gtid, passing) if one.user else statement
    return said.replace(statement, run + _OWN_ROLES.format(passing=passing).encode() + _END)


# Whoever grants a role must administrate it, and a replica need not.
_OWN_ROLES = (
    "insert ignore into mysql.roles_mapping (host, user, role, admin_option) "
    "select 'localhost', '{passing}', user, 'Y' from mysql.user where is_role = 'Y'\n/*!*/;\n"
    "flush privileges"
)


def make_admin(passing: str) -> str:
    """Of all roles that are there."""
    return _OWN_ROLES.format(passing=passing).split("\n")[0] + ";\n"


def _run(one: Invoked, gtid: str, passing: str) -> bytes:
    """A procedure has the sql_mode in which it was made, and its words are others in ORACLE's; the
    statement has its own all the same."""
    place = _quoted(b"mysql" if one.database.lower() in _NO_PLACE else one.database)
    name, inner = _quoted(passing.encode()), _quoted(f"{passing}-as".encode())
    who = _quoted(one.user) + (b"@" + _quoted(one.host) if one.host else b"")
    does = b"set sql_mode = @drctl_mode; execute immediate x'%s'" % one.text.hex().encode()
    own = b"'%s'" % passing.encode()
    roles = b"select group_concat(hex(user)) from mysql.user where is_role = 'Y'"
    theirs = _text(one.user + b"@" + one.host)
    lines = (
        b"set @drctl_mode = @@sql_mode, sql_mode = ''",
        b"create table if not exists mysql.%s (gtid text)" % name,
        b"create definer=%s procedure %s.%s() begin %s; end" % (who, place, inner, does),
        b"create procedure %s.%s() begin declare exit handler for sqlexception begin "
        b"insert into mysql.%s values ('%s'); set @drctl_roles = (%s); %s; "
        b"update mysql.event set definer = %s where definer = concat(%s, '@localhost'); "
        b"update ignore mysql.roles_mapping set user = %s, host = %s "
        b"where user = %s and not find_in_set(hex(role), coalesce(@drctl_roles, '')); end; "
        b"call %s.%s(); end"
        % (
            place,
            name,
            name,
            gtid.encode(),
            roles,
            does,
            theirs,
            own,
            _text(one.user),
            _text(one.host),
            own,
            place,
            inner,
        ),
        b"call %s.%s()" % (place, name),
        b"drop procedure %s.%s" % (place, name),
        b"drop procedure %s.%s" % (place, inner),
        b"set sql_mode = @drctl_mode",
    )
    return b"".join(line + _END for line in lines)


def _text(value: bytes) -> bytes:
    return b"convert(x'%s' using utf8mb4)" % value.hex().encode()


def _quoted(name: bytes) -> bytes:
    return b"`" + name.replace(b"`", b"``") + b"`"
