"""`inspect --query` says how likely a row is a false negative, and what drove the figure."""

from __future__ import annotations

from hnmine.stages.inspect import WHY, render


def test_the_estimate_and_its_drivers_stand_behind_the_scores() -> None:
    row = {"verdict": "reserve", "reason": "not-needed", "pick_rank": None, "doc_id": "d", "text": "words"}
    found = {
        "query_id": "q",
        "query": "words",
        "candidates": [
            {**row, "p_false_negative": 0.256, WHY: {"dense": 2.04, "similarity to the positive": -0.3}},
            {**row, "p_false_negative": 0.0, WHY: {}},
            {**row, "p_false_negative": None, WHY: {}},
        ],
    }
    lines = [line for line in render(found, 200) if "[d]" in line]
    assert lines[0].endswith("false negative 26% (dense +2.0, similarity to the positive -0.3)")
    assert lines[1].endswith("false negative 0%")
    assert lines[2].endswith("[d]")
