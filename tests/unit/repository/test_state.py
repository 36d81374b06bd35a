"""What a host remembers, and what keeps two runs of it apart."""

import subprocess
import sys

# The kernel refuses this process all locks, as NFS does without its lock service.
WITHOUT_LOCKS = """
import ctypes, errno, os, platform, struct, sys

number = {"x86_64": 73, "aarch64": 32}[platform.machine()]  # of flock
load, equal, give, allow, refuse = 0x20, 0x15, 0x06, 0x7FFF0000, 0x50000 | errno.ENOLCK
lines = (load, 0, 0, 0), (equal, 0, 1, number), (give, 0, 0, refuse), (give, 0, 0, allow)
program = b"".join(struct.pack("=HBBI", *line) for line in lines)
held = ctypes.create_string_buffer(program)
filters = ctypes.create_string_buffer(struct.pack("@HP", 4, ctypes.addressof(held)))
kernel = ctypes.CDLL(None, use_errno=True)
no_new_rights, seccomp = 38, 22
zero, one, by_filter = ctypes.c_ulong(0), ctypes.c_ulong(1), ctypes.c_ulong(2)
assert kernel.prctl(no_new_rights, one, zero, zero, zero) == 0
assert kernel.prctl(seccomp, by_filter, filters, zero, zero) == 0, ctypes.get_errno()

from drctl.engines.unfinished import Unfinished, refuse_to_save, refuse_what_is_there
from drctl.errors import DrctlError
from drctl.repository.state import exclusive

def told(call, *words):
    try:
        call(*words)
    except DrctlError as error:
        print(error.what, error.hint)

top = sys.argv[1]
root = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
told(exclusive(os.path.join(top, "a.lock"), "a backup").__enter__)
mark = Unfinished(root)
told(refuse_what_is_there, root, "there")
told(refuse_to_save, "files", os.fsencode(top))
"""


def test_a_disk_without_locks_is_told_with_what_to_do_and_marks_say_the_same(tmp_path) -> None:
    argv = [sys.executable, "-c", WITHOUT_LOCKS, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    locked, there, saved = done.stdout.splitlines()
    assert "it cannot be locked" in locked
    assert "DRCTL_STATE_DIR" in locked
    assert "holds what a restore left that was interrupted" in there
    assert "holds what a restore left that was interrupted" in saved
