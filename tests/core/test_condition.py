"""Conditions: Python's own words for a small language, with nulls that stay unknown."""

from __future__ import annotations

import numpy as np
import pytest

from hnmine.core.condition import Condition
from hnmine.core.evidence import Column
from hnmine.errors import UsageError

NO = [False, False, False, False]
COLUMNS = {
    "document.lang": Column(values=np.array(["de", "en", "de", None], object), is_null=np.array([0, 0, 0, 1], bool)),
    "query.lang": Column(values=np.array(["de", "de", "en", "de"], object), is_null=np.zeros(4, bool)),
    "document.year": Column(values=np.array([2019, 2020, 0, 2021]), is_null=np.array([0, 0, 1, 0], bool)),
    "document.share": Column(values=np.array([0.5, -1.5, 2.0, 0.0]), is_null=np.zeros(4, bool)),
    "document.is_law": Column(values=np.array([True, False, True, False]), is_null=np.array([0, 0, 1, 0], bool)),
    "document.odd name": Column(values=np.array(["a", "b", "c", "d"], object), is_null=np.zeros(4, bool)),
    "document.void": Column(values=np.array([None] * 4, object), is_null=np.ones(4, bool)),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("document.lang == query.lang", [1, 0, 0, 0]),
        ("document.lang != query.lang", [0, 1, 1, 0]),
        ("not document.lang == query.lang", [0, 1, 1, 0]),
        ("document.year < 2020", [1, 0, 0, 0]),
        ("not document.year < 2020", [0, 1, 0, 1]),
        ("2019 < document.year <= 2021", [0, 1, 0, 1]),
        ("document.year < 2020 or document.lang == 'de'", [1, 0, 1, 0]),  # unknown or true is true
        ("document.year < 2020 and document.lang == 'de'", [1, 0, 0, 0]),
        ("not (document.year < 2020 and document.lang == 'de')", [0, 1, 0, 1]),  # false and unknown is false
        ("document.lang in ['de', 'fr']", [1, 0, 1, 0]),
        ("document.lang not in ['de', 'fr']", [0, 1, 0, 0]),
        ("document.year in (2019, 2021)", [1, 0, 0, 1]),
        ("document.year == None", [0, 0, 1, 0]),
        ("document.lang != None", [1, 1, 1, 0]),
        ("document.share == -1.5 or document.share > 1", [0, 1, 1, 0]),
        ("document.is_law", [1, 0, 0, 0]),
        ("not document.is_law", [0, 1, 0, 1]),
        ("document.is_law == True", [1, 0, 0, 0]),
        ('document["odd name"] >= "c"', [0, 0, 1, 1]),
        ("document.void == 'x'", [0, 0, 0, 0]),
        ("document.void == 3", [0, 0, 0, 0]),
        ("document.lang in []", [0, 0, 0, 0]),
        ("document.lang not in []", [1, 1, 1, 0]),
    ],
)
def test_truth(text: str, expected: list[int]) -> None:
    condition = Condition(text)
    assert condition.holds(COLUMNS, 4).tolist() == [bool(e) for e in expected]
    assert set(condition.columns) <= set(COLUMNS)


def test_columns_are_those_that_the_condition_names() -> None:
    text = "document.lang == query.lang and not document.year in [1] or document.lang == 'x'"
    assert Condition(text).columns == ("document.lang", "query.lang", "document.year")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "document.lang ==",
        "1",
        "lang == 'de'",
        "documents.lang == 'de'",
        "document.lang = 'de'",
        "document.lang is None",
        "document.lang == f()",
        "__import__('os').system('true')",
        "document.__class__.__mro__ == 1",
        "document.lang.upper() == 'DE'",
        "document.year + 1 == 2",
        "document.lang in query.lang",
        "document.lang in 'de'",
        "document.lang in [query.lang]",
        "document.lang in [None]",
        "document.year < None",
        "[x for x in document.lang]",
        "lambda: 1",
        "document[0] == 1",
        "document.year == 1e999",
        "document.year == 99999999999999999999",
        "document.year == b'x'",
        "'de' if document.is_law else 'en'",
        "document.lang == 'de'; 1",
        "(" * 5000 + "document.is_law" + ")" * 5000,
        "document.is_law\x00",
    ],
)
def test_everything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="a condition such as"):
        Condition(text)


@pytest.mark.parametrize("text", ["document.year == '2020'", "document.lang < 5", "document.lang in [1]"])
def test_texts_and_numbers_are_not_compared(text: str) -> None:
    with pytest.raises(UsageError, match="a text cannot be compared with a number"):
        Condition(text).holds(COLUMNS, 4)


def test_a_column_that_is_not_true_or_false_is_no_condition() -> None:
    with pytest.raises(UsageError, match="not one of true and false"):
        Condition("document.lang").holds(COLUMNS, 4)


def test_no_rows() -> None:
    empty = {n: Column(values=c.values[:0], is_null=c.is_null[:0]) for n, c in COLUMNS.items()}
    assert Condition("document.year < 2020 and document.lang in ['de']").holds(empty, 0).tolist() == []
