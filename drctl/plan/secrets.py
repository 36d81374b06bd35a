"""References to secrets: a plan says where one lies, never what it is."""

import os
import shlex
import stat
import subprocess

from drctl.errors import KeyUnavailable
from drctl.private import PASSPHRASES

_COMMAND_SECONDS = 60


def path_of(reference: str, base: str) -> str | None:
    """The file that a `file:` or `credential:` reference means."""
    kind, _, rest = reference.partition(":")
    if kind == "file":
        return os.path.join(base, os.path.expanduser(rest))
    if kind == "credential":
        return os.path.join(os.environ.get("CREDENTIALS_DIRECTORY", "/run/credentials"), rest)
    return None


def resolve(reference: str, base: str) -> str:
    """The secret, without the line's end. Raises KeyUnavailable saying where it was looked for."""
    kind, _, rest = reference.partition(":")
    path = path_of(reference, base)
    if path is not None:
        return _from_file(path)
    return _from_environment(rest) if kind == "env" else _from_command(rest, base)


def _from_file(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & (stat.S_IROTH | stat.S_IWOTH):
                raise KeyUnavailable(
                    f"{path}: everybody may read this secret", hint=f"run: chmod 600 {path}"
                )
            return file.read().rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise KeyUnavailable(f"{path}: {why}", hint="is the path in the plan right?") from error


def _from_environment(name: str) -> str:
    try:
        return os.environ[name]
    except KeyError as error:
        raise KeyUnavailable(
            f"the environment has no {name}", hint="set it for drctl, or change the plan"
        ) from error


def _from_command(line: str, base: str) -> str:
    try:
        argv = shlex.split(line)
        done = subprocess.run(
            argv,
            cwd=base,
            env={n: v for n, v in os.environ.items() if n not in PASSPHRASES},
            capture_output=True,
            timeout=_COMMAND_SECONDS,
            check=True,
            text=True,
        )
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise KeyUnavailable(
            f"the command for a secret failed: {line.split(maxsplit=1)[0]}: {type(error).__name__}",
            hint="run it by hand and look",
        ) from error
    return done.stdout.rstrip("\n")
