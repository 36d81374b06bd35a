"""Small disks, real ones: full, read-only, gone in the middle of a run. Nothing committed is lost,
and the exit code and the words say what it was.

The file systems are mounted in a mount namespace of the test's own, which needs no root.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from drctl.errors import ExitCode

PLAN = """\
version: 1
name: disks
sites: {here: {failure_domain: a}}
repositories: {local: {site: here, path: repository}}
keys: {credential: file:keys/writer.key}
assets:
  tree: {files: {paths: [live]}, schedule: hourly}
  slow:
    command: {run: [sh, -c, "echo begun; touch begun; cat gate; head -c 3000000 /dev/urandom"]}
    schedule: hourly
"""
# `expect CODE WORDS...` runs drctl and ends the test where it ends otherwise.
PRELUDE = """\
set -eu
drctl() { PYTHON -m drctl --plan plan.yaml "$@"; }
expect() {
  local code=$1 got=0; shift
  drctl "$@" >said 2>&1 || got=$?
  if [ $got -ne $code ] || grep -q Traceback said; then echo "$*: exit $got"; cat said; exit 99; fi
}
says() { grep -q -- "$1" said || { echo "it does not say '$1':"; cat said; exit 98; }; }
same() { diff -r "$1" "$2" || exit 97; }
mount -t tmpfs -o size=24m,mode=0700 tmpfs repository
mkdir -p live small; head -c 2000000 /dev/urandom >live/first
expect 0 init
expect 0 backup tree
cp -r live before
"""
GROWS = "head -c 60000000 /dev/urandom >live/second"


@dataclass(frozen=True)
class Place:
    """A directory with a plan, and a shell in which its repository is a small disk."""

    top: Path

    def run(self, script: str) -> None:
        """The script's every line must succeed."""
        how = ["--mount"] if os.geteuid() == 0 else ["--mount", "--map-root-user"]
        variables = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "HOME": str(self.top)}
        variables |= {"DRCTL_PASSPHRASE": "correct horse", "DRCTL_STATE_DIR": f"{self.top}/state"}
        whole = PRELUDE.replace("PYTHON", sys.executable) + script
        done = subprocess.run(
            ["unshare", *how, "bash", "-c", whole],
            cwd=self.top,
            env=variables,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=250,
            check=False,
        )
        assert done.returncode == 0, f"exit {done.returncode}: {done.stdout}{done.stderr}"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "repository").mkdir()
    (tmp_path / "plan.yaml").write_text(PLAN)
    return Place(tmp_path)


def test_a_disk_that_fills_in_a_backup_costs_nothing_that_was_committed(place) -> None:
    place.run(f"""
{GROWS}
expect {ExitCode.STORAGE} backup tree
says 'the disk is full'
[ -z "$(find repository/runs -type f)" ] || {{ echo "its sign holds prunes up"; exit 94; }}
expect 0 verify --read-data 100
expect 0 restore tree --to back
same before back
mount -t tmpfs -o remount,size=200m tmpfs repository
expect 0 backup tree
[ $(du -sm repository | cut -f1) -lt 72 ] || {{ echo "nothing is used again"; exit 95; }}
expect 0 verify --read-data 100
expect 0 restore tree --to back-again
same live back-again
""")


def test_a_target_that_fills_is_told_and_the_repository_is_unharmed(place) -> None:
    place.run(f"""
head -c 15000000 /dev/urandom >live/second
mkdir live/many; for i in $(seq 500); do head -c 9000 /dev/urandom >live/many/$i; done
expect 0 backup tree
mount -t tmpfs -o size=6m tmpfs small
expect {ExitCode.TARGET_REFUSED} restore tree --to small/large
says 'No space left'
says 'the repository is unharmed'
rm live/second
expect 0 backup tree
rm -rf small/large
mount -t tmpfs -o remount,size=4m tmpfs small
expect {ExitCode.TARGET_REFUSED} restore tree --to small/many
says 'No space left'
expect 0 verify --read-data 100
expect 0 restore tree --to back
same live back
""")


def test_a_disk_that_became_read_only_is_told_and_still_reads(place) -> None:
    place.run(f"""
echo more >live/second
mount -t tmpfs -o remount,ro tmpfs repository
expect {ExitCode.STORAGE} backup tree
says 'read-only'
cp keys/writer.key as-it-was
expect {ExitCode.STORAGE} kit --to kit --yes
[ ! -e kit ] || {{ echo "pages of a kit that opens nothing"; exit 94; }}
cmp keys/writer.key as-it-was
expect 0 restore tree --to back
same before back
mount -t tmpfs -o remount,rw tmpfs repository
expect 0 kit --to kit --yes
expect 0 kit test --kit kit
expect 0 backup tree
expect 0 verify --read-data 100
""")


def test_a_disk_that_goes_away_in_a_backup_is_told_and_its_place_stays_empty(place) -> None:
    """The directory that it was mounted on must not be taken for the repository."""
    place.run(f"""
mkdir kept; mount --bind repository kept
mkfifo gate
drctl backup slow >said 2>&1 & run=$!
while [ ! -e begun ]; do sleep 0.05; done
umount -l repository
echo go >gate
code=0; wait $run || code=$?
[ $code -eq {ExitCode.STORAGE} ] || {{ echo "exit $code"; cat said; exit 96; }}
says "taken the repository's place"
[ -z "$(ls -A repository)" ]
expect {ExitCode.STORAGE} backup tree
says 'there is no drctl repository'
mount --bind kept repository
expect 0 backup tree
expect 0 verify --read-data 100
""")


def test_a_path_whose_disk_is_not_mounted_makes_the_snapshot_suspect(place) -> None:
    """Also where something lies below the mount point, and whatever the other paths hold."""
    place.run("""
mkdir disk disk2; echo stale >disk2/beneath
sed -i 's/paths: .live./paths: [disk, live, live\\/inner, disk2]/' plan.yaml
mkdir live/inner; echo of today >live/inner/file
mount -t tmpfs tmpfs disk; echo kept >disk/kept; mkdir disk/empty
mount -t tmpfs tmpfs disk2; echo kept >disk2/kept
expect 0 backup tree; expect 0 backup tree
umount disk
expect 11 backup tree
says 'SUSPECT: path 1 of 4 holds nothing, unlike in [0-9a-f]*: a disk may not be mounted'
umount disk2
rm live/inner/file
expect 11 backup tree
says 'path 1 of 4 holds nothing; path 3 of 4 holds nothing; path 4 of 4 lies on no disk of its own'
expect 10 status
says 'tree is suspect: path 1 of 4'
mount -t tmpfs tmpfs disk; echo kept >disk/kept; mkdir disk/empty
mount -t tmpfs tmpfs disk2; echo kept >disk2/kept
echo of today >live/inner/file
expect 0 backup tree
if grep SUSPECT said; then exit 95; fi
umount disk disk2
expect 0 backup --accept tree; expect 0 backup tree
if grep SUSPECT said; then exit 94; fi
""")
