"""What a command does not need is not loaded: it would cost most of its time."""

import subprocess
import sys
from pathlib import Path

PLAN = """\
version: 1
name: small
sites: {a: {failure_domain: a}}
repositories: {here: {site: a, path: repository}}
keys: {credential: file:writer.key, identity: file:identity.key}
assets: {data: {files: {paths: [data]}, schedule: daily}}
"""
HELP = """\
import sys
from drctl.cli.context import Context
from drctl.cli.main import cli
context = Context()
sys.argv[1:] = ["--help"]
try:
    cli.main(standalone_mode=False, obj=context)
finally:
    context.close()
print(*sys.modules)
"""
LISTING = """\
import sys
import drctl.cli.backup, drctl.cli.snapshots, drctl.cli.verify, drctl.plan
drctl.plan.load(sys.argv[1])
print(*sys.modules)
"""


def loaded(*argv: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", *argv], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_help_loads_no_command() -> None:
    found = loaded(HELP)
    assert "click" in found
    assert not {"pydantic", "cryptography", "drctl.wiring", "drctl.workers"} & found


def test_a_plan_loads_its_own_engines_and_no_sdk(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN)
    found = loaded(LISTING, str(plan))
    assert "drctl.engines.files" in found
    others = {f"drctl.engines.{kind}" for kind in ("postgres", "mariadb", "redis", "s3bucket")}
    assert not (others | {"botocore", "boto3", "psycopg", "pymysql"}) & found


def test_a_restore_knows_its_words_before_it_loads_what_carries_them_out() -> None:
    """So that the identity is being opened meanwhile."""
    found = loaded("import sys, drctl.cli.restore; print(*sys.modules)")
    assert not {"pydantic", "drctl.wiring", "drctl.ops.restore", "drctl.engines"} & found
