"""Files that hold keys, as the commands read and write them."""

from drctl import private
from drctl.codec import keys
from drctl.codec.recipients import Recipient
from drctl.errors import KeyUnavailable


def read_text(path: str) -> str:
    """Raises KeyUnavailable."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise KeyUnavailable(f"{path}: {why}", hint="is the path right?") from error


def read_recipient(path: str) -> Recipient:
    """The public half in an identity file or a recipient file. Raises KeyUnavailable."""
    text = read_text(path)
    try:
        return keys.identity_recipient(text)
    except KeyUnavailable as error:
        raise KeyUnavailable(
            f"{path}: {error.what}", hint="'drctl key public' prints what is wanted"
        ) from error


def write_private(path: str, text: str) -> None:
    """A new key or plan that only its owner reads. Raises KeyUnavailable."""
    try:
        private.write_new(path, text)
    except OSError as error:
        raise _trouble(path, error) from error


def rewrite_private(path: str, text: str) -> None:
    """Other content for a key that is there. Raises KeyUnavailable."""
    try:
        private.replace(path, text)
    except OSError as error:
        raise _trouble(path, error) from error


def _trouble(path: str, error: OSError) -> KeyUnavailable:
    if isinstance(error, FileExistsError):
        hint = f"nothing is written over: look what it is, and move it away: mv {path} {path}.old"
    else:
        hint = "look at its directory's rights"
    return KeyUnavailable(f"{path}: cannot be written: {error.strerror}", hint=hint)
