"""A plan says where a secret lies. What it is, nobody ever shows."""

import os
from pathlib import Path

import pytest

from drctl.engines.values import check_reference
from drctl.errors import KeyUnavailable
from drctl.plan.secrets import path_of, resolve

SECRET = "hunter2-correct-horse"


@pytest.fixture
def base(tmp_path: Path) -> str:
    return str(tmp_path)


def lay(path: Path, text: str = SECRET + "\n", mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_secret_in_the_environment_is_found(base, monkeypatch) -> None:
    monkeypatch.setenv("SHOP_KEY", SECRET)
    assert resolve("env:SHOP_KEY", base) == SECRET


def test_a_secret_in_a_file_is_found_from_the_plans_directory(base, tmp_path) -> None:
    lay(tmp_path / "key")
    assert resolve("file:key", base) == SECRET
    assert resolve(f"file:{tmp_path / 'key'}", "/nowhere") == SECRET


def test_a_secret_in_the_home_directory_is_found(base, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", base)
    lay(tmp_path / "key")
    assert resolve("file:~/key", "/nowhere") == SECRET


def test_a_secret_that_a_command_prints_is_found(base, tmp_path) -> None:
    lay(tmp_path / "a key")
    assert resolve("command:cat 'a key'", base) == SECRET


def test_a_systemd_credential_is_found(base, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", base)
    lay(tmp_path / "writer")
    assert resolve("credential:writer", "/nowhere") == SECRET


def test_only_the_end_of_the_line_is_taken_off(base, tmp_path) -> None:
    lay(tmp_path / "key", "  two\nlines \n")
    assert resolve("file:key", base) == "  two\nlines "


@pytest.mark.parametrize("mode", [0o644, 0o602, 0o666])
def test_a_file_that_everybody_may_read_is_no_secret(base, tmp_path, mode) -> None:
    path = lay(tmp_path / "key", mode=mode)
    with pytest.raises(KeyUnavailable, match="everybody may read") as caught:
        resolve("file:key", base)
    assert caught.value.hint == f"run: chmod 600 {path}"


def test_a_group_may_share_a_secret(base, tmp_path) -> None:
    lay(tmp_path / "key", mode=0o640)
    assert resolve("file:key", base) == SECRET


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("env:NOT_SET_ANYWHERE", "the environment has no NOT_SET_ANYWHERE"),
        ("file:gone", "gone: No such file or directory"),
        ("file:.", ": Is a directory"),
        ("credential:gone", "gone: No such file or directory"),
        ("command:false", "the command for a secret failed: false: CalledProcessError"),
        ("command:./not-there --all", "failed: ./not-there: FileNotFoundError"),
        ("command:echo 'open", "failed: echo: ValueError"),
        ("command:printf '\\377'", "failed: printf: UnicodeDecodeError"),
    ],
)
def test_a_secret_that_cannot_be_had_is_told_with_where_it_was_sought(
    base, reference, told
) -> None:
    with pytest.raises(KeyUnavailable) as caught:
        resolve(reference, base)
    assert told in caught.value.what
    assert caught.value.hint


def test_a_file_that_is_no_text_is_told(base, tmp_path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"\xff\xfe")
    path.chmod(0o600)
    with pytest.raises(KeyUnavailable, match="it is not text"):
        resolve("file:key", base)


def test_what_a_failed_command_said_is_not_repeated(base, tmp_path) -> None:
    script = tmp_path / "leaky"
    script.write_text(f"#!/bin/sh\necho {SECRET}; echo {SECRET} >&2; exit 1\n")
    script.chmod(0o700)
    with pytest.raises(KeyUnavailable) as caught:
        resolve("command:./leaky --token", base)
    shown = f"{caught.value.what} {caught.value.hint}"
    assert SECRET not in shown
    assert "--token" not in shown


GOOD = ["env:A", "env:_a1", "file:x", "file:/a b", "command:pass show x", "credential:my.key"]
BAD = [
    SECRET,
    "",
    "env:",
    "env:1A",
    "env:A-B",
    "env:A\n",
    f"env:A\n{SECRET}",
    "file:",
    "command:",
    "command:   ",
    "credential:",
    "credential:..",
    "credential:a/b",
    f"vault:{SECRET}",
    f" env:{SECRET}",
]


@pytest.mark.parametrize("reference", GOOD)
def test_a_reference_is_taken(reference) -> None:
    assert check_reference(reference) == reference


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_reference_is_refused_and_not_repeated(text) -> None:
    with pytest.raises(ValueError, match="a secret must not stand in the plan") as caught:
        check_reference(text)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("place", ["credential", "identity"])
@pytest.mark.parametrize(
    "text", [SECRET, f"'{SECRET}\n  more'", f"|\n   {SECRET}\n", f"[{SECRET}]", f"{{a: {SECRET}}}"]
)
def test_a_secret_written_into_the_plan_is_never_shown(mistakes, good, place, text) -> None:
    told = mistakes(f"{good}keys:\n  {place}: {text}\n")
    assert len(told) == 1
    assert told[0].startswith(f"15:{5 + len(place)}: keys.{place}: ")
    assert SECRET not in told[0]


@pytest.mark.parametrize("key", ["access_key", "secret_key", "session_token"])
def test_a_cloud_secret_written_into_the_plan_is_never_shown(mistakes, good, key) -> None:
    place = f"s3: {{bucket: dr-example, credentials: {{{key}: {SECRET}}}}}"
    told = mistakes(good.replace("path: offsite", place))
    assert len(told) == 1
    assert "a secret must not stand in the plan" in told[0]
    assert SECRET not in told[0]


def test_only_files_have_a_path(base, monkeypatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/drctl.service")
    assert path_of("file:k", base) == os.path.join(base, "k")
    assert path_of("credential:k", base) == "/run/credentials/drctl.service/k"
    assert path_of("env:K", base) is None
    assert path_of("command:k", base) is None
