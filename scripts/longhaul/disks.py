"""Small disks: the tests' scenes on ext4 on a loop device, with ever other sizes. Needs root."""

import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

from test_disks import PLAN, PRELUDE

from drctl.errors import ExitCode
from longhaul.common import Haul

_ROUNDS = 10
_MOUNT = "mount -t tmpfs -o size=24m,mode=0700 tmpfs repository\n"
_EXT4 = """\
truncate -s 40M image; mkfs.ext4 -q -m 0 image
mount -o loop image repository
"""
# The disk fills somewhere in the middle; room is made by another file's end.
_SCENE = """\
head -c {ballast} /dev/zero >repository/ballast
head -c {grows} /dev/urandom >live/second
got=0; drctl backup tree >said 2>&1 || got=$?
if [ $got -ne 0 ]; then [ $got -eq {storage} ] || {{ cat said; exit 90; }}; says 'disk is full'; fi
! grep -q Traceback said || exit 91
expect 0 verify --read-data 100
expect 0 restore tree --to back
[ $got -eq 0 ] && same live back || same before back
rm repository/ballast
expect 0 backup tree
expect 0 verify --read-data 100
expect 0 restore tree --to again
same live again
umount repository; fsck.ext4 -fn image >said 2>&1 || {{ cat said; exit 92; }}
exit $((got == 0 ? 0 : 40))
"""


def run(haul: Haul) -> dict[str, object]:
    """How often the disk was full in the middle of a backup."""
    assert os.geteuid() == 0, "mounting a loop device needs root"
    chance = random.Random(haul.seed)
    came: Counter[str] = Counter()
    for round_ in range(_ROUNDS):
        ballast, grows = chance.randrange(14 << 20, 30 << 20), chance.randrange(1 << 20, 24 << 20)
        haul.where = f"{grows} bytes more beside {ballast} of others"
        top = haul.top / str(round_)
        (top / "repository").mkdir(parents=True)
        (top / "plan.yaml").write_text(PLAN)
        prelude = PRELUDE.replace("PYTHON", sys.executable).replace(_MOUNT, _EXT4)
        assert _EXT4 in prelude
        scene = _SCENE.format(ballast=ballast, grows=grows, storage=int(ExitCode.STORAGE))
        came[_run(top, prelude + scene)] += 1
    return {"backups": _ROUNDS, **came}


def _run(top: Path, script: str) -> str:
    variables = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "HOME": str(top)}
    variables |= {"DRCTL_PASSPHRASE": "correct horse", "DRCTL_STATE_DIR": f"{top}/state"}
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script],
        cwd=top,
        env=variables,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode in (0, 40), f"exit {done.returncode}: {done.stdout}{done.stderr}"
    return "the disk was full" if done.returncode else "it had room"
