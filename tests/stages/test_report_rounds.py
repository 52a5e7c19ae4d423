"""The report tells what judges, people, earlier rounds and other sources did, and nothing where they did nothing."""

from __future__ import annotations

import json
import re
from collections import Counter
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.files.artefact import Artefact
from hnmine.files.candidates import CandidatesTable
from hnmine.stages.report.facts import Spreads
from tests.chat_server import ChatServer
from tests.e2e.harness import write_jsonl
from tests.stages.test_report import browser, open_page  # noqa: F401 (a fixture)

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

WORDS = ["wing", "flow", "shock", "layer", "heat", "drag", "lift", "plate"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Queries of two words over texts of three, with two random candidates each, mined with BM25 alone."""
    root = tmp_path_factory.mktemp("rounds")
    texts = [f"{a} {b} {c}" for a in WORDS for b in WORDS for c in WORDS if a < b < c]
    pairs = [(a, b) for a in WORDS for b in WORDS if a < b]
    lines = [{"_id": f"d{i}", "text": text} for i, text in enumerate(texts)]
    (root / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = [{"_id": f"q{i}", "text": f"{a} {b}"} for i, (a, b) in enumerate(pairs)]
    (root / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "qrels").mkdir()
    first = {i: [n for n, t in enumerate(texts) if a in t and b in t][:1] for i, (a, b) in enumerate(pairs)}
    known = [f"q{i}\td{places[0]}\t1" for i, places in first.items() if places]
    (root / "qrels" / "train.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *known]) + "\n")
    options = hnmine.RunOptions(
        bm25=hnmine.Bm25Options(language="none"),
        dense=None,
        mine=hnmine.MineOptions(random=2),
        filter=hnmine.FilterOptions(num_negatives=3, no_margin=True),
    )
    hnmine.run(root, root / "run", options=options)
    return root / "run"


def decided(path: Path) -> list[dict[str, Any]]:
    return [row for part in sorted(path.glob("part-*")) for row in pq.read_table(part).to_pylist()]


def told(decisions: Path, out: Path) -> tuple[dict[str, dict[str, str]], str]:
    """The facts of each card of the section, by its heading, and the whole page."""
    page = hnmine.report(decisions, out).read_text("utf-8")
    section = page.partition('id="rounds"')[2].partition("</section>")[0]
    cards = re.findall(r"<h3>(.*?)</h3>.*?<dl>(.*?)</dl>", section, re.DOTALL)
    return {h: dict(map(tuple, re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", unescape(b)))) for h, b in cards}, page


def test_only_random_rows_are_told_of_where_nobody_did_anything(run: Path, tmp_path: Path) -> None:
    cards, _ = told(run / "decisions", tmp_path / "page.html")
    assert list(cards) == ["Not found by a search"]
    rows = decided(run / "decisions")
    known = sum("random" in row["sources"] for row in rows)
    chosen = sum("random" in row["sources"] and row["verdict"] == "negative" for row in rows)
    assert cards["Not found by a search"] == {"drawn at random": f"{chosen:,} negatives of {known:,} candidates"}


def test_grades_and_what_they_made_positives(
    run: Path,
    tmp_path: Path,
    browser: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    server = ChatServer(lambda query, text: 3 if set(query.split()) <= set(text.split()) and "wing" in text else 0)
    options = hnmine.JudgeOptions(
        judge=(f"{server.url}#strict",), judge_window="0:1", price_input=(1.0,), price_output=(2.0,)
    )
    try:
        hnmine.judge(run / "collection", run / "candidates", tmp_path / "judged", options=options)
    finally:
        server.close()
    how = hnmine.FilterOptions(num_negatives=3, no_margin=True, relabel="positive", max_fn_per_query=100)  # type: ignore[arg-type]
    hnmine.filter(tmp_path / "judged", tmp_path / "d", options=how)
    cards, page = told(tmp_path / "d", tmp_path / "page.html")
    rows = decided(tmp_path / "d")
    new = sum(row["reason"] == "relabelled" for row in rows)
    assert new > 0
    facts = cards["Called relevant"]
    given = Counter(row["grade_strict"] for row in rows if row["grade_strict"] is not None)
    asked = sum(given.values())
    judged = cards["Judge strict"]
    assert judged["candidates asked about"] == f"{asked:,}"
    assert judged["3: answers the query fully"] == f"{given[3]:,} ({given[3] / asked:.0%})"
    assert judged["0: not relevant"] == f"{given[0]:,} ({given[0] / asked:.0%})"
    assert judged["1: related"] == "0"
    assert judged["cost, by the prices given"] != "0"
    assert facts["called relevant by grade_strict"] == f"{sum(row['called_relevant_by'] is not None for row in rows):,}"
    assert facts["positives that the qrels do not have"] == f"{new:,}"
    assert 'id="figure-grades"' in page
    spreads = Spreads(CandidatesTable(Artefact.open(tmp_path / "d")), np.arange(len(WORDS) * (len(WORDS) - 1) // 2))
    ranges = spreads.graded_by_probability()
    of_judged = [row["p_false_negative"] for row in rows if row["grade_strict"] is not None]
    assert sum(sum(one["grades"]) for one in ranges) == sum(p is not None and p == p for p in of_judged)
    assert all(one["from"] <= one["estimate"] for one in ranges)
    assert 'id="figure-estimate"' in page
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert data["judges"] == ["strict"]
    shown = {(q["id"], data["documents"][r["d"]][0]): r["g"][0] for q in data["queries"] for r in q["rows"]}
    graded = {(row["query_id"], row["doc_id"]): row["grade_strict"] for row in rows}
    assert shown == {pair: graded[pair] for pair in shown}
    assert 3 in shown.values()
    new_ones = {(row["query_id"], row["doc_id"]) for row in rows if row["reason"] == "relabelled"}
    called = {(q["id"], data["documents"][r["d"]][0]) for q in data["queries"] for r in q["rows"] if r["c"]}
    assert called >= new_ones, "however many known positives there are"
    window, said = open_page(browser, tmp_path / "page.html", color_scheme="dark")
    window.select_option("#show", "called")
    assert window.inner_text("#told").startswith(f"{len(called):,} triplets shown")
    assert window.inner_text("#detail .row.on .head b") == "positive, new"
    assert "called relevant by strict" in window.inner_text("#detail .row.on .head")
    window.keyboard.press("g")
    assert window.inner_text("#list .item.on .tag") == "not relevant"
    assert said == []


def test_written_negatives_by_kind(run: Path, tmp_path: Path, browser: Any) -> None:  # noqa: F811
    how = hnmine.GenerateOptions(change=("swap", "number"))
    hnmine.generate(run / "collection", tmp_path / "written", options=how)
    options = hnmine.RunOptions(
        bm25=hnmine.Bm25Options(language="none"),
        dense=None,
        filter=hnmine.FilterOptions(num_negatives=3, no_margin=True, quota="curated=1,bm25=2"),
    )
    hnmine.run(tmp_path / "written", tmp_path / "run", options=options)
    cards, page = told(tmp_path / "run", tmp_path / "page.html")
    counts = Artefact.open(tmp_path / "written" / "generated").counts
    written = counts["by"]["perturb:swap"]
    rows = [row for row in decided(tmp_path / "run" / "decisions") if "curated" in row["sources"]]
    chosen = sum(row["verdict"] == "negative" for row in rows)
    facts = cards["Written negatives"]
    assert facts["two words changed places"] == f"{written:,} written, {chosen:,} chosen of {len(rows):,}"
    assert facts["refused: nothing changed"] == f"{counts['refused']['no-op']:,}"
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    shown = {data["documents"][r["d"]][0]: r["w"] for q in data["queries"] for r in q["rows"] if r["w"]}
    assert set(shown.values()) == {"perturb:swap"}
    assert set(shown) <= {row["doc_id"] for row in rows}
    window, said = open_page(browser, tmp_path / "page.html")
    window.select_option("#show", "written")
    text, moved = (window.inner_text(f"#detail .row.on {part}") for part in (".text", ".text ins"))
    positive = window.inner_text("#detail .row.positive .text")
    assert sorted(text.split()) == sorted(positive.split())
    assert text.split() != positive.split()
    left = [[word for word in whole.split() if word != moved] for whole in (text, positive)]
    assert left[0] == left[1], "what is not marked stands as it stood"
    assert said == []


def test_written_queries(run: Path, tmp_path: Path) -> None:
    pairs = enumerate(pairwise(WORDS))
    lines = [
        {"_id": f"d{n}", "text": f"The {a} of the model is in the tunnel. A {b} of another is not there yet."}
        for n, (a, b) in pairs
    ]
    write_jsonl(tmp_path / "corpus.jsonl", lines)
    how = hnmine.GenerateOptions(write="queries")  # type: ignore[arg-type]
    hnmine.generate(tmp_path / "corpus.jsonl", tmp_path / "asked", options=how, cache_dir=tmp_path / "cache")
    options = hnmine.RunOptions(dense=None, filter=hnmine.FilterOptions(num_negatives=1, consistency_top=1))
    hnmine.run(tmp_path / "asked", tmp_path / "run", options=options)
    cards, _ = told(tmp_path / "run", tmp_path / "page.html")
    counts = Artefact.open(tmp_path / "run" / "decisions").counts
    facts = cards["Written queries"]
    assert facts["a sentence of the document"] == str(len(lines))
    lost = counts["reasons"].get("inconsistent-query")
    assert facts.get("rows of queries whose document is found too late (--consistency-top)") == (
        f"{lost:,}" if lost else None
    )


def test_what_changed_since_the_round_before(run: Path, tmp_path: Path) -> None:
    again = hnmine.MineOptions(previous=str(run / "decisions"))
    hnmine.mine(run / "collection", tmp_path / "c", indexes=[run / "indexes" / "bm25"], options=again)
    how = hnmine.FilterOptions(num_negatives=3, no_margin=True, skip_top=2)
    hnmine.filter(tmp_path / "c", tmp_path / "d", options=how)
    cards, _ = told(tmp_path / "d", tmp_path / "page.html")

    def chosen(path: Path) -> set[tuple[str, str]]:
        return {(row["query_id"], row["doc_id"]) for row in decided(path) if row["verdict"] == "negative"}

    before, now = chosen(run / "decisions"), chosen(tmp_path / "d")
    facts = cards["Since the round before"]
    assert (facts["negatives kept"], facts["new"]) == (str(len(before & now)), str(len(now - before)))
    assert facts["gone"] == str(len(before - now))
    assert facts["gone: skip-top"] != "0"
    assert facts["the same, of all of either round (Jaccard)"] == f"{len(before & now) / len(before | now):.1%}"
    assert "→" in facts["mean gap to the positive, before and now"]
