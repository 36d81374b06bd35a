"""Every rule of lint: a plan that it speaks of, and the same plan mended, of which it is silent."""

import pytest

ONE_DOMAIN = (
    "7:1: repositories: all copies stand in one failure domain and are lost together: "
    "add a repository at another site with 'copy_of'"
)


def test_a_good_plan_gives_rise_to_nothing(findings, good) -> None:
    assert findings(good) == []


def test_copies_in_one_failure_domain_are_told(findings, good) -> None:
    assert findings(good.replace("failure_domain: b", "failure_domain: a")) == [ONE_DOMAIN]


def test_a_single_repository_is_told(findings, good) -> None:
    alone = good.replace("  offsite: {site: there, path: offsite, copy_of: local}\n", "")
    assert findings(alone) == [ONE_DOMAIN]


def test_a_copy_beside_its_original_is_told_where_another_is_elsewhere(findings, good) -> None:
    text = good.replace("assets:", "  near: {site: here, path: near, copy_of: local}\nassets:")
    assert findings(text) == [
        "10:3: repositories.near: a copy in the failure domain of 'local' is lost with it: move it"
    ]


@pytest.mark.parametrize("kind", ["credential", "identity"])
@pytest.mark.parametrize("where", ["local/k", "./local/../local/k", "offsite/keys/k"])
def test_a_key_in_a_repository_is_told(findings, good, kind, where) -> None:
    name = "offsite" if "offsite" in where else "local"
    assert findings(f"{good}keys: {{{kind}: 'file:{where}'}}\n") == [
        f"14:8: keys.{kind}: it lies in repository '{name}': keep it elsewhere"
    ]


def test_an_identity_that_lies_on_the_host_is_told(findings, good, tmp_path) -> None:
    text = f"{good}keys: {{identity: 'file:{tmp_path}/identity.key'}}\n"
    assert findings(text) == []
    (tmp_path / "identity.key").touch()
    (told,) = findings(text)
    assert told.startswith("14:8: keys.identity: it lies on this host, which it need not")


@pytest.mark.parametrize("where", ["file:keys/k", "file:localkey", "env:KEY", "command:pass key"])
def test_a_key_elsewhere_is_not_told(findings, good, where) -> None:
    assert findings(f"{good}keys: {{credential: '{where}'}}\n") == []


def test_an_asset_without_an_objective_is_told(findings, good) -> None:
    text = good.replace("objectives: {rpo: 2h}\n", "objectives: {rto: 2h}\n")
    assert findings(text) == [
        "11:3: assets.tree: no objective: say how much may be lost with 'rpo', here or for the plan"
    ]
    assert findings(text + "    rpo: 1h\n") == []


def test_an_asset_without_a_schedule_is_told(findings, good) -> None:
    assert findings(good.replace("    schedule: hourly\n", "")) == [
        "11:3: assets.tree: no schedule: nobody will back it up unless somebody remembers"
    ]


@pytest.mark.parametrize(
    ("schedule", "rpo", "gap"),
    [
        ("hourly", "30m", "1h 00m"),
        ("every 90m", "1h", "1h 30m"),
        ("daily at 02:30", "23h", "1d 0h"),
        ("weekly on sunday", "6d", "7d 0h"),
    ],
)
def test_a_schedule_that_cannot_keep_the_objective_is_told(
    findings, good, schedule, rpo, gap
) -> None:
    assert findings(good.replace("hourly", schedule) + f"    rpo: {rpo}\n") == [
        (
            f"11:3: assets.tree: its schedule '{schedule}' can lose {gap}, more than its rpo of "
            f"{rpo}: run it more often, or change the objective"
        )
    ]


def test_a_schedule_is_not_held_against_an_asset_whose_log_is_kept(findings, one_asset) -> None:
    asset = one_asset("mariadb: {stream: true}\n    schedule: every 6h\n    rpo: 1m")
    assert [told for told in findings(asset) if "can lose" in told] == []
    asset = one_asset("mariadb: {stream: false}\n    schedule: every 6h\n    rpo: 1m")
    assert len([told for told in findings(asset) if "can lose" in told]) == 1


@pytest.mark.parametrize(
    ("schedule", "rpo"),
    [("hourly", "1h"), ("every 15m", "15m"), ("daily", "1d"), ("weekly on monday at 01:00", "1w")],
)
def test_a_schedule_that_just_keeps_the_objective_is_not_told(
    findings, good, schedule, rpo
) -> None:
    assert findings(good.replace("hourly", schedule) + f"    rpo: {rpo}\n") == []


def test_the_same_directory_in_two_assets_is_told(findings, good) -> None:
    twice = "  again:\n    files: {paths: [other, ./live/]}\n    schedule: hourly\n"
    assert findings(good + twice) == [
        ("15:28: assets.again.files.paths[1]: 'tree' protects it too: one of the two is enough")
    ]
    assert findings(good + twice.replace("./live/", "live2")) == []


def test_a_repository_in_what_it_protects_is_told(findings, good) -> None:
    told = findings(good.replace("[live]", "[.]"))
    assert told == [
        (
            f"12:21: assets.tree.files.paths[0]: repository '{name}' lies in it: "
            "exclude it, or move it"
        )
        for name in ("local", "offsite")
    ]


@pytest.mark.parametrize("exclude", ["/local", "/local/", "local", "lo*", "[/local, /offsite/]"])
def test_a_repository_that_is_excluded_is_not_told(findings, good, exclude) -> None:
    patterns = exclude if exclude.startswith("[") else f"['{exclude}', /offsite]"
    assert findings(good.replace("[live]", f"[.], exclude: {patterns}")) == []


def test_patterns_of_an_asset_of_several_paths_begin_at_the_top(findings, good, tmp_path) -> None:
    two = good.replace("[live]", f"[., /srv/other], exclude: ['{tmp_path}/*al', /offsite]")
    assert [line.partition("]: ")[2] for line in findings(two)] == [
        "repository 'offsite' lies in it: exclude it, or move it"
    ]


def test_a_wildcard_is_told_unless_something_is_called_so(findings, good, tmp_path) -> None:
    wild = good.replace("[live]", '["live/*", /srv]')
    told = findings(wild)
    words = "wildcards mean nothing here: name the directory, and what is left out with 'exclude'"
    assert told == [f"12:21: assets.tree.files.paths[0]: {words}"]
    (tmp_path / "live").mkdir()
    (tmp_path / "live/*").touch()
    assert findings(wild) == []


def test_a_pattern_that_names_the_assets_own_path_is_told(findings, good, tmp_path) -> None:
    whole = good.replace("[live]", f"[live], exclude: [/tmp, {tmp_path}/live/sub/]")
    words = "it matches nothing: patterns begin at the asset's path: write '/sub/'"
    assert [line.partition(": ")[2] for line in findings(whole)] == [
        f"assets.tree.files.exclude[1]: {words}"
    ]
    assert findings(whole.replace("[live]", "[live, /srv/other]")) == []


def test_what_is_protected_in_a_repository_is_told(findings, good) -> None:
    assert findings(good.replace("[live]", "[local/data]")) == [
        "12:21: assets.tree.files.paths[0]: it lies in repository 'local': move one of the two"
    ]


def test_findings_stand_in_the_order_of_the_file(load, good) -> None:
    text = good.replace("    schedule: hourly\n", "").replace(
        "failure_domain: b", "failure_domain: a"
    )
    found = load(text + "keys: {credential: 'file:local/k'}\n").findings
    places = [(finding.line, finding.column) for finding in found]
    assert len(places) == 3
    assert places == sorted(places)


def test_a_rule_that_keeps_no_history_is_told(findings, good) -> None:
    kept = good.replace("path: local}", "path: local, keep: {KEPT}}")
    assert findings(kept.replace("KEPT", "daily: 7")) == []
    told = findings(kept.replace("KEPT", "tags: [release]"))
    assert len(told) == 1
    assert told[0].startswith("8:36: repositories.local.keep: it keeps no history")
