"""A cluster that was renamed takes its tablespaces along."""

from drctl.engines.postgres_spaces import moved


def test_what_a_killed_one_left_is_in_nobodys_way(tmp_path) -> None:
    """Of several, since nobody knows in which order a directory tells its names."""
    before, now = tmp_path / "main", tmp_path / "main.old"
    above = now / "pg_tblspc"
    above.mkdir(parents=True)
    numbers = [str(number) for number in range(16400, 16416)]
    for number in numbers:
        (tmp_path / f"main.old-tablespaces/{number}").mkdir(parents=True)
        for name in (number, f"{number}.drctl-moved"):
            (above / name).symlink_to(f"{before}-tablespaces/{number}")
    moved(str(before), str(now))
    led = {link.name: str(link.readlink()) for link in above.iterdir()}
    assert led == {number: f"{now}-tablespaces/{number}" for number in numbers}
