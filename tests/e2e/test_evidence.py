"""The evidence of drills: who may sign it, what opens the gate, and what is not believed."""

import base64
import fcntl
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from faked import clock
from recoverable import change, drill, lay_out, lose


@pytest.fixture
def ready(bare):
    lay_out(bare)
    return bare


VERIFY = """
import json, sys
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
key = load_pem_public_key(open(sys.argv[1], "rb").read())
document = json.load(open(sys.argv[2]))
made = SSlibKey.from_crypto(key, keyid=document["signatures"][0]["keyid"])
envelope = Envelope.from_dict(document)
envelope.verify([made], 1)
print(envelope.payload_type)
"""


def evidence(ready) -> list:
    return sorted((ready.top / "state/evidence/shop").glob("*.json"))


def test_evidence_is_verified_by_drctl_and_by_a_tool_that_is_not_ours(ready) -> None:
    drill(ready)
    drill(ready)
    (_, second) = evidence(ready)
    key = ready.top / "keys/evidence.key.pub"
    said = ready.run("report", "verify", second, "--key", key).stdout
    assert "shop 2: drill far passed" in said
    second.with_suffix(".json.new").write_text("cut sho")  # of a drill that was killed
    for words in ((second.parent,), ()):
        assert "verified: 2" in ready.run("report", "verify", *words).stdout
    argv = [sys.executable, "-c", VERIFY, str(key), str(second)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.stdout == "application/vnd.in-toto+json\n", done.stderr
    assert {p.name for p in (ready.top / "offsite/evidence").iterdir()} == {
        re.sub(r"^\d+-|\.json$", "", p.name) for p in evidence(ready)
    }
    assert not (ready.top / "local/evidence").exists()  # its site is denied: taken for lost
    ready.run("gate")


def test_a_drill_that_did_not_pass_is_to_be_done_however_often_drills_are_due(ready) -> None:
    change(ready, ", drill_every: 30d", "")
    assert "all is well" in ready.run("status").stdout  # nobody said that it must be drilled
    change(ready, "rto: 10m", "rto: 1ms")
    drill(ready, "missed")
    told = ready.json("status", code=10)
    assert told["to_do"] == [{"what": "drill far: failed", "command": "drctl drill far"}]


WEAKENED = {
    "rpo: 1h": "rpo: 30d",
    "  - {asset: tree, compare: manifest}\n": "",
    "./app, ask": "./app, tell",
    "deny_sites: [here]": "undo: true",
}


def test_a_gate_is_shut_without_evidence_and_by_each_fault_of_it(ready) -> None:
    assert "never verified" in ready.run("gate", code=10).stdout
    drill(ready)
    assert ready.json("gate")["drills"][0]["readiness"] == "verified"
    assert "overdue" in ready.run("gate", "--max-age", "1ms", code=10).stdout
    behind = replace(ready, variables={**ready.variables, **clock("-1h")})
    assert "a clock is wrong" in behind.run("gate", code=10).stdout
    plan = (ready.top / "plan.yaml").read_text()
    ready.plan(plan + "# another word\n")
    assert "changed since verified" in ready.run("gate").stdout
    ready.run("gate", "--strict", code=10)
    for before, after in WEAKENED.items():  # what passed is not what is asked now
        assert before in plan
        ready.plan(plan.replace(before, after))
        assert "checks, objectives or steps" in ready.run("gate", code=10).stdout
    ready.plan(plan.replace("rto: 10m", "rto: 1ms"))
    drill(ready, "missed")
    assert "missed its objectives" in ready.run("gate", code=10).stdout
    ready.plan(plan)
    drill(ready)
    ready.run("gate", "--strict")
    # The drill that was missed is taken away: here, and where it was kept beside.
    missed = evidence(ready)[1]
    (ready.top / "offsite/evidence" / missed.stem.partition("-")[2]).unlink()
    missed.unlink()
    assert "evidence 2 is missing" in ready.run("gate", code=10).stdout
    assert "evidence 2 is missing" in ready.run("report", "list", code=6).stderr
    told = ready.run("status", code=10).stdout
    assert "evidence 2 is missing" in told
    assert "drill far: verified, by evidence that is in doubt" in told


def test_a_gate_is_shut_while_a_repository_cannot_be_asked(ready) -> None:
    """Its disk is not mounted; a drill that was missed since may be known there alone."""
    drill(ready)
    os.rename(ready.top / "offsite", ready.top / "unmounted")
    (ready.top / "offsite").mkdir()
    found = ready.json("gate", code=5)
    assert (found["open"], found["not_asked"]) == (False, ["offsite"])
    assert [drill["open"] for drill in found["drills"]] == [True]
    said = ready.run("gate", code=5).stdout
    assert "offsite cannot be asked: " in said
    assert "is its disk mounted?" in said
    assert "--without offsite" in said
    assert ready.json("gate", "--without", "offsite")["not_asked"] == ["offsite"]
    assert "no repository 'offsit'" in ready.run("gate", "--without", "offsit", code=2).stderr


def waits_for_a_lock(process) -> bool:
    lines = Path("/proc/locks").read_text().splitlines()
    return any(" -> FLOCK " in line and f" {process.pid} " in line for line in lines)


def test_drills_of_two_users_of_one_plan_are_one_chain(ready) -> None:
    """Each has a state of its own, and learns of the other's by the repository alone."""
    other = replace(ready, variables={**ready.variables, "DRCTL_STATE_DIR": str(ready.top / "his")})
    other.run("drill", "far")
    (kept,) = (ready.top / "offsite/evidence").iterdir()
    kept = kept.rename(ready.top / kept.name)  # he is not done yet, and keeps others waiting
    held = os.open(ready.top / "plan.yaml", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    mine = ready.start("drill", "far")
    while mine.poll() is None and not waits_for_a_lock(mine):
        time.sleep(0.05)
    kept.rename(ready.top / "offsite/evidence" / kept.name)
    os.close(held)
    assert mine.communicate()[0].count("evidence 2: ") == 1
    ready.run("gate")


def enveloped(statement: dict, signatures: list) -> bytes:
    payload = base64.b64encode(json.dumps(statement).encode()).decode()
    kind = "application/vnd.in-toto+json"
    return json.dumps({"payloadType": kind, "payload": payload, "signatures": signatures}).encode()


def test_what_somebody_else_put_beside_the_evidence_proves_nothing(ready) -> None:
    """Whoever may write to the bucket, and holds no key of evidence."""
    change(ready, "rto: 10m", "rto: 1ms")
    drill(ready, "missed")
    (real,) = evidence(ready)
    statement = json.loads(base64.b64decode(json.loads(real.read_text())["payload"]))
    found = statement["predicate"]
    found |= {"number": 2, "previous": real.stem.partition("-")[2], "verdict": "passed"}
    keyid = json.loads(real.read_text())["signatures"][0]["keyid"]
    forged = enveloped(statement, [{"keyid": keyid, "sig": "AAAA"}])
    (ready.top / "offsite/evidence" / sha256(forged).hexdigest()).write_bytes(forged)
    assert "drill far: failed" in ready.run("status", code=10).stdout
    listed = ready.run("report", "list", code=6)
    assert "passed  NOT SIGNED" in listed.stdout
    assert "evidence 2, " in listed.stderr
    assert ready.json("report", "show")["verdict"] == "missed"
    shown = ready.run("report", "show", "2")
    assert "NOT signed by the plan's key" in shown.stdout
    assert "evidence 2 is not signed by the plan's key" in ready.run("gate", code=10).stdout
    del found["timing"]
    for odd in (statement, {**statement, "predicate": {**found, "number": 1e999}}):
        data = enveloped(odd, [{"keyid": keyid}])
        (ready.top / "offsite/evidence" / sha256(data).hexdigest()).write_bytes(data)
    assert "drill far: failed" in ready.run("status", code=10).stdout
    assert ready.run("gate", code=10).stdout.count("it does not read as evidence") == 2


def test_a_host_that_was_replaced_goes_on_with_the_chain_and_not_behind_a_forged_number(
    ready,
) -> None:
    """Its drill reads from one repository, the one before left evidence in another alone."""
    change(ready, "drills:\n", "drills:\n  near: {from: local}\n")
    drill(ready)
    (real,) = evidence(ready)
    statement = json.loads(base64.b64decode(json.loads(real.read_text())["payload"]))
    statement["predicate"] |= {"number": 1_000_000}
    data = enveloped(statement, [])
    forged = ready.top / "offsite/evidence" / sha256(data).hexdigest()
    forged.write_bytes(data)
    lose(ready.top / "state")
    assert "evidence 2: " in ready.run("drill", "near").stdout
    assert "is not signed" in ready.run("gate", code=10).stdout
    forged.unlink()
    ready.run("gate")
    ready.run("report", "list")


def test_a_drill_whose_evidence_could_not_be_signed_is_not_begun(ready) -> None:
    (ready.top / "keys/evidence.key").unlink()
    assert "evidence.key" in ready.run("drill", "far", code=7).stderr
    assert not (ready.top / "state/drills").exists()


def test_a_host_without_the_key_of_the_evidence_is_told_how_all_else_stands(ready) -> None:
    drill(ready)
    (ready.top / "keys/evidence.key").unlink()
    (ready.top / "keys/evidence.key.pub").unlink()
    told = ready.json("status", code=10)
    assert {a["verdict"] for a in told["assets"]} == {"met"}
    (todo,) = told["to_do"]
    assert todo["what"].startswith("the evidence of drills cannot be verified: evidence.key: ")
    ready.run("gate", code=7)
    (ready.top / "keys/evidence.key.pub").mkdir()
    assert "evidence.key.pub: Is a directory" in ready.run("report", "key", code=7).stderr


def test_unsigned_evidence_does_not_open_the_gate(ready) -> None:
    change(ready, 'evidence: {key: "file:keys/evidence.key"}\n', "")
    assert "it is NOT SIGNED" in ready.run("drill", "far").stdout
    assert "nobody can tell who made the evidence" in ready.run("gate", code=10).stdout
    assert "verified, by evidence that nobody signed" in ready.run("status").stdout


def test_tampered_evidence_is_caught(ready) -> None:
    change(ready, "rto: 10m", "rto: 1ms")
    drill(ready, "missed")
    (path,) = evidence(ready)
    forged = json.loads(path.read_text())
    payload = base64.b64decode(forged["payload"]).replace(b'"missed"', b'"passed"')
    forged["payload"] = base64.b64encode(payload).decode()
    path.write_text(json.dumps(forged))
    said = ready.run("report", "verify", path, code=6).stderr
    assert f"{path}: not signed by this key" in said
    assert "it is not what was written" in ready.run("gate", code=10).stdout
    listed = ready.run("report", "list", code=6)
    assert f"{path}: it is not what was written" in listed.stderr
    assert "missed  signed" in listed.stdout
    assert "in a repository, not here" in listed.stdout
    path.unlink()
    assert ready.json("report", "list")[0]["verdict"] == "missed"
    assert ready.json("report", "show")["verdict"] == "missed"


def test_what_the_key_before_signed_counts_until_the_new_one_has_signed(ready) -> None:
    drill(ready)
    old = (ready.top / "keys/evidence.key").read_text()
    (ready.top / "keys/evidence.key").unlink()
    said = ready.run("init").stderr
    (kept,) = (ready.top / "keys").glob("evidence.key-*.pub")
    assert f"former: [{kept}]" in said
    shut = ready.run("gate", code=10).stdout
    assert "a key that the plan had before is named in evidence.former" in shut
    assert "evidence 1 is not signed" in ready.run("status", code=10).stdout
    change(ready, '.key"}', f'.key", former: [{kept}]}}')
    ready.run("gate")
    assert "former key" in ready.run("report", "show").stdout
    drill(ready)
    ready.run("gate")
    ready.run("status")
    ready.run("report", "list")
    assert "verified: 2" in ready.run("report", "verify").stdout
    pem = ready.top / "keys.pem"
    pem.write_text(ready.run("report", "key").stdout)
    script = Path(__file__).parents[2] / "scripts/verify-evidence"
    argv = [sys.executable, "-I", str(script), str(pem), str(ready.top / "state/evidence/shop")]
    assert subprocess.run(argv, check=False).returncode == 0
    # Whoever stole the old one goes on with it.
    half = ready.top / "keys/evidence.key.pub"
    new, its_half = (ready.top / "keys/evidence.key").read_text(), half.read_text()
    (ready.top / "keys/evidence.key").write_text(old)
    assert "is another key's public half" in ready.run("drill", "far", code=7).stderr
    half.unlink()
    drill(ready)
    (ready.top / "keys/evidence.key").write_text(new)
    half.write_text(its_half)
    shut = ready.run("gate", code=10).stdout
    assert "evidence 3 is not signed by the plan's key" in shut
    assert "which was no longer its key then" in shut
    assert subprocess.run(argv, check=False).returncode == 1
    for words in (("list",), ("verify",), ("verify", "--key", pem)):
        ready.run("report", *words, code=6)
    # Exchanged in its place, as by a vault.
    (ready.top / "keys/evidence.key").write_text(old)
    assert "is now" in ready.run("init").stderr
    assert half.read_text() == kept.read_text()


def test_evidence_is_verified_by_a_script_that_needs_no_drctl(ready) -> None:
    drill(ready)
    drill(ready)
    drill(ready)
    script = Path(__file__).parents[2] / "scripts/verify-evidence"
    argv = [sys.executable, "-I", str(script), str(ready.top / "keys/evidence.key.pub")]
    files = [str(path) for path in evidence(ready)]
    assert subprocess.run([*argv, *files], check=False).returncode == 0
    assert subprocess.run([*argv, str(Path(files[0]).parent)], check=False).returncode == 0
    gap = [files[0], files[2]]
    assert subprocess.run([*argv, *gap], check=False).returncode == 1
    assert subprocess.run([*argv, files[2]], check=False).returncode == 0  # by itself
    alone = ready.top / "alone"
    alone.mkdir()
    (alone / "3.json").write_bytes(Path(files[2]).read_bytes())
    for begun in (files[1:], [str(alone)]):
        assert subprocess.run([*argv, *begun], check=False).returncode == 1
    text = Path(files[1]).read_text()
    Path(files[1]).write_text(text.replace('"payload": "eyJ', '"payload": "eyK'))
    assert subprocess.run([*argv, *files], check=False).returncode == 1
