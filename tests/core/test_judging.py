"""What is read out of a judge's answer, and the window of doubt."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hnmine.core.judging import answer_form, grades_of, parse_window
from hnmine.errors import UsageError


def answer(*grades: Any) -> str:
    return json.dumps({"reasoning": "{so}", "grades": [{"candidate": n, "grade": g} for n, g in grades]})


@pytest.mark.parametrize(
    ("content", "grades"),
    [
        (answer((1, 3), (2, 0), (3, 2)), [3, 0, 2]),
        (answer((3, 2), (1, 3)), [3, None, 2]),
        (answer((1, 4), (2, -1), (3, 1.0)), [None, None, None]),
        (answer((1, True), (2, "2"), (3, None)), [None, None, None]),
        (answer((0, 1), (4, 1), ("1", 1), (True, 1)), [None, None, None]),
        (answer((1, 1), (1, 1), (2, 0), (2, 1), (3, 2), (3, 9)), [1, None, None]),
        ("Sure! {not: json}\n```json\n" + answer((1, 1), (2, 1), (3, 1)) + "\n```", [1, 1, 1]),
        (answer((1, 1), (2, 1), (3, 1))[:-20], [None, None, None]),
        ("<think>" + answer((1, 0)) + "</think>" + answer((1, 3), (2, 2), (3, 1)), [3, 2, 1]),
        ("", [None, None, None]),
        ("[1, 2, 3]", [None, None, None]),
        ('{"grades": {"1": 2}}', [None, None, None]),
        ('{"grades": [1, null, {"candidate": 2, "grade": 2}]}', [None, 2, None]),
        ("{" * 5_000, [None, None, None]),
    ],
)
def test_only_valid_grades_of_candidates_that_were_asked_about_count(content: str, grades: list[int | None]) -> None:
    assert grades_of(content, 3) == grades


def test_an_answer_of_the_asked_form_has_all_grades() -> None:
    """The form is what OpenAI's strict mode takes: every object closed, every property required."""
    form = answer_form()
    schema = form["json_schema"]["schema"]
    assert (form["type"], form["json_schema"]["strict"]) == ("json_schema", True)
    for part in (schema, schema["properties"]["grades"]["items"]):
        assert part["required"] == list(part["properties"])
        assert part["additionalProperties"] is False
    assert schema["properties"]["grades"]["items"]["properties"]["grade"]["enum"] == [0, 1, 2, 3]


def test_windows() -> None:
    assert parse_window("0.01:0.5") == (0.01, 0.5)
    assert parse_window("0:1") == (0.0, 1.0)
    for wrong in ("", "0.1", "0.5:0.1", "-0.1:1", "0:2", "a:b", "nan:1", "0:nan"):
        with pytest.raises(UsageError, match="LOW:HIGH"):
            parse_window(wrong)
