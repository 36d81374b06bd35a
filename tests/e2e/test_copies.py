"""Copies: where they are made, and that they come to rest."""

import json
import random
import shutil

from servers import ACCESS_KEY, SECRET_KEY


def empty(site, name: str) -> None:
    """As an unmounted disk leaves its mount point."""
    shutil.move(site.top / name, site.top / "unmounted")
    (site.top / name).mkdir()


def test_a_copy_is_made_only_where_somebody_asks_for_it(site) -> None:
    site.run("backup", "tree")
    empty(site, "offsite")
    for words in (["backup", "tree"], ["replicate"]):
        said = site.run(*words, code=11 if words[0] == "backup" else 5).stderr
        assert "there is no drctl repository, though this host found one there before" in said
        assert list((site.top / "offsite").iterdir()) == []
    said = site.run("init", code=5).stderr
    assert "found one there before: is its disk mounted?" in said
    assert "'drctl replicate --from local --to offsite' makes it again from local" in said
    assert list((site.top / "offsite").iterdir()) == []
    site.run("replicate", "--to", "offsite")
    site.run("backup", "tree")
    assert len(site.snapshots("--from", "offsite")) == 2 + 1


def test_where_the_originals_disk_is_not_mounted_nothing_is_made_anew(site) -> None:
    site.run("backup", "tree")
    empty(site, "local")
    gone = "there is no drctl repository, though this host found one there before: is its disk"
    for words in (["backup"], ["init"], ["storage", "check"], ["restore", "tree", "--to", "x"]):
        said = site.run(*words, code=5).stderr
        assert gone in said
        assert list((site.top / "local").iterdir()) == []
    assert "Else read a copy: --from" in said
    assert any(gone in todo["what"] for todo in site.json("status", code=10)["to_do"])

    (site.top / "offsite").rename(site.top / "offsite.kept")
    (site.top / "keys/writer.key").rename(site.top / "kept.key")
    assert "though" in site.run("init", code=5).stderr
    (site.top / "offsite.kept").rename(site.top / "offsite")
    assert not (site.top / "keys/writer.key").exists()  # it would fit nothing that was saved
    (site.top / "kept.key").rename(site.top / "keys/writer.key")

    (site.top / "local").rmdir()
    assert "Else read a copy" in site.run("restore", "tree", "--to", "x", code=5).stderr
    site.run("storage", "check", code=5)
    assert "'drctl init --lost local' makes it anew" in site.run("init", code=5).stderr
    assert not (site.top / "local").exists()
    assert "its copy offsite holds history" in site.run("init", "--lost", "local").stderr
    site.run("replicate", "--from", "offsite", "--to", "local")
    assert len(site.snapshots()) == 1


def test_a_config_with_a_wrong_byte_is_mended_at_a_copy_and_never_copied(site) -> None:
    site.run("backup", "tree")
    here, there = (site.top / name / "config" for name in ("local", "offsite"))
    sound = there.read_bytes()
    spoilt = sound.replace(b'"name": "', b'"name": "\x20', 1).replace(b"\n", b"", 1)
    assert len(spoilt) == len(sound)
    there.write_bytes(spoilt)
    assert "1 of them damaged, and mended" in site.run("replicate", "--verify").stdout
    assert there.read_bytes() == sound
    there.write_bytes(spoilt)
    site.run("backup", "tree")
    assert there.read_bytes() == sound

    there.write_bytes(spoilt)
    here.unlink()
    said = site.run("replicate", "--from", "offsite", "--to", "local", code=6).stderr
    assert f"{site.top}/offsite: config: it was not written by a holder of this" in said
    assert "keys/" not in said
    assert not here.exists()


def test_a_storage_is_tried_before_there_is_a_repository_and_told_so(bare) -> None:
    (bare.top / "local").mkdir()
    said = bare.run("storage", "check").stdout
    assert "its promises hold, but there is no drctl repository yet" in said


def test_a_place_is_not_copied_to_itself(site) -> None:
    site.run("replicate", "--to", "local", code=2)
    said = site.run("replicate", "--from", "offsite", "--to", "offsite", code=2).stderr
    assert "offsite cannot be copied to itself" in said


def test_an_asset_that_is_named_twice_is_saved_once(site) -> None:
    assert len(site.json("backup", "tree", "tree")["snapshots"]) == 1


def test_who_forgets_at_a_copy_is_told_what_comes_back(site) -> None:
    made = site.json("backup", "tree")["snapshots"][0]["id"]
    said = site.run("forget", made[:8], "--from", "offsite", "--yes").stderr
    assert f"local still has {made[:8]}: the next backup or 'drctl replicate' copies it" in said
    said = site.run("forget", made[:8], "--from", "offsite", "--yes", code=2).stderr
    assert f"offsite has no snapshot '{made[:8]}'" in said
    assert "local has it" in said


def test_who_holds_is_told_where_it_is_in_the_trash(site) -> None:
    made = site.json("backup", "tree")["snapshots"][0]["id"][:8]
    site.run("forget", made, "--from", "local", "--yes")
    said = site.run("hold", made)
    assert f"offsite: {made} held" in said.stdout
    assert f"local has {made} in its trash, where it is not held" in said.stderr
    said = site.run("restore", "tree", "--to", "back", code=5).stderr
    assert "1 that was removed lies in its trash" in said
    assert "what earlier backups stored is there, without a snapshot of it" in said
    site.run("undelete", made)
    assert site.run("hold", made).stderr == ""


def lag_objects(site) -> int:
    told = json.loads(site.run("status", "--json", code=10).stdout)  # 10: some assets have nothing
    return told["copies"][0]["lag_objects"]


def test_two_that_prune_come_to_rest(site) -> None:
    """Each rewrites its packs by itself."""
    text, keep = (site.top / "plan.yaml").read_text(), ", keep: {last: 1, grace: 1ms}}"
    text = text.replace("path: local}", f"path: local{keep}")
    site.plan(text.replace("copy_of: local}", f"copy_of: local{keep}"))
    for number in range(3):
        backed_up(site, number)
    for _ in range(3):
        site.run("prune")
    assert site.json("replicate")["offsite"]["objects"] == 0
    assert lag_objects(site) == 0


def test_a_copy_is_not_behind_by_what_a_replication_leaves_out(site) -> None:
    """Since something was removed there: then it is given what snapshots need, and no more."""
    first = backed_up(site, 0)
    site.run("forget", first, "--from", "local", "--yes")
    site.run("forget", first, "--from", "offsite", "--yes")
    empty(site, "offsite")
    site.run("backup", "base", code=11)
    site.run("forget", site.snapshots()[-1]["id"], "--from", "local", "--yes")
    (site.top / "offsite").rmdir()
    (site.top / "unmounted").rename(site.top / "offsite")
    assert site.json("replicate")["offsite"]["objects"] == 0
    assert lag_objects(site) == 0


def backed_up(site, number: int) -> str:
    """Most of what each stores is in no later snapshot."""
    for name, seed, size in (("stays", 0, 1_500_000), ("goes", number, 6_000_000)):
        data = random.Random(f"{name}{seed}").randbytes(size)
        (site.top / f"live/tree/{name}.bin").write_bytes(data)
    return site.json("backup", "tree")["snapshots"][0]["id"]


PLAN_OF_BUCKET = """\
version: 1
name: test
sites: {{here: {{failure_domain: a}}, there: {{failure_domain: b}}}}
repositories:
  local: {{site: here, path: local}}
  offsite:
    site: there
    copy_of: local
    s3: {{bucket: {bucket}, endpoint: "{endpoint}",
         credentials: {{access_key: "env:DR_ACCESS", secret_key: "env:DR_SECRET"}}}}
assets:
  tree: {{files: {{paths: [live/tree]}}}}
recovery:
  steps:
    tree: {{restore: tree}}
checks:
  - {{asset: tree, compare: manifest}}
drills:
  d: {{from: offsite}}
evidence: {{key: "file:keys/evidence.key"}}
"""


def test_what_a_bucket_holds_is_proven_there_and_not_by_what_is_kept_here(bare, s3_server) -> None:
    """Of what was just put there, this host keeps what is small."""
    bucket, client = s3_server.new_bucket(), s3_server.client()
    bare.variables |= {"DR_ACCESS": ACCESS_KEY, "DR_SECRET": SECRET_KEY}
    bare.plan(PLAN_OF_BUCKET.format(bucket=bucket, endpoint=s3_server.endpoint))
    bare.run("init")
    bare.run("backup")
    for key in [o["Key"] for o in client.list_objects_v2(Bucket=bucket)["Contents"]]:
        if key.startswith(("index/", "snapshots/")):
            size = client.head_object(Bucket=bucket, Key=key)["ContentLength"]
            client.put_object(Bucket=bucket, Key=key, Body=bytes(size))
    bare.run("drill", "d", code=5)
    said = bare.run("replicate", "--verify").stdout
    assert "2 of them damaged, and mended" in said
    assert "all is well" in bare.run("verify", "offsite").stdout
    bare.run("drill", "d")


def test_a_copy_that_is_the_original_by_another_name_is_refused(bare, s3_server) -> None:
    """By a link, which a mount is like; by another name of the server."""
    text = (bare.top / "plan.yaml").read_text()
    bare.plan(text.replace("copy_of: local}", "copy_of: local, keep: {last: 1, grace: 1ms}}"))
    bare.run("init")
    bare.run("backup", "tree")
    shutil.rmtree(bare.top / "offsite")
    (bare.top / "offsite").symlink_to("local")
    one = f"{bare.top}/offsite is the same place as {bare.top}/local"
    assert one in bare.run("backup", "tree", code=11).stderr
    for words in ("prune", "init"):
        assert one in bare.run(words, code=5).stderr
    assert len(bare.snapshots()) == 2
    assert "offsite is the same place as local" in bare.run("status", code=10).stdout

    bucket, other = s3_server.new_bucket(), s3_server.endpoint.replace("127.0.0.1", "localhost")
    bare.variables |= {"DR_ACCESS": ACCESS_KEY, "DR_SECRET": SECRET_KEY}
    text = PLAN_OF_BUCKET.format(bucket=bucket, endpoint=s3_server.endpoint)
    place = text[text.index("    s3: ") : text.index("assets:")]
    here = place.replace(s3_server.endpoint, other)
    bare.plan(text.replace("{site: here, path: local}", f"\n    site: here\n{here}"))
    assert "is the same place as" in bare.run("init", code=5).stderr
