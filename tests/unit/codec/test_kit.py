"""Word shares and the kit's document: what is enough opens it, what is not is told."""

import itertools
import random

import pytest

from drctl.codec import kit
from drctl.codec.kit import Kit
from drctl.errors import KeyUnavailable
from drctl.report.kit_pages import Place, pages

RANDOMNESS = random.Random(39).randbytes
SEED = RANDOMNESS(kit.SEED_BYTES)
SHARES = kit.split(SEED, 3, 5)
DOCUMENT = Kit("kit-1", "2026-03-01T12:00:00Z", 3, 5, "ab" * 8, "cd" * 16, "/etc", "version: 1\n")
PLACES = [Place("dr", "s3://b/x", {"site": "far", "s3": {"bucket": "b"}}, is_copy=True)]


def test_any_three_of_five_give_the_seed_and_more_are_proven_too() -> None:
    for chosen in itertools.combinations(SHARES, 3):
        assert kit.combine(chosen) == SEED
    assert kit.combine(SHARES) == SEED
    assert kit.combine([*SHARES[:3], SHARES[0]]) == SEED


def test_too_few_are_told_with_the_numbers_of_those_that_are_there() -> None:
    with pytest.raises(KeyUnavailable, match="opens with 3 shares; there is only share 2, 5"):
        kit.combine([SHARES[1], SHARES[4]])
    with pytest.raises(KeyUnavailable):
        kit.combine([])


def test_shares_of_different_kits_are_told() -> None:
    other = kit.split(RANDOMNESS(32), 3, 5)
    with pytest.raises(KeyUnavailable):
        kit.combine([*SHARES[:2], other[0]])


def test_what_people_type_is_understood() -> None:
    words = SHARES[0].split()
    assert kit.share(SHARES[0]) == SHARES[0]
    assert kit.share("  " + SHARES[0].upper() + "\n") == SHARES[0]
    assert kit.share(" ".join(word[:4] for word in words)) == SHARES[0]
    assert kit.share("\n".join(f"{n} {word}" for n, word in enumerate(words, 1))) == SHARES[0]


def test_every_page_of_a_share_is_read_back() -> None:
    made = pages(DOCUMENT, SHARES, PLACES)
    for number, share in enumerate(SHARES, 1):
        assert kit.share(made[f"share-{number}.html"]) == share
        assert kit.share(made[f"share-{number}.txt"]) == share
        assert kit.number(share) == number


def test_no_page_holds_what_belongs_to_another() -> None:
    made = pages(DOCUMENT, SHARES, PLACES)
    for name in ("instructions.html", "instructions.txt"):
        with pytest.raises(KeyUnavailable):
            kit.share(made[name])
    assert not set(SHARES[0].split()[4:]) <= set(made["share-2.txt"].replace(".", " ").split())


def test_text_in_a_plan_cannot_become_markup() -> None:
    odd = Kit("kit-1", "2026-03-01T12:00:00Z", 3, 5, "ab", "cd", "/", "owner: <script>x</script>")
    assert "<script>" not in pages(odd, SHARES, PLACES)["instructions.html"]


@pytest.mark.parametrize("place", [0, 5, 32])
def test_one_wrong_word_is_noticed(place: int) -> None:
    words = SHARES[0].split()
    words[place] = "academic" if words[place] != "academic" else "zero"
    with pytest.raises(KeyUnavailable):
        kit.share(" ".join(words))


def test_what_is_typed_wrongly_is_never_repeated() -> None:
    for text in (" ".join(["secretword", *SHARES[0].split()[1:]]), "secretword " * 33):
        with pytest.raises(KeyUnavailable) as told:
            kit.share(text)
        assert "secretword" not in str(told.value)


def test_the_document_comes_back_and_a_damaged_one_is_told() -> None:
    text = kit.encode(DOCUMENT)
    assert kit.decode(text) == DOCUMENT
    for bad in ("", "{}", "[]", "null", text[:-9], text.replace('"need": 3', '"need": "3"'), "1"):
        with pytest.raises(KeyUnavailable):
            kit.decode(bad)


def test_sealed_secrets_open_with_the_seed_alone() -> None:
    sealed = kit.seal_secrets(SEED, {"env:KEY": "value"}, RANDOMNESS)
    assert "value" not in sealed
    assert kit.open_secrets(SEED, sealed) == {"env:KEY": "value"}
    assert kit.seal_secrets(SEED, {}, RANDOMNESS) == ""
    assert kit.open_secrets(SEED, "") == {}
    for seed, text in (
        (RANDOMNESS(32), sealed),
        (SEED, "A" + sealed[1:]),
        (SEED, "?"),
        (SEED, "QQ"),
    ):
        with pytest.raises(KeyUnavailable):
            kit.open_secrets(seed, text)


def test_the_identity_of_a_seed_never_changes() -> None:
    """Kits that lie in safes must open with every later version."""
    found = kit.identity("any", bytes(range(32))).recipient()
    assert found.fingerprint == "53dededafc504b7e"
