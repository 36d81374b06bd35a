"""Where nobody names a repository, a copy that was away is not read in the place of one that was
not; and one that hangs holds nobody up."""

import socket

from drctl import plan
from drctl.cli.newest import Known, Sought, having_newest
from drctl.events import Notice
from drctl.repository import catalog
from drctl.wiring import Wiring

PLAN = """\
version: 1
name: test
sites: {here: {failure_domain: a}, there: {failure_domain: b}, far: {failure_domain: c}}
repositories:
  local: {site: here, path: local}
  off: {site: there, path: off, copy_of: local}
  off2: {site: far, path: off2, copy_of: local}
keys: {credential: file:keys/writer.key, identity: file:keys/identity.key}
assets:
  tree: {files: {paths: [live/tree]}}
  late: {files: {paths: [live/tree]}}
"""


class Heard:
    """Keeps what is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def emit(self, event: object) -> None:
        if isinstance(event, Notice):
            self.told.append(event.text)

    def close(self) -> None:
        """Nothing is open."""


def never_came(site, copy: str, made: str) -> None:
    """As where the disk of a copy was away."""
    (site.top / copy / "snapshots" / made).unlink()


def silent_instead_of_local(site, monkeypatch, port: int, heard: Heard) -> str:
    """What is read where off answers, and local's server takes calls and never answers."""
    monkeypatch.setenv("DRCTL_STATE_DIR", str(site.top / "state"))
    monkeypatch.setenv("DR_KEY", "secret")
    keys = "credentials: {access_key: env:DR_KEY, secret_key: env:DR_KEY}"
    bucket = f"s3: {{bucket: away, endpoint: 'http://127.0.0.1:{port}', {keys}}}"
    (site.top / "silent.yaml").write_text(PLAN.replace("path: local}", f"{bucket}}}"))
    wiring = Wiring(plan.load(str(site.top / "silent.yaml")), heard)
    opened = wiring.as_writer("off")
    known = Known("off", opened, catalog.load(opened))
    return having_newest(wiring, known, ["local"], Sought(["tree"]), patience_seconds=0.1)


def test_the_copy_with_the_newest_is_read_where_the_first_was_away(bare, monkeypatch) -> None:
    bare.plan(PLAN)
    bare.run("init")
    bare.run("kit", "--to", "kit", "--need", "1", "--of", "1", "--yes")
    bare.run("backup")
    (bare.top / "live/tree/a.txt").write_text("newer\n")
    made = {s["asset"]: s["id"] for s in bare.json("backup")["snapshots"]}
    never_came(bare, "off", made["tree"])
    with socket.create_server(("127.0.0.1", 0)) as silent:
        heard = Heard()
        port = silent.getsockname()[1]
        assert silent_instead_of_local(bare, monkeypatch, port, heard) == "off"
        assert "local was not compared, and may have newer snapshots: no answer" in heard.told[0]

    (bare.top / "local").rename(bare.top / "gone")
    told = bare.run("restore", "tree", "--to", "back", "--kit", "kit").stderr
    assert f"tree: off2 is read, {made['tree'][:8]} of " in told
    assert "what off has is of " in told
    assert (bare.top / "back/a.txt").read_text() == "newer\n"

    never_came(bare, "off2", made["late"])  # each has the newest of one now
    told = bare.run("recover", "--to", "all", "--yes").stderr
    assert f"tree: off2 has a newer snapshot than off, {made['tree'][:8]} of " in told
    assert "--from off2" in told
    assert (bare.top / "all/tree/a.txt").read_text() == "alpha\n"
