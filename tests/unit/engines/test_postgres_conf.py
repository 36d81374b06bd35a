"""A restored cluster's configuration names no place but its own, whatever its form."""

import pytest

from drctl.engines.postgres_conf import at_home, elsewhere

TOP = "/srv/back"


@pytest.mark.parametrize(
    "line",
    [
        b"data_directory = '/srv/live'",
        b"  Data_Directory '/srv/live' # moved",
        b"data_directory='/srv/live'",
        b"data_directory = /srv/live",
        b"\tdata_directory\t=\t'/srv/live'",
    ],
)
def test_another_data_directory_becomes_a_comment(line) -> None:
    text, away = at_home(b"port = 1\n" + line + b"\nwork_mem = '1MB'\n", TOP)
    assert text == b"port = 1\n#" + line + b"\nwork_mem = '1MB'\n"
    assert away == ["/srv/live"]


@pytest.mark.parametrize(
    "line",
    [
        b"data_directory = '/srv/back'",
        b"data_directory = '/srv/../srv/back/'",
        b"#data_directory = '/srv/live'",
        b"data_directory_mode = 0700",
        b"log_line_prefix = 'data_directory = /srv/live'",
    ],
)
def test_what_names_no_other_place_stays_as_it_is(line) -> None:
    assert at_home(line, TOP) == (line, [])


def test_what_lies_outside_is_named() -> None:
    text = b"""
hba_file = '/etc/it''s/pg_hba.conf'
ident_file = 'users.conf'
include '/etc/more.conf'
include_dir = '/srv/back/conf.d'
include_if_exists = '../more/every.conf'
external_pid_file = ''
external_pid_file = /run/it.pid  # for the monitor
"""
    assert list(elsewhere(text, TOP)) == [
        "hba_file '/etc/it's/pg_hba.conf'",
        "include '/etc/more.conf'",
        "include_if_exists '../more/every.conf'",
        "external_pid_file '/run/it.pid'",
    ]
