"""What a file may be made of: text as it was written, and no trick of YAML's."""

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drctl import plan
from drctl.errors import PlanError
from drctl.plan.tree import parse

AS_WRITTEN = [
    "no",
    "on",
    "010",
    "0o17",
    "12:30",
    "1e3",
    "2026-03-01",
    "2026-03-01T12:00:00Z",
    "1_000",
    ".inf",
    "0x1F",
    "true",
    "=",
]


@pytest.mark.parametrize("text", AS_WRITTEN)
def test_plain_text_stays_what_the_person_wrote(load, good, text) -> None:
    assert load(f"{good}owner: {text}\n").plan.owner == text


@pytest.mark.parametrize("text", AS_WRITTEN)
def test_keys_stay_what_the_person_wrote(text) -> None:
    assert parse(f"{text}: x".encode()).root == {text: "x"}


def test_a_name_is_never_made_of_something_else(mistakes, good) -> None:
    assert mistakes(good.replace("name: test", "name: 010")) == [
        "2:7: name: '010': a name is a-z, 0-9, - and _, beginning with a letter"
    ]


def test_anchors_and_aliases_mean_what_they_repeat(load, good) -> None:
    text = good.replace("hourly", "&often hourly") + "  other:\n    files: &f {paths: [other]}\n"
    text += "    schedule: *often\n"
    assert load(text).plan.assets["other"].schedule == "hourly"


FORMS = {
    "two keys of one name": (
        "name: a\nname: b\n",
        "2:1: name: the key 'name' stands on line 1 already",
    ),
    "a key twice, below": (
        "sites:\n  a: {x: 1, x: 2}\n",
        "2:13: sites.a.x: the key 'x' stands on line 2 already",
    ),
    "a merge key": ("sites: {<<: {a: b}}\n", "1:9: sites: merge keys are not allowed in a plan: "),
    "a tag": ("name: !mine x\n", "1:7: name: tag !mine is not allowed in a plan"),
    "an object": (
        "name: !!python/object:os.system x\n",
        "1:7: name: tag tag:yaml.org,2002:python/object:os.system is not allowed in a plan",
    ),
    "binary": (
        "name: !!binary aGk=\n",
        "1:7: name: tag tag:yaml.org,2002:binary is not allowed in a plan",
    ),
    "a set": ("sites: !!set {}\n", "1:8: sites: tag tag:yaml.org,2002:set is not allowed"),
    "a tagged key": ("!mine name: x\n", "1:1: tag !mine is not allowed in a plan"),
    "a key that is a list": ("? [a]\n: b\n", "1:3: a key must be text"),
    "an alias of nothing": ("name: *x\n", "1:7: not YAML: found undefined alias 'x'"),
    "an alias of itself": (
        "sites: &s {a: *s}\n",
        "1:8: sites.a: an alias that contains itself",
    ),
    "a tab": ("sites:\n\ta: b\n", "2:1: not YAML: while scanning for the next token, found char"),
    "two documents": (
        "name: a\n---\nname: b\n",
        "2:1: not YAML: expected a single document in the stream, but found another document",
    ),
    "an open bracket": ("sites: [\n", "2:1: not YAML: while parsing a flow node, expected the"),
    "a lost indent": ("sites:\n  a: b\n c: d\n", "3:2: not YAML: while parsing a block mapping"),
    "nothing": ("", "1:1: the plan is empty"),
    "a comment": ("# to be written\n", "1:1: the plan is empty"),
    "a word": ("backup\n", "1:1: a mapping of keys is wanted, not 'backup'"),
    "a list": ("- a\n", "1:1: a mapping of keys is wanted, not a list"),
    "a null": ("~\n", "1:1: a value is missing here"),
    "a NUL": ("name: \0\n", "1:7: not YAML: a character that may not be there"),
    "an escaped NUL": ('name: "\\0"\n', "1:7: name: a character that may not be there"),
    "half a character": ('name: "\\ud800"\n', "1:7: name: a character that may not be there"),
    "half a key": ('"\\ud800": x\n', "1:1: a character that may not be there"),
    "a version of YAML": ("%YAML 3.0\n---\nname: a\n", "1:1: not YAML: found incompatible YAML"),
}


@pytest.mark.parametrize("kind", FORMS)
def test_what_is_no_plan_is_told_where_it_begins(mistakes, kind) -> None:
    text, told = FORMS[kind]
    assert any(line.startswith(told) for line in mistakes(text)), mistakes(text)


def test_a_byte_order_mark_is_no_part_of_the_plan(load, good) -> None:
    assert load(b"\xef\xbb\xbf" + good.encode()).plan == load(good).plan


def test_line_ends_of_another_system_are_line_ends(load, mistakes, good) -> None:
    assert load(good.replace("\n", "\r\n")).plan == load(good).plan
    assert mistakes((good + "colour: red\n").replace("\n", "\r\n"))[0].startswith("14:1: ")


def test_bytes_that_are_no_text_are_told_with_their_place(mistakes) -> None:
    assert mistakes("name: é".encode() + b"\nowner: \xff\n") == [
        "2:8: not UTF-8 text: byte 16 cannot be read"
    ]
    assert mistakes("name: a".encode("utf-16")) == ["1:1: not UTF-8 text: byte 0 cannot be read"]


@pytest.mark.parametrize("deep", ["[" * 100_000, "{a: " * 100_000, "- " * 20_000])
def test_a_file_as_deep_as_a_well_is_told_without_a_fall(mistakes, deep) -> None:
    assert mistakes(f"name:\n  {deep}") == ["1:1: nested too deeply"]


def test_what_is_deeper_than_any_plan_is_refused(mistakes, good) -> None:
    told = mistakes(f"{good}owner: {'[' * 40}{']' * 40}\n")
    assert any(line.endswith("too deep for a plan") for line in told)


def test_a_billion_laughs_are_cut_short_and_told_once(mistakes, good) -> None:
    lines = ["a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    told = mistakes(good + "\n".join(lines))
    assert sum(line.endswith("too large for a plan") for line in told) == 1
    assert len(told) < 30


def test_a_file_of_many_megabytes_is_not_even_parsed(mistakes) -> None:
    begun = time.process_time()
    assert mistakes("a: " + "b" * (5 << 20)) == ["1:1: larger than 1048576 bytes: that is no plan"]
    assert time.process_time() - begun < 5


KEYS = st.sampled_from(
    [
        *("version", "name", "owner", "objectives", "sites", "repositories", "keys", "assets"),
        *("rpo", "rto", "path", "s3", "site", "bucket", "copy_of", "keep", "last", "within"),
        *("credential", "identity", "files", "command", "sqlite", "run", "paths", "exclude"),
        *("timeout", "min_size", "env", "schedule", "tags", "compression", "one_file_system"),
        *("postgres", "groups", "lock", "a", "b"),
    ]
)
WORDS = st.sampled_from(
    [
        *("1", "2", "a", "b", "local", "010", "no", "true", "12:30", "1h", "every", "hourly"),
        *("env:A", "file:x", "~", "null", "*x", "&x", "!t", "<<"),
    ]
)
VALUES = st.recursive(
    WORDS | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def problems(path: Path) -> tuple[str, ...]:
    try:
        plan.load(str(path))
    except PlanError as error:
        return error.problems or ("",)
    return ()


def taken_or_refused(text: str | bytes, path: Path) -> None:
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    assert all(line and line.isprintable() for line in problems(path))


def written(value: object) -> str:
    """Flow style, with words unquoted: any of them may be a trick."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return str(value)


SETTINGS = settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@SETTINGS
@given(value=st.dictionaries(KEYS, VALUES, min_size=1, max_size=6))
def test_any_tree_is_a_plan_or_a_plan_error(tmp_path, value) -> None:
    taken_or_refused(written(value), tmp_path / "plan.yaml")


@SETTINGS
@given(data=st.binary(max_size=200) | st.text(max_size=200))
def test_any_file_is_a_plan_or_a_plan_error(tmp_path, data) -> None:
    taken_or_refused(data, tmp_path / "plan.yaml")


@SETTINGS
@given(
    at=st.integers(0, 300),
    cut=st.integers(0, 12),
    put=st.sampled_from(["", ":", "{", "[", "]", "}", "- ", "\n", "~", "*a", "!x ", "&a ", "\t"])
    | st.text(max_size=4),
)
def test_any_slip_in_a_good_plan_is_a_plan_or_a_plan_error(tmp_path, good, at, cut, put) -> None:
    text = good[:at] + put + good[at + cut :]
    taken_or_refused(text, tmp_path / "plan.yaml")


def test_only_a_bucket_is_locked_and_a_lock_says_how_and_how_long(mistakes, good) -> None:
    def told(lock: str) -> list[str]:
        found = mistakes(good.replace("copy_of: local", f"copy_of: local, lock: {lock}"))
        return [line.partition(": ")[2] for line in found]

    place = "repositories.offsite.lock"
    directory = f"{place}: a directory cannot be locked: only an S3 bucket can"
    assert told("{mode: compliance, for: 35d}") == [directory]
    assert f"{place}: 'mode' is missing" in told("{for: 35d}")
    assert f"{place}: 'for' is missing" in told("{mode: governance}")
    assert len(told("{mode: none, for: 35d}")) == 2
