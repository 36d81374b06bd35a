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


def main() -> None:
    uid, what, *words = sys.argv[1:]
    for module in pkgutil.walk_packages(drctl.__path__, "drctl."):
        if module.name != "drctl.__main__":
            importlib.import_module(module.name)
    for name in ("utf-8-sig", "unicode_escape", "idna", "ascii"):
        codecs.lookup(name)
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
