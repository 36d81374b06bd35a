"""The tools that are compared, each told to do the same. All of them encrypt but tar."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Argv = list[str]
Environment = dict[str, str]

PLAN = """\
version: 1
name: bench
sites: {{a: {{failure_domain: a}}}}
repositories: {{r: {{site: a, {place}}}}}
keys: {{credential: file:writer.key, identity: file:identity.key}}
assets: {{data: {{{asset}, schedule: daily}}}}
"""


@dataclass(frozen=True)
class S3:
    """A server, through the proxy that delays."""

    endpoint: str
    access_key: str
    secret_key: str
    count: Path

    def requests(self) -> int:
        """How many the proxy has seen; 0 without one."""
        return self.count.stat().st_size if self.count.exists() else 0

    def _client(self) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
        )

    def make_bucket(self, bucket: str) -> None:
        self._client().create_bucket(Bucket=bucket)

    def stored_mib(self, bucket: str) -> float:
        """What lies in a bucket."""
        pages = self._client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return sum(o["Size"] for page in pages for o in page.get("Contents", ())) / (1 << 20)


class Tool:
    """`work` is the tool's own directory, new for every round."""

    name = ""
    rounds = 1000  # at most; less for what takes most of the time and shows no more

    def __init__(self, work: Path, data: Path, s3: S3 | None) -> None:
        self.work, self.data, self.s3 = work, data, s3
        work.mkdir(parents=True)
        self.environment: Environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(work),
            "LC_ALL": "C.UTF-8",
        }
        if s3:
            self.environment["AWS_ACCESS_KEY_ID"] = s3.access_key
            self.environment["AWS_SECRET_ACCESS_KEY"] = s3.secret_key

    @property
    def bucket(self) -> str:
        return f"{self.name}-{self.work.parent.name}"

    def call(self, argv: Argv) -> None:
        """What is not measured."""
        subprocess.run(
            argv, env=self.environment, check=True, capture_output=True, stdin=subprocess.DEVNULL
        )

    def prepare(self) -> None: ...

    def backup(self) -> Argv: ...

    def restore(self, to: Path) -> Argv: ...

    def verify(self) -> Argv: ...

    def repository(self) -> Path:
        return self.work / "repository"


class Drctl(Tool):
    name = "drctl"
    asset = "files: {{paths: [{data}]}}"

    def prepare(self) -> None:
        place = "path: repository"
        if self.s3:
            self.s3.make_bucket(self.bucket)
            place = (
                f's3: {{bucket: {self.bucket}, endpoint: "{self.s3.endpoint}", credentials: '
                '{access_key: "env:AWS_ACCESS_KEY_ID", secret_key: "env:AWS_SECRET_ACCESS_KEY"}}'
            )
        plan = PLAN.format(place=place, asset=self.asset.format(data=self.data))
        (self.work / "plan.yaml").write_text(plan)
        self.environment |= {
            "DRCTL_PLAN": str(self.work / "plan.yaml"),
            "DRCTL_STATE_DIR": str(self.work / "state"),
            "DRCTL_PASSPHRASE": "bench",
        }
        self.call(["drctl", "init"])

    def backup(self) -> Argv:
        return ["drctl", "backup"]

    def restore(self, to: Path) -> Argv:
        return ["drctl", "restore", "data", "--to", str(to)]

    def verify(self) -> Argv:
        return ["drctl", "verify", "--read-data", "100"]


class Restic(Tool):
    name = "restic"

    def prepare(self) -> None:
        place = str(self.repository())
        if self.s3:
            place = f"s3:{self.s3.endpoint}/{self.bucket}/r"
        self.environment |= {"RESTIC_PASSWORD": "bench", "RESTIC_REPOSITORY": place}
        self.call(["restic", "init"])

    def backup(self) -> Argv:
        return ["restic", "backup", "-q", str(self.data)]

    def restore(self, to: Path) -> Argv:
        return ["restic", "restore", "-q", "latest", "--target", str(to)]

    def verify(self) -> Argv:
        return ["restic", "check", "-q", "--read-data"]


class Borg(Tool):
    name = "borg"
    rounds = 2
    archives = 0

    def prepare(self) -> None:
        self.environment |= {
            "BORG_PASSPHRASE": "bench",
            "BORG_REPO": str(self.repository()),
            "BORG_BASE_DIR": str(self.work),
        }
        self.call(["borg", "init", "-e", "repokey-blake2"])

    def backup(self) -> Argv:
        self.archives += 1
        return ["borg", "create", "-C", "zstd,3", f"::{self.archives}", str(self.data)]

    def restore(self, to: Path) -> Argv:
        to.mkdir()
        return ["sh", "-c", 'cd "$0" && exec borg extract ::"$1"', str(to), str(self.archives)]

    def verify(self) -> Argv:
        return ["borg", "check", "--verify-data"]


class Tar(Tool):
    """The limit: no deduplication, no encryption, no index; nothing to compare or to verify."""

    name = "tar+zstd"

    def backup(self) -> Argv:
        self.repository().mkdir(exist_ok=True)
        command = 'tar -C "$0" -cf - . | zstd -q -f -3 -T2 -o "$1"'
        return ["sh", "-c", command, str(self.data), str(self.repository() / "tar.zst")]

    def restore(self, to: Path) -> Argv:
        to.mkdir()
        command = 'zstd -q -dc "$1" | tar -C "$0" -xf -'
        return ["sh", "-c", command, str(to), str(self.repository() / "tar.zst")]


LOCAL = (Drctl, Restic, Borg, Tar)
REMOTE = (Drctl, Restic)


def versions(data: list[str]) -> dict[str, str]:
    """What each tool calls itself."""
    asked = {
        "drctl": ["drctl", "--version"],
        "restic": ["restic", "version"],
        "borg": ["borg", "--version"],
        "tar": ["tar", "--version"],
        "zstd": ["zstd", "--version"],
    }
    if "pgcluster" in data:
        asked["pgbackrest"] = ["pgbackrest", "version"]
    if "mariadb" in data:
        asked |= {
            "mariadb-backup": ["mariadb-backup", "--version"],
            "openssl": ["openssl", "version"],
        }
    missing = [name for name, argv in asked.items() if not shutil.which(argv[0])]
    if missing:
        raise SystemExit(f"bench: not installed: {', '.join(missing)}; see docs/performance.md")
    return {
        name: subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split("\n")[0]
        for name, argv in asked.items()
    }
