"""The report on a small corpus: what was kept, who is worth what, and the words that say whether it can be trusted."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

import hnmine
from hnmine.errors import ArtefactError
from hnmine.files.artefact import Artefact
from hnmine.stages.report import open_report
from hnmine.stages.report.standing import standing
from tests.e2e.harness import write_jsonl
from tests.stages.test_report import browser, open_page  # noqa: F401 (a fixture)

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

NAME = "a <b>small"
RANKINGS = {"first": [0, 1, 2, 3, 4, 5], "second": [6, 0, 1, 7, 8, 9], "third": [9, 8, 7, 10, 0, 1]}
"""Documents that each system ranks for either query; 0 and 1 are relevant, 6 is judged not to be."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first two of two systems, and what is judged, of twelve documents; the third system is measured only."""
    root = tmp_path_factory.mktemp("corpora")
    write_jsonl(root / "corpus.jsonl", [{"_id": f"d{n}", "text": f"text {n}"} for n in range(12)])
    write_jsonl(root / "queries.jsonl", [{"_id": f"q{n}", "text": f"query {n}"} for n in range(2)])
    (root / "qrels").mkdir()
    judged = [f"q{q}\td{d}\t{grade}" for q in range(2) for d, grade in ((0, 1), (1, 1), (6, 0))]
    (root / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n")
    for name, documents in RANKINGS.items():
        rows = [f"q{q} Q0 d{d} {place} {-place} x" for q in range(2) for place, d in enumerate(documents, 1)]
        (root / f"{name}.trec").write_text("\n".join(rows) + "\n")
    given = hnmine.DownsampleOptions(
        top_k=4, run=(str(root / "first.trec"), str(root / "second.trec")), system=(str(root / "third.trec"),)
    )
    hnmine.downsample(root, root / NAME, options=given, cache_dir=root / "cache")
    return root / NAME


def cells(page: str, section: str) -> list[list[str]]:
    """The rows of the tables in a section."""
    inside = page.partition(f'<section id="{section}">')[2].partition("</section>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", inside, re.DOTALL)
    return [[unescape(re.sub(r"<[^>]*>", "", c)) for c in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in rows]


def test_what_each_ranking_brought_is_counted(small: Path) -> None:
    counts = Artefact.open(small).counts
    assert counts["pool"] == {
        "first": {"documents": 4, "judged": 2, "alone": 2},
        "second": {"documents": 4, "judged": 3, "alone": 1},
    }
    assert counts["documents"] == 6
    third = counts["systems"]["third"]
    assert third["holes_whole"] == pytest.approx(4 / 6, abs=1e-4)
    assert third["holes_small"] == pytest.approx(1 / 3, abs=1e-4), "of 9, 8, 7, 10, 0, 1 there are 7, 0 and 1"


def test_the_page_has_its_values(small: Path, tmp_path: Path) -> None:
    page = hnmine.report(small, tmp_path / "page.html").read_text("utf-8")
    counts = Artefact.open(small).counts
    kept = {row[0]: row[1:] for row in cells(page, "corpus") if row}
    assert kept["in the first 4 of first"] == ["4", "2", "2", "2"]
    assert kept["in the first 4 of second"] == ["4", "3", "1", "1"]
    assert kept["together, each once"][:3] == ["6", "3", "3"]
    assert kept["left out"][0] == "6"
    told = {row[0]: row[1:] for row in cells(page, "systems") if len(row) == 8}
    for name, own in counts["systems"].items():
        values = [f"{own[key]:.4f}" for key in ("whole", "small", "left_out")]
        assert told[name][1:4] == values
        assert told[name][4] == f"{own['left_out'] - own['whole']:+.4f}"
    assert [told[name][0] for name in ("first", "third")] == ["yes", "measured only"]
    assert f"<p><b>{standing(counts).says}</b></p>" in page
    assert re.findall(r'id="figure-(\w+)"', page) == ["systems", "against", "corpus", "brought"]
    assert "<b>small" not in page
    assert "downsampled" in page.partition('<section id="made">')[2]


def test_numbers_and_place(small: Path) -> None:
    found = open_report(small, hnmine.ReportOptions())
    assert found.default_path == small.with_name(f"{NAME}.report.html")
    counts = Artefact.open(small).counts
    assert found.numbers["share"] == 0.5
    gains = [own["left_out"] - own["whole"] for own in counts["systems"].values()]
    assert found.numbers["overrated"]["most"] == pytest.approx(max(gains), abs=1e-4)


def measured(tau: float | None, *, changed: dict[str, Any] | None = None, systems: int = 6) -> dict[str, Any]:
    own = {"whole": 0.5, "small": 0.51, "left_out": 0.52}
    return {
        "systems": {f"s{n}": own for n in range(systems)},
        "kendall_tau": {} if tau is None else {"left_out": tau},
        "comparisons": 30,
        "changed_places": changed or {},
    }


def test_in_plain_words() -> None:
    good = standing(measured(1.0))
    assert (good.kind, good.says) == ("good", "The small corpus can stand in for the whole one.")
    assert good.because[0].startswith("Each of 6 systems keeps its place")
    assert "0.020 nDCG@10 more here" in good.because[1]
    assert len(good.because) == 2
    swapped = {"a": {"b": {"whole": 0.01, "small": -0.0123}}, "c": {"b": {"whole": 0.02, "small": 0.0}}}
    mixed = standing(measured(0.867, changed=swapped))
    assert (mixed.kind, mixed.says[-len("clearly.") :]) == ("mixed", "clearly.")
    assert "30 comparisons" in mixed.because[0]
    assert ", 2 end otherwise" in mixed.because[0]
    assert "0.012 nDCG@10" in mixed.because[0]
    poor = standing(measured(0.5, changed=swapped, systems=3))
    assert poor.says == "The small corpus cannot stand in for the whole one."
    assert poor.because[-1].startswith("Three systems say little")
    assert standing(measured(None, systems=1)).kind == "unknown"


def test_in_a_browser(small: Path, browser: Any, tmp_path: Path) -> None:  # noqa: F811
    path = hnmine.report(small, tmp_path / "page.html")
    page, said = open_page(browser, path, viewport={"width": 390, "height": 844}, color_scheme="dark")
    assert page.title() == f"{NAME} · hnmine"
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    ink = page.evaluate("getComputedStyle(document.querySelector('.plot svg text')).fill")
    dark = page.evaluate("getComputedStyle(document.body).color")
    assert ink == dark
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).color") != dark
    assert said == []


def test_what_is_mined_from_it_says_so(small: Path, tmp_path: Path) -> None:
    how = hnmine.RunOptions(dense=None, filter=hnmine.FilterOptions(num_negatives=1, no_margin=True))
    hnmine.run(small, tmp_path / "run", options=how)
    record = json.loads((tmp_path / "run" / "collection" / "run.json").read_text())
    assert record["notes"] == {"a small corpus": "6 of 12 documents, by downsample"}
    page = hnmine.report(tmp_path / "run").read_text("utf-8")
    assert "<p>a small corpus: 6 of 12 documents, by downsample</p>" in page.partition('<section id="made">')[2]
    with pytest.raises(ArtefactError, match="collection"):
        hnmine.report(small, tmp_path / "page.html", collection=tmp_path / "run")
