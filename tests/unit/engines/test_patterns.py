"""Exclude patterns mean what they mean in .gitignore."""

import pytest

from drctl.engines.patterns import compile_patterns

TABLE = [
    # pattern, what it leaves out, what it does not
    ("*.tmp", ["a.tmp", "b/c.tmp", ".tmp"], ["a.tmp.txt", "tmp"]),
    ("cache", ["cache", "a/cache"], ["cached", "a/xcache"]),
    ("/cache", ["cache"], ["a/cache"]),
    ("logs/*.gz", ["logs/a.gz"], ["x/logs/a.gz", "logs/a/b.gz"]),
    ("logs/**/*.gz", ["logs/a.gz", "logs/a/b.gz", "logs/a/b/c.gz"], ["a.gz"]),
    ("**/secret", ["secret", "a/secret", "a/b/secret"], ["secrets"]),
    ("a?c", ["abc", "x/abc"], ["ac", "a/c"]),
    ("[a-c]x", ["ax", "d/bx"], ["dx"]),
    ("[!a-c]x", ["dx"], ["ax"]),
    ("a[!b]c", ["adc", "x/adc"], ["abc", "a/c"]),
    ("\\*", ["*"], ["a"]),
    ("with space", ["with space"], ["with"]),
    ("(x)", ["(x)"], ["x"]),
]


@pytest.mark.parametrize(("pattern", "out", "kept"), TABLE, ids=[row[0] for row in TABLE])
def test_a_pattern_leaves_out_what_gitignore_would(pattern, out, kept) -> None:
    test = compile_patterns([pattern]).anything
    assert test is not None
    assert [path for path in out if not test(path.encode())] == []
    assert [path for path in kept if test(path.encode())] == []


def test_a_slash_at_the_end_means_directories_alone() -> None:
    found = compile_patterns([".cache/", "/build/"])
    assert found.anything is None
    assert found.directories is not None
    assert all(found.directories(path) for path in (b".cache", b"a/.cache", b"build"))
    assert not found.directories(b"a/build")


def test_names_that_are_not_utf8_can_be_matched() -> None:
    test = compile_patterns([b"\xff*".decode("utf-8", "surrogateescape")]).anything
    assert test is not None
    assert test(b"\xff\xfe")


@pytest.mark.parametrize("pattern", ["", "/", "!keep", "[z-a]"])
def test_what_is_no_pattern_is_refused(pattern) -> None:
    with pytest.raises(ValueError, match="is not an exclude pattern"):
        compile_patterns([pattern])


def test_no_pattern_tests_nothing() -> None:
    assert compile_patterns([]).anything is None
