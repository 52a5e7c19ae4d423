"""Answers are found as words in a row, and not inside other words."""

from __future__ import annotations

import pytest

from hnmine.core.answers import contains, normalised, parse_answers, patterns


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("He was born in Paris, France.", "paris", True),
        ("The comparison", "paris", False),
        ("It took 12 years", "2", False),
        ("New-York City", "new york", True),
        ("york new", "new york", False),
        ("Stra\u00dfe", "STRASSE", True),
        ("\uff21\uff22\uff23", "abc", True),  # full-width letters
        ("it is C++ code", "C++", True),
        ("it is C code", "C++", False),
        ("costs $5", "$5", True),
        ("\u6771\u4eac\u90fd\u306f\u5927\u304d\u3044", "\u6771\u4eac", True),  # Tokyo, inside a text without spaces
        ("\u0939\u093f\u0928\u094d\u0926\u0940 \u092d\u093e\u0937\u093e", "\u0939\u093f\u0928\u094d\u0926\u0940", True),
        ("", "x", False),
        ("anything", "...", False),
        ("anything", "", False),
    ],
)
def test_containment(text: str, answer: str, expected: bool) -> None:
    assert contains(normalised(text), patterns([answer])) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, []),
        ("Paris", ["Paris"]),
        ('["Paris", "Lutetia"]', ["Paris", "Lutetia"]),
        ('["1", 2, null]', ["1", "2"]),
        ("[sic", ["[sic"]),
        (["a", "b"], ["a", "b"]),
        (42, ["42"]),
        ("[]", []),
    ],
)
def test_answers_are_a_list_a_json_list_or_a_text(value: object, expected: list[str]) -> None:
    assert parse_answers(value) == expected
