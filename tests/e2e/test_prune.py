"""Retention and collection by the real command, also while it is killed and others work."""

import os
import random
import signal
import time
from pathlib import Path

KEEP = "path: local, keep: {last: 2, grace: 1d}}"


def grow(site, number: int) -> None:
    """Every snapshot has something that no other has."""
    data = random.Random(number).randbytes(400_000)
    (site.top / "live/tree/changing.bin").write_bytes(data)


def back_up(site, count: int) -> list[str]:
    made = []
    for number in range(count):
        grow(site, number)
        made.append(site.json("backup", "tree")["snapshots"][0]["id"])
    return made


def keep_two(site) -> None:
    site.plan((site.top / "plan.yaml").read_text().replace("path: local}", KEEP))


def packs(site) -> set[str]:
    return {p.name for p in (site.top / "local/packs").glob("*/*")}


def restored(site, name: str, differences) -> str:
    to = site.top / f"restored-{name}-{time.monotonic_ns()}"
    site.run("restore", name, "--to", to)
    return differences(site.top / "live/tree", to)


def test_a_prune_removes_what_the_rule_does_not_keep(site, differences) -> None:
    keep_two(site)
    made = back_up(site, 5)
    told = site.json("prune", "--from", "local", "--dry-run")["local"]
    assert [v["id"] for v in told["removed"]] == made[:3]
    assert [v["reasons"][:2] for v in told["kept"]] == [["last 2"], ["newest", "last 1"]]
    assert [s["id"] for s in site.snapshots()] == made  # nothing was done

    done = site.json("prune", "--from", "local")["local"]
    assert done | {"dry_run": True} == told
    assert [s["id"] for s in site.snapshots()] == made[3:]
    assert [s["id"] for s in site.snapshots("--deleted")] == made[:3]
    assert site.json("prune", "--from", "local")["local"]["deleted"]["objects"] == 0  # grace

    before = packs(site)
    told = site.json("prune", "--from", "local", "--grace", "1ms", "--dry-run")["local"]
    done = site.json("prune", "--from", "local", "--grace", "1ms")["local"]
    assert done["deleted"] == told["deleted"]
    assert (
        done["deleted"]["size_bytes"] > 2 * 400_000
    )  # the first pack lives on: most of it is needed
    assert len(before - packs(site)) >= 2
    site.run("snapshots", "--deleted")
    assert site.json("verify", "--read-data", "100")["wrong"] == []
    assert restored(site, made[4], differences) == ""


def test_what_was_removed_comes_back_within_the_grace_period(site) -> None:
    keep_two(site)
    made = back_up(site, 3)
    site.run("prune", "--from", "local")
    back = site.run("undelete", made[0][:8])
    assert "brought back" in back.stdout
    assert f"the next prune removes it again; 'drctl hold {made[0][:8]}' keeps it" in back.stderr
    assert {s["id"] for s in site.snapshots()} == set(made)
    site.run("hold", made[0], "--reason", "the auditor wants it")
    told = site.json("prune", "--from", "local", "--grace", "1ms")["local"]
    assert told["removed"] == []
    assert told["kept"][0]["reasons"] == ["held: the auditor wants it"]
    assert site.json("verify", "--read-data", "100")["wrong"] == []
    site.run("unhold", made[0])
    for _ in range(2):
        site.run("prune", "--from", "local", "--grace", "1ms")
    site.run("undelete", made[0], code=2)
    assert site.json("verify", "--read-data", "100")["wrong"] == []


def test_a_prune_that_is_killed_again_and_again_harms_nothing(
    site, differences, stop_at_end
) -> None:
    keep_two(site)
    chance = random.Random(3)
    for number in range(3):
        grow(site, number)
        site.run("backup", "tree")
        for _ in range(2):
            running = site.start("prune", "--from", "local", "--grace", "1ms")
            stop_at_end.append(running)
            time.sleep(0.2 + chance.random() * 0.4)
            if running.poll() is None:
                os.kill(running.pid, signal.SIGKILL)
            running.communicate()
    for _ in range(2):
        site.run("prune", "--from", "local", "--grace", "0s", "--patience", "1ms")
    assert len(site.snapshots()) == 2
    assert site.json("verify", "--read-data", "100")["wrong"] == []
    assert restored(site, site.snapshots()[1]["id"], differences) == ""
    noted = leftover(site.top / "local/trash/swept")  # for a week, should a run come late
    assert leftover(site.top / "local/trash") - noted <= {"clock"}


def test_a_copy_with_a_shorter_memory_is_given_what_it_keeps(site, differences) -> None:
    text = (site.top / "plan.yaml").read_text()
    site.plan(text.replace("copy_of: local}", "copy_of: local, keep: {last: 1, grace: 1ms}}"))
    made = back_up(site, 2)
    (site.top / "keep-away").mkdir()
    os.rename(site.top / "offsite", site.top / "keep-away/offsite")
    grow(site, 7)
    partial = site.json("backup", "tree", code=11)  # a dead site fails no local copy
    made.append(partial["snapshots"][0]["id"])
    assert list(partial["copies_behind"]) == ["offsite"]
    os.rename(site.top / "keep-away/offsite", site.top / "offsite")
    for _ in range(3):
        site.run("replicate")
        site.run("prune")
    assert [s["id"] for s in site.snapshots()] == made
    assert [s["id"] for s in site.snapshots("--from", "offsite")] == made[2:]
    assert site.json("replicate")["offsite"]["objects"] == 0  # nothing comes and goes
    assert site.json("verify", "--from", "offsite", "--read-data", "100")["wrong"] == []
    to = site.top / "from-copy"
    site.run("restore", "tree", "--from", "offsite", "--to", to)
    assert differences(site.top / "live/tree", to) == ""


def leftover(folder: Path) -> set[str]:
    return {p.name for p in folder.rglob("*") if p.is_file()}


def test_a_prune_tells_which_run_it_waits_for_and_a_dry_run_counts_it(site) -> None:
    """A run that was killed, say. Nobody should have to delete its sign by hand."""
    keep_two(site)
    back_up(site, 4)
    sign = site.top / "local/runs/writing" / ("5" * 32)
    sign.parent.mkdir(parents=True, exist_ok=True)
    sign.touch()
    words = ("prune", "--from", "local", "--grace", "0s")
    told = site.json(*words, "--dry-run")["local"]
    done = site.json(*words)["local"]
    assert done | {"dry_run": True} == told
    assert done["deleted"]["objects"] == 0
    (waits_for,) = done["waiting_for_runs"]
    assert waits_for["sign"].endswith("5" * 32)
    text = site.run(*words).stdout
    assert "5" * 32 in text
    assert "--patience" in text
    told = site.json(*words, "--patience", "1ms", "--dry-run")["local"]
    done = site.json(*words, "--patience", "1ms")["local"]
    assert done | {"dry_run": True} == told
    assert done["deleted"]["size_bytes"] > 400_000
    assert not sign.exists()


def test_a_dry_run_without_grace_tells_what_goes_at_once(site) -> None:
    keep_two(site)
    back_up(site, 4)
    words = ("prune", "--from", "local", "--grace", "0s")
    told = site.json(*words, "--dry-run")["local"]
    done = site.json(*words)["local"]
    assert done["deleted"]["size_bytes"] > 400_000
    assert done | {"dry_run": True} == told


def test_a_damaged_pack_that_is_mostly_dead_is_told_and_keeps_nothing_else(site) -> None:
    text = (site.top / "plan.yaml").read_text()
    site.plan(text.replace("path: local}", "path: local, keep: {last: 1}}"))
    large = site.top / "live/tree/large"
    large.write_bytes(os.urandom(12_000_000))
    site.run("backup", "tree")
    large.unlink()
    site.run("backup", "tree")
    pack = max((site.top / "local/packs").glob("*/*"), key=lambda path: path.stat().st_size)
    pack.write_bytes(b"x" + pack.read_bytes()[1:])
    found = site.json("prune", "--from", "local", "--grace", "0s", code=6)["local"]
    assert pack.name in found["damaged"][0]
    assert len(found["removed"]) == 1
    assert found["deleted"]["objects"] > 0
    assert pack.exists()


def test_a_tiny_pack_comes_to_rest(site) -> None:
    """Its table and its ends are longer than what it holds."""
    text = (site.top / "plan.yaml").read_text()
    keep = "path: local, keep: {last: 1, grace: 1ms}}"
    site.plan(text.replace("path: local}", keep).replace("paths: [live/tree]", "paths: [few]"))
    (site.top / "few").mkdir()
    (site.top / "few/one.txt").write_text("of few words\n")
    site.run("backup", "tree")
    (site.top / "few/two").mkdir()
    site.run("backup", "tree")
    site.run("prune")
    site.run("prune")
    before = packs(site)
    for _ in range(2):
        assert site.json("prune")["local"]["rewritten"]["packs"] == 0
    assert packs(site) == before
