"""Runs something as another user, from an interpreter that only we may read.

    as_user.py UID drctl ARGS...          the real command
    as_user.py UID FILE ARGS...           a Python file's main

Everything is imported first and the privileges are dropped then, so neither the interpreter nor the
packages need to be readable for that user.
"""

import codecs
import importlib.util
import os
import pkgutil
import sys

import drctl
from drctl.codec import keys, recipients, seal


def warm_up() -> None:
    """Some libraries import parts of themselves at their first use."""
    identity = recipients.new_identity("nobody", os.urandom)
    closed = keys.encode_identity(identity, "warm", os.urandom)
    recipient = keys.decode_identity(closed, "warm").recipient()
    identity.open(recipient.seal(b"secret", b""), b"")
    meta = seal.seal_meta(bytes(32), bytes(16), b"12345678", b"plain", os.urandom)
    seal.open_meta(bytes(32), bytes(16), b"12345678", meta)


def main() -> None:
    uid, what, *words = sys.argv[1:]
    for module in pkgutil.walk_packages(drctl.__path__, "drctl."):
        if module.name != "drctl.__main__":
            importlib.import_module(module.name)
    for name in ("utf-8-sig", "unicode_escape", "idna", "ascii"):
        codecs.lookup(name)
    warm_up()
    run = sys.modules["drctl.cli.main"].main
    if what != "drctl":
        spec = importlib.util.spec_from_file_location("entered", what)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        run = module.main
    if int(uid) != os.geteuid():
        os.setgroups([])
        os.setresgid(int(uid), int(uid), int(uid))
        os.setresuid(int(uid), int(uid), int(uid))
    sys.argv = [what, *words]
    run()


main()
