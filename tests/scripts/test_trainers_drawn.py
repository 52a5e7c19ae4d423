"""What the proofs by training compare: a group that is of no row of the file does not pass."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TRAINERS = Path(__file__).parents[2] / "scripts" / "trainers"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    before = list(sys.path)
    monkeypatch.syspath_prepend(str(TRAINERS))
    import _drawn

    yield _drawn
    sys.path[:] = before  # `_proof` takes its folder off the path


def rows(drawn: ModuleType, *given: tuple[str, str, str]) -> list[Any]:
    """(query, positives, negatives): a letter a document, its score the place of the letter in the alphabet."""

    def side(letters: str) -> list[tuple[str, float]]:
        return [(letter, float(ord(letter) - ord("a"))) for letter in letters]

    return [drawn.Row(query=query, positives=side(own), negatives=side(others)) for query, own, others in given]


def groups(*given: str, scores: Sequence[float] | None = None) -> list[Any]:
    """`q0 abcde`: the documents of a query."""
    split = [one.split() for one in given]
    return [([(query, letter) for letter in letters], scores) for query, letters in split]


def item(query: str, document: str) -> tuple[str, str]:
    return query, document


def test_every_row_once_with_any_of_its_positives(drawn: ModuleType) -> None:
    file = rows(drawn, ("q0", "ab", "cdefg"), ("q1", "c", "abde"), ("q1", "c", "fghi"))
    assert drawn.match(groups("q0 bcdfg", "q1 cfghi", "q1 cbade"), file, item) == 3
    assert drawn.match(groups("q1 cbade"), file, item) == 1


def test_too_few_negatives_come_again(drawn: ModuleType) -> None:
    file = rows(drawn, ("q0", "a", "bc"))
    assert drawn.match(groups("q0 abbcc"), file, item) == 1
    with pytest.raises(AssertionError, match="negatives that are not of the positive's row"):
        drawn.match(groups("q0 abbbc"), file, item)


@pytest.mark.parametrize(
    ("delivered", "what"),
    [
        (["q0 cdefg"], "delivered as a positive"),
        (["q1 abcde"], "delivered as a positive"),
        (["q0 abcde"], "negatives that are not of the positive's row"),
        (["q0 acdeh"], "negatives that are not of the positive's row"),
        (["q0 accde"], "negatives that are not of the positive's row"),
        (["q0 acdef", "q0 bcdef"], "negatives that are not of the positive's row"),
        (["q0 acde"], "4 documents in a group"),
    ],
)
def test_other_groups_do_not_pass(drawn: ModuleType, delivered: list[str], what: str) -> None:
    with pytest.raises(AssertionError, match=what):
        drawn.match(groups(*delivered), rows(drawn, ("q0", "ab", "cdefg")), item)


def test_scores_are_those_of_the_documents(drawn: ModuleType) -> None:
    file = rows(drawn, ("q0", "ab", "cdefg"))
    assert drawn.match(groups("q0 bdefg", scores=[1, 3, 4, 5, 6]), file, item) == 1
    for wrong in ([0, 3, 4, 5, 6], [1, 4, 3, 5, 6], [1, 3, 4, 5, float("nan")], [1, 3, 4, 5]):
        with pytest.raises(AssertionError, match="score"):
            drawn.match(groups("q0 bdefg", scores=wrong), file, item)


def test_documents_of_a_batch_stand_group_by_group(drawn: ModuleType) -> None:
    found = list(drawn.pairs(["q0", "q1"], list("abcdef")))
    assert found == [[("q0", "a"), ("q0", "b"), ("q0", "c")], [("q1", "d"), ("q1", "e"), ("q1", "f")]]
