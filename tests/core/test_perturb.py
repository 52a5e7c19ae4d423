"""What the changes make of texts, to the letter; and what they leave alone."""

from __future__ import annotations

import re

import pytest

from hnmine.core.negation import NEGATIONS
from hnmine.core.perturb import CHANGES, renumber, shuffle, swap
from hnmine.core.sentences import sentences
from hnmine.hashing import keyed_hash

TEXT = "The dog, aged 12, bites the old man in 1990. Prices rose by 3.5 percent (1,200 of 80 shops)."


def draw(name: str) -> int:
    return keyed_hash(7, "test", name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ('He said "go home." Then e.g. this one.', ['He said "go home."', "Then e.g. this one."]),
        ("它是狗。我们去！好", ["它是狗。", "我们去！", "好"]),
        ("a line\n\n  and another \n", ["a line", "and another"]),
        ("version 3.11 of it", ["version 3.11 of it"]),
        ("all small . and no capitals .", ["all small .", "and no capitals ."]),
        ("  ", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in sentences(text)] == expected


def test_two_words_of_each_sentence_change_places_and_all_else_stays() -> None:
    found = swap(TEXT, draw, "english")
    assert sorted(re.findall(r"[\w.,]+", found.replace(",", ""))) == sorted(
        re.findall(r"[\w.,]+", TEXT.replace(",", ""))
    )
    before, after = TEXT.split(), found.split()
    moved = [place for place, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
    assert len(moved) == 4
    assert max(moved[:2]) < 9 <= min(moved[2:]), "two in each sentence"
    assert 0 not in moved
    assert swap(TEXT, draw, "english") == found
    assert swap(TEXT, lambda name: keyed_hash(8, name), "english") != found


def test_every_three_words_are_put_in_another_order() -> None:
    before, after = "a b c d e f g.", shuffle("a b c d e f g.", draw, "none")
    for low in (0, 3):
        assert sorted(before.split()[low : low + 3]) == sorted(after.split()[low : low + 3])
        assert before.split()[low : low + 3] != after.split()[low : low + 3]
    assert after.endswith("g.")


@pytest.mark.parametrize("change", [swap, shuffle])
@pytest.mark.parametrize("text", ["它是一只狗。我们去。", "word", "again again again", "", "..."])
def test_what_has_no_order_of_words_stays(change: object, text: str) -> None:
    assert change(text, draw, "none") == text  # type: ignore[operator]


def test_numbers_change_and_names_with_numbers_do_not() -> None:
    text = "In 1990, 80 of 1,200 and again 80; 3.5 %, 007, H2O, covid-19, v2. 它是2019年的"
    found = renumber(text, draw, "none")
    numbers = re.findall(r"\d[\d.,]*\d|\d", found)
    assert re.sub(r"\d", "0", found) == re.sub(r"\d", "0", text), "as many digits, in the same places"
    year, eighty, thousand, again, share, agent, water, covid, version, other_year = numbers
    assert year != "1990"
    assert abs(int(year) - 1990) <= 25
    assert other_year != "2019"
    assert abs(int(other_year) - 2019) <= 25
    assert eighty == again != "80"
    assert thousand != "1,200"
    assert thousand[0] != "0"
    assert share != "3.5"
    assert agent != "007"
    assert agent[0] == "0"
    assert (water, covid, version) == ("2", "19", "2")


def test_a_year_near_the_year_1000_keeps_its_four_digits() -> None:
    found = [renumber("1000", lambda name, seed=seed: keyed_hash(seed, name), "none") for seed in range(40)]  # type: ignore[misc]
    assert {len(year) for year in found} == {4}
    assert "1000" not in found
    assert max(map(int, found)) <= 1025


def test_any_decimal_digits_keep_their_script() -> None:
    found = renumber("عدد ٤٢", draw, "arabic")
    assert found != "عدد ٤٢"
    assert re.fullmatch("عدد [٠-٩]{2}", found)


@pytest.mark.parametrize(
    ("language", "sentence", "opposite"),
    [
        ("english", "The door is open.", "The door is not open."),
        ("english", "Can we go?", "Cannot we go?"),
        ("english", "It isn't red.", "It is red."),
        ("english", "It will not rain.", "It will rain."),
        ("english", "Not all of them left.", "All of them left."),
        ("english", "They never do.", "They always do."),
        ("english", "Rain fell.", "Rain fell."),
        ("german", "Der Hund ist braun.", "Der Hund ist nicht braun."),
        ("german", "Kein Mensch war da.", "Ein Mensch war da."),
        ("german", "Er kommt nicht.", "Er kommt."),
        ("french", "Il est grand.", "Il n'est pas grand."),
        ("french", "Il n'est pas grand.", "Il est grand."),
        ("french", "Ils ne sont jamais là.", "Ils sont toujours là."),
        ("spanish", "Es roja.", "No es roja."),
        ("spanish", "No es roja.", "Es roja."),
        ("italian", "È vero.", "Non è vero."),
        ("italian", "Non sono qui.", "Sono qui."),
        ("portuguese", "A casa não é azul.", "A casa é azul."),
        ("dutch", "Hij heeft tijd.", "Hij heeft niet tijd."),
        ("dutch", "Er is geen tijd.", "Er is een tijd."),
    ],
)
def test_opposites(language: str, sentence: str, opposite: str) -> None:
    assert NEGATIONS[language].opposite(sentence) == opposite


def test_a_language_without_a_list_is_not_negated() -> None:
    assert CHANGES["negation"]("Talo on punainen.", draw, "finnish") == "Talo on punainen."
    assert CHANGES["negation"]("It is so. They are.", draw, "english") == "It is not so. They are not."
