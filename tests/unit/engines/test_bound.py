"""A program that is bound to drctl does not run without it."""

import subprocess

from drctl.engines.bound import bound


def test_a_program_does_not_begin_where_its_drctl_is_gone(tmp_path) -> None:
    """It was killed before the kernel knew that the program is to end with it: then the program
    has another parent."""
    made = tmp_path / "made"
    words = bound(["touch", str(made)])
    subprocess.run(["sh", "-c", '"$@"; true', "sh", *words], check=True)
    assert not made.exists()
    subprocess.run(words, check=True)
    assert made.exists()
