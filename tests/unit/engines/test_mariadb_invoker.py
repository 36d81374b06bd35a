"""Which statements a replica runs in the name of whoever ran them at the source."""

import struct

import pytest

from drctl.engines.mariadb_invoker import invoked

LINE = b"/*  all rights reserved  */\n"


def query(text: bytes) -> bytes:
    """A QUERY event by bob@localhost, in the database `own`."""
    variables = b"\x0b\x03bob\x09localhost"
    fixed = struct.pack("<IIBHH", 1, 0, 3, 0, len(variables))
    return bytes(19) + fixed + variables + b"own\0" + text


@pytest.mark.parametrize(
    ("text", "matters"),
    [
        (b"alter event e disable", True),
        (LINE * 40 + b"-- more\n--\n# and more\n/***/ create role r", True),
        (b"/* set up\n * roles */ grant r to current_user()", True),
        (LINE * 40 + b"create table t (i int)", False),
        (b"/* alter event e */ create table t (i int)", False),
        (b"/* never closed " + LINE[2:-4] * 9, False),
    ],
)
def test_a_head_of_many_comments_is_read_at_once(text: bytes, matters: bool) -> None:
    data = query(text)
    found = invoked(data, 0, len(data), is_packed=False)
    assert bool(found) == matters
    assert found is None or (found.shown, found.database) == ("bob@localhost", b"own")
