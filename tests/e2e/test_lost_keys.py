"""What is left is a repository and an identity: it is listed and restored, and nothing is made."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from servers import ACCESS_KEY, SECRET_KEY


def elsewhere(site, *words: str | Path, code: int = 0, **more: str) -> str:
    """A machine with no plan: gives what was said, as a person sees it."""
    top = site.top / "elsewhere"
    (top / "home").mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "drctl", *map(str, words)],
        cwd=top,
        env={"HOME": str(top / "home"), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        | {"DRCTL_PASSPHRASE": "correct horse", "DRCTL_STATE_DIR": str(top / "state")}
        | more,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout if code == 0 else done.stderr


def test_a_directory_and_an_identity_are_enough(site, differences) -> None:
    site.run("backup", "tree", "base")
    held = ("--from", site.top / "offsite", "--identity", site.top / "keys/identity.key")
    listed = json.loads(elsewhere(site, "snapshots", *held, "--json"))
    assert {s["asset"] for s in listed} == {"tree", "base"}
    assert "sub/b.txt" in elsewhere(site, "ls", "tree", *held)
    assert "depth: content" in elsewhere(site, "verify", "--read-data", "100", *held)
    elsewhere(site, "restore", "tree", "--to", "back", *held)
    assert differences(site.top / "live/tree", site.top / "elsewhere/back") == ""
    shutil.move(site.top / "offsite", site.top / "elsewhere/here")
    near = ("--from", "./here", *held[2:])
    elsewhere(site, "restore", listed[0]["id"][:8], "--to", "again", *near)
    assert "given" not in elsewhere(site, "snapshots", "nosuch", *near, code=2)


def test_a_bucket_and_an_identity_are_enough(bare, s3_server, differences) -> None:
    bucket = s3_server.new_bucket()
    place = f'{{bucket: {bucket}, prefix: dr/one, endpoint: "{s3_server.endpoint}"}}'
    text = (bare.top / "plan.yaml").read_text()
    bare.plan(text.replace("path: offsite,", f"s3: {place},"))
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    bare.variables |= keys
    bare.run("init")
    bare.run("backup", "tree")
    held = ("--from", f"s3://{bucket}/dr/one", "--identity", bare.top / "keys/identity.key")
    keys["AWS_ENDPOINT_URL"] = s3_server.endpoint
    elsewhere(bare, "restore", "tree", "--to", "back", *held, **keys)
    assert differences(bare.top / "live/tree", bare.top / "elsewhere/back") == ""
    assert "names no bucket" in elsewhere(bare, "ls", "tree", "--from", "s3://", *held[2:], code=2)


def test_who_has_lost_the_plan_is_never_led_to_init(site) -> None:
    for words in (("restore", "tree", "--to", "back"), ("snapshots",), ("ls", "tree")):
        told = elsewhere(site, *words, code=3)
        assert "init" not in told
        assert "drctl restore ASSET --to TARGET --from DIRECTORY --identity FILE" in told
    told = elsewhere(site, "--plan", "gone.yaml", "restore", "tree", "--to", "back", code=3)
    assert "init" not in told
    held = ("--identity", site.top / "keys/identity.key", "--from")
    assert "init" not in elsewhere(site, "snapshots", *held, site.top / "gone", code=5)
    assert "init" not in elsewhere(site, "ls", "tree", *held, site.top / "live", code=5)


def test_a_lost_credential_is_not_replaced_by_a_foreign_one(site) -> None:
    site.run("backup", "tree")
    credential = site.top / "keys/writer.key"
    credential.unlink()
    assert len(site.snapshots()) == 1  # the identity, which is at hand, lists as well
    assert len(site.snapshots("--identity", str(site.top / "keys/identity.key"))) == 1
    line = f"drctl key credential {credential}"
    assert line in site.run("status", code=7).stderr
    assert line in site.run("init", code=7).stderr
    assert not credential.exists()
    shutil.move(site.top / "local", site.top / "lost")
    assert f"{line} --from offsite" in site.run("init", code=7).stderr
    assert not credential.exists()
    shutil.move(site.top / "lost", site.top / "local")
    site.run("key", "credential", credential)
    site.run("backup", "tree")
    assert "move it away" in site.run("key", "credential", credential, code=7).stderr


def test_a_foreign_credential_is_told_with_its_cure(site) -> None:
    other = site.top / "other"
    shutil.move(site.top / "keys/writer.key", site.top / "keys/own.key")
    for name in ("local", "offsite"):
        shutil.move(site.top / name, other.with_name(f"{name}.kept"))
    site.run("init", "--lost", "local", "--lost", "offsite")
    for name in ("local", "offsite"):
        shutil.rmtree(site.top / name)
        shutil.move(other.with_name(f"{name}.kept"), site.top / name)
    assert "'drctl key credential FILE'" in site.run("backup", "tree", code=7).stderr


def test_a_lost_config_is_made_again_and_nothing_else_is_told(site) -> None:
    site.run("backup", "tree")
    (site.top / "local/config").unlink()
    told = site.run("init").stderr
    assert "what it holds stays" in told
    assert "made empty" not in told
    assert len(site.snapshots()) == 1


def test_init_tells_what_it_made_and_what_is_there(bare) -> None:
    (bare.top / "plan.yaml").unlink()
    told = bare.run("init", code=2).stderr  # its name may be mistyped
    assert f"{bare.top}/plan.yaml is not there. init makes a NEW plan" in told
    assert "give --yes" in told
    assert sorted(path.name for path in bare.top.iterdir()) == ["home", "live", "state"]
    bare.variables["DRCTL_PASSPHRASE"] = ""
    told = bare.run("init", "--yes", code=7).stderr
    assert f"made  plan: {bare.top}/plan.yaml" in told
    assert f"{bare.top}/data" in told
    del bare.variables["DRCTL_PASSPHRASE"]
    bare.run("init")
    assert "identity" in {thing["what"] for thing in bare.json("init")}


def test_a_lost_pack_is_stored_anew_and_told_once(site) -> None:
    site.run("backup", "tree", "base")
    pack = max((site.top / "local/packs").rglob("*/*"), key=lambda path: path.stat().st_size)
    pack.unlink()
    made = site.json("backup", code=11)
    assert made["lost_packs"] == [f"packs/{pack.name[:2]}/{pack.name}"]
    assert (
        f"1 pack that snapshots need cannot be read any more: {made['lost_packs'][0]}"
        in (made["wrong"][0])
    )
    assert site.json("backup")["lost_packs"] == []
    assert "all is well" in site.run("verify").stdout


def turned(path: Path, at: int) -> None:
    """One bit of it is wrong, as a bad disk leaves it."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_what_opens_a_repository_is_mended_where_it_does_not_open_any_more(site) -> None:
    """With the passphrase at hand, as cron has it: from a copy, else with the credential."""
    (key,) = (site.top / "local/keys").iterdir()
    config = site.top / "local/config"
    sound = config.read_bytes()
    key.unlink()
    turned(config, 0)
    assert "verify REPOSITORY --repair" in site.run("backup", "tree", code=6).stderr
    told = site.run("verify", "--repair").stdout
    assert f"mended: config, from {site.top}/offsite" in told
    assert f"mended: keys/{key.name}, from " in told
    assert config.read_bytes() == sound

    (site.top / "offsite").rename(site.top / "away")
    turned(config, 0)
    turned(key, -1)
    told = site.run("verify", "--repair").stdout
    assert "made again: config" in told
    assert f"made again: keys/{key.name}, for first" in told
    assert config.read_bytes() == sound
    config.write_bytes(newer := sound.replace(b'"format": 1', b'"format": 2'))
    site.run("verify", "--repair", code=6)
    assert config.read_bytes() == newer != sound
