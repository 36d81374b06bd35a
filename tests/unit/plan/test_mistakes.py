"""Every mistake is told, at once, at its place, in words that say what to write instead."""

import re
from pathlib import Path

import pytest

from drctl import plan
from drctl.errors import PlanError

HERE = Path(__file__).parent


def test_all_mistakes_are_told_at_once_with_their_places_in_order() -> None:
    with pytest.raises(PlanError) as caught:
        plan.load(str(HERE / "mistakes.yaml"))
    told = [problem.removeprefix(f"{HERE}/") for problem in caught.value.problems]
    assert "\n".join(told) + "\n" == (HERE / "mistakes.txt").read_text("utf-8")
    assert caught.value.what.endswith(f"{len(told)} mistakes")
    places = [tuple(map(int, re.findall(r":(\d+):(\d+):", line)[0])) for line in told]
    assert places == sorted(places)


def test_one_mistake_is_called_one(load, good) -> None:
    with pytest.raises(PlanError, match=r"one mistake$"):
        load(good.replace("hourly", "sometimes"))


def test_a_plan_without_a_mistake_is_taken(load, good) -> None:
    loaded = load(good)
    assert loaded.findings == ()
    assert list(loaded.plan.repositories) == ["local", "offsite"]
    assert loaded.base == str(Path(loaded.path).parent)


def test_the_digest_is_of_the_file_to_the_letter(load, good) -> None:
    assert load(good).digest != load(good + "# a word more\n").digest


def test_a_plan_that_is_not_there_says_how_to_make_one(tmp_path) -> None:
    with pytest.raises(PlanError, match="No such file") as caught:
        plan.load(str(tmp_path / "none.yaml"))
    assert "init" in caught.value.hint


def test_a_plan_that_is_a_directory_is_told(tmp_path) -> None:
    with pytest.raises(PlanError, match="Is a directory"):
        plan.load(str(tmp_path))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("asssets: {}", "assets"),
        ("objectivs: {}", "objectives"),
        ("repository: {}", "repositories"),
        ("key: {}", "keys"),
    ],
)
def test_a_misspelt_key_is_told_with_what_was_meant(mistakes, good, written, meant) -> None:
    key = written.partition(":")[0]
    assert f"14:1: unknown key '{key}'; did you mean '{meant}'?" in mistakes(good + written)


def test_a_key_like_no_other_is_told_with_what_may_stand_there(mistakes, one_asset) -> None:
    assert mistakes(one_asset("files: {paths: [x], zzz: 1}")) == [
        (
            "12:25: assets.one.files: unknown key 'zzz'; "
            "known here: paths, exclude, one_file_system, exclude_caches, reread"
        )
    ]


@pytest.mark.parametrize("key", ["version", "name", "repositories", "assets"])
def test_what_must_be_there_is_missed(mistakes, good, key) -> None:
    lines = re.sub(rf"(?m)^{key}:.*\n(  .*\n)*", "", good)
    assert f"1:1: '{key}' is missing" in mistakes(lines)


@pytest.mark.parametrize("key", ["repositories", "assets"])
def test_a_plan_of_nothing_is_refused(mistakes, good, key) -> None:
    text = re.sub(rf"(?m)^{key}:.*\n(  .*\n)*", f"{key}: {{}}\n", good)
    assert any(line.endswith(f"{key}: it must not be empty") for line in mistakes(text))


@pytest.mark.parametrize(
    "text",
    [
        "files:",
        "files: ~",
        "files: null",
        "sqlite: {path: }",
        "{files: {paths: [x]}, schedule: }",
        "{files: {paths: [x, ~]}}",
    ],
)
def test_a_key_without_a_value_is_a_mistake_and_never_a_default(mistakes, one_asset, text) -> None:
    told = mistakes(one_asset(text))
    assert len(told) == 1
    assert told[0].endswith(": a value is missing here")


def test_quoted_nothing_is_text(load, good) -> None:
    assert load(good + "owner: ''\n").plan.owner == ""
    assert load(good + "owner: 'null'\n").plan.owner == "null"


@pytest.mark.parametrize("text", ["1e3", "0x10", "010", "+3", "3.0", "1_000", "three", "٣"])
def test_a_number_is_written_plainly(mistakes, one_asset, text) -> None:
    told = mistakes(one_asset(f"files: {{paths: [x]}}\n    compression: {text}"))
    assert told == [f"13:18: assets.one.compression: a whole number is wanted, not '{text}'"]


def test_a_number_of_five_thousand_digits_is_told_in_one_short_line(mistakes, one_asset) -> None:
    told = mistakes(one_asset(f"files: {{paths: [x]}}\n    compression: {'9' * 5000}"))
    assert len(told) == 1
    assert "a whole number is wanted" in told[0]
    assert len(told[0]) < 200


@pytest.mark.parametrize("text", ["yes", "no", "on", "True", "1", "[true]", "{a: b}"])
def test_a_flag_is_true_or_false(mistakes, one_asset, text) -> None:
    told = mistakes(one_asset(f"files: {{paths: [x], one_file_system: {text}}}"))
    assert len(told) == 1
    assert "12:42: assets.one.files.one_file_system: true or false is wanted, not " in told[0]


@pytest.mark.parametrize("text", ["9" * 400 + "d", "100000d", "0s", "-1h", "1 hour", "1y", "''"])
def test_a_duration_is_one_that_somebody_can_mean(mistakes, good, text) -> None:
    told = mistakes(good.replace("rpo: 2h", f"rpo: {text}"))
    assert len(told) == 1
    assert told[0].startswith("3:19: objectives.rpo: ")


@pytest.mark.parametrize("text", ["~/x", "~", "$HOME/x", "${X}/x"])
@pytest.mark.parametrize(
    ("place", "where"),
    [("path: offsite", "repositories.offsite.path"), ("[live]", "assets.tree.files.paths[0]")],
)
def test_a_path_that_only_a_shell_would_expand_is_refused(
    mistakes, good, text, place, where
) -> None:
    quoted = place.replace("offsite", f"'{text}'").replace("live", f"'{text}'")
    told = mistakes(good.replace(place, quoted))
    assert len(told) == 1
    assert f"{where}: '{text}': ~ and variables mean nothing here: write the whole path" in told[0]


@pytest.mark.parametrize("text", ["host", "ftp://s3.example.com", "https://s3.example.com/a/b"])
def test_an_endpoint_is_an_address(mistakes, good, text) -> None:
    place = f"s3: {{bucket: dr-example, endpoint: '{text}'}}"
    told = mistakes(good.replace("path: offsite", place))
    words = f"'{text}' is not an address such as https://s3.example.com"
    assert told == [f"9:61: repositories.offsite.s3.endpoint: {words}"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("site: there", "site: theer"), "9:19: repositories.offsite.site: no site 'theer'; "),
        (("path: offsite, ", ""), "9:3: repositories.offsite: exactly one of 'path' and 's3'"),
        (("copy_of: local", "copy_of: lokal"), "9:50: repositories.offsite.copy_of: no repository"),
        (("copy_of: local", "copy_of: offsite"), "copy_of: 'offsite' leads back to itself"),
        (("path: offsite", "path: ./local/"), "9:3: repositories.offsite: the same place as"),
        (("path: offsite", "path: local/packs"), "repositories.offsite: it lies within 'local'"),
        (("path: local}", "path: ./offsite/x/}"), "repositories.local: it lies within 'offsite'"),
        (
            ("path: offsite", "throttle: {}, path: offsite"),
            "9:26: repositories.offsite.throttle: it limits nothing: say 'write', 'read' or both",
        ),
        (("path: local}", "path: local, copy_of: offsite}"), "7:1: repositories: all are copies"),
    ],
)
def test_what_does_not_fit_together_is_told(mistakes, good, change, told) -> None:
    assert any(told in line for line in mistakes(good.replace(*change)))


def test_two_prefixes_of_a_bucket_are_two_places_and_one_prefix_is_one(mistakes, good) -> None:
    def place(prefix: str) -> str:
        return f"s3: {{bucket: dr-example, prefix: {prefix}}}"

    other = good.replace("path: local", place("a")).replace("path: offsite", place("b"))
    same = good.replace("path: local", place("a")).replace("path: offsite", place("a/"))
    assert mistakes(other) == []
    assert mistakes(same) == ["9:3: repositories.offsite: the same place as 'local'"]


def test_a_mistake_is_one_line_whatever_was_written(mistakes, good) -> None:
    told = mistakes(good + '"bad\\nkey\\e[31m": 1\n')
    assert len(told) == 1
    assert told[0].isprintable()
    assert told[0].startswith("14:1: unknown key 'bad\\nkey\\x1b[31m'")
