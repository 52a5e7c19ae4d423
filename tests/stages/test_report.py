"""The report: figures by value, hostile texts, and the page in a browser."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.errors import InputError, UsageError
from hnmine.files.artefact import Artefact
from hnmine.files.candidates import CandidatesTable
from hnmine.stages.report import facts
from tests.e2e.harness import until

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"><b>bold</b> & ${1}"
WORDS = ["wing", "flow", "shock", "layer", "heat", "drag", "lift", "plate", "cone", "jet"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 queries of two words over texts of three, one of which is hostile, mined with BM25 alone."""
    root = tmp_path_factory.mktemp("report")
    pairs = [(a, b) for a in WORDS for b in WORDS if a < b][:40]
    texts = [f"{a} {b} {c}" for a in WORDS for b in WORDS for c in WORDS if a < b < c]
    lines = [{"_id": f"d{i}", "text": text} for i, text in enumerate(texts)]
    lines.append({"_id": "<i>hostile</i>", "title": HOSTILE, "text": "wing flow shock drag lift heat"})
    (root / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = [{"_id": f"q{i}", "text": f"{a} {b} {HOSTILE if not i else ''}"} for i, (a, b) in enumerate(pairs)]
    (root / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "qrels").mkdir()
    known = [f"q{i}\td{next(n for n, t in enumerate(texts) if a in t and b in t)}\t1" for i, (a, b) in enumerate(pairs)]
    (root / "qrels" / "train.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *known]) + "\n")
    options = hnmine.RunOptions(
        bm25=hnmine.Bm25Options(language="none"),
        dense=None,
        filter=hnmine.FilterOptions(num_negatives=3, no_margin=True),
    )
    hnmine.run(root, root / "run", options=options)
    return root / "run"


def decided(run: Path) -> list[dict[str, Any]]:
    return [row for part in sorted((run / "decisions").glob("part-*")) for row in pq.read_table(part).to_pylist()]


@pytest.fixture(scope="module")
def spreads(run: Path) -> facts.Spreads:
    table = CandidatesTable(Artefact.open(run / "decisions"))
    return facts.Spreads(table, np.arange(len(table.query_ids)))


def test_the_funnel_ends_with_what_is_left(run: Path) -> None:
    counts = Artefact.open(run / "decisions").counts
    rows = facts.funnel(counts)
    assert rows[0] == ("candidates", len(decided(run)))
    assert rows[-1] == ("chosen", sum(row["verdict"] == "negative" for row in decided(run)))
    assert rows[0][1] == sum(count for _, count in rows[1:])


def test_histograms_hold_every_row(run: Path, spreads: facts.Spreads) -> None:
    (name, found), *others = spreads.score_histograms().items()
    assert (name, others) == ("bm25", [])
    for group, verdict in (("positives", "positive"), ("negatives", "negative"), ("rejects", "dropped")):
        assert found.counts[group].sum() == sum(row["verdict"] == verdict for row in decided(run)), group
    low = {
        q: min(r["score_bm25"] for r in decided(run) if r["query_id"] == q and r["verdict"] == "positive")
        for q in {r["query_id"] for r in decided(run)}
    }
    gaps = [low[r["query_id"]] - r["score_bm25"] for r in decided(run) if r["verdict"] == "negative"]
    margins = spreads.margins()
    assert margins is not None
    clipped = np.clip(gaps, margins.edges[0], margins.edges[-1])
    assert margins.counts["negatives"].tolist() == np.histogram(clipped, margins.edges)[0].tolist()
    assert margins.counts["negatives"].sum() == len(gaps)


def test_the_most_used_negatives_are_those_of_most_queries(run: Path, spreads: facts.Spreads) -> None:
    used: dict[str, int] = {}
    known: dict[str, int] = {}
    for row in decided(run):
        used[row["doc_id"]] = used.get(row["doc_id"], 0) + (row["verdict"] == "negative")
        known[row["doc_id"]] = known.get(row["doc_id"], 0) + 1
    rows = spreads.most_used()
    assert [row["negative_of"] for row in rows] == sorted(used.values(), reverse=True)[: len(rows)]
    assert len(rows) == 12
    for row in rows:
        assert (row["negative_of"], row["candidate_of"]) == (used[row["document"]], known[row["document"]])


def test_agreement_is_the_jaccard_overlap_of_the_first() -> None:
    own = facts.Spreads.__new__(facts.Spreads)
    own.retrievers, own.owner, own.offsets = ["a", "b"], np.array([0, 0, 0, 1, 1]), np.array([0, 3, 5])
    import pyarrow as pa

    own.rows = pa.table(
        {
            "rank_a": pa.array([1, 2, None, 1, None], pa.int32()),
            "rank_b": pa.array([1, None, 2, None, 1], pa.int32()),
        }
    )
    (found,) = own.agreement()
    assert found["retrievers"] == ["a", "b"]
    assert found["jaccard"][:2] == [pytest.approx((1 + 0) / 2), pytest.approx((1 / 3 + 0) / 2)]


def test_the_page_is_one_file_in_which_no_text_is_markup(run: Path, tmp_path: Path) -> None:
    path = hnmine.report(run, tmp_path / "page.html")
    page = path.read_text("utf-8")
    assert "<img" not in page
    assert "<b>bold" not in page
    assert page.count("</script>") == 3
    assert not re.findall(r'(?:src|href)="(?!#|data:)', page)
    assert "http" not in re.sub(r'(xmlns[:\w]*="|http-equiv=)[^"]*', "", re.sub(r"<!DOCTYPE.*?>", "", page))
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert HOSTILE in data["queries"][0]["text"]
    assert ["<i>hostile</i>", f"{HOSTILE} wing flow shock drag lift heat"] in data["documents"]


def test_equal_runs_give_equal_pages(run: Path, tmp_path: Path) -> None:
    pages = [hnmine.report(run, tmp_path / name).read_bytes() for name in ("a.html", "b.html")]
    assert pages[0] == pages[1]


def test_where_it_goes(run: Path) -> None:
    assert hnmine.report(run) == run / "report.html"
    (run / "report.html").unlink()
    beside = hnmine.report(run / "decisions")
    assert beside == run / "decisions.report.html"
    beside.unlink()
    with pytest.raises(UsageError, match="--limit 0"):
        hnmine.report(run, options=hnmine.ReportOptions(limit=0))


def test_labels_of_the_report_decide(run: Path, tmp_path: Path) -> None:
    rows = decided(run)
    chosen = next(r for r in rows if r["verdict"] == "negative")
    dropped = [r for r in rows if r["verdict"] in ("dropped", "reserve")]
    (tmp_path / "labels.tsv").write_text(
        f"query-id\tcorpus-id\tscore\n{chosen['query_id']}\t{chosen['doc_id']}\t1\n"
        + "".join(f"{r['query_id']}\t{r['doc_id']}\t0\n" for r in dropped[:1])
    )
    options = hnmine.FilterOptions(num_negatives=3, no_margin=True, max_score=0.0, labels=str(tmp_path / "labels.tsv"))
    hnmine.filter(run, tmp_path / "d", options=options)
    again = {(r["query_id"], r["doc_id"]): r for r in pq.read_table(tmp_path / "d" / "part-00000.parquet").to_pylist()}
    false = again[chosen["query_id"], chosen["doc_id"]]
    assert (false["verdict"], false["reason"]) == ("dropped", "judged-grade")
    fine = again[dropped[0]["query_id"], dropped[0]["doc_id"]]
    assert fine["verdict"] == "negative"  # no guess, here a ceiling of 0, overrules what a person knows
    others = [r["verdict"] for key, r in again.items() if key != (fine["query_id"], fine["doc_id"])]
    assert "negative" not in others
    (tmp_path / "empty.tsv").write_text("query-id\tcorpus-id\tscore\n")
    with pytest.raises(InputError, match="no judgment"):
        hnmine.filter(run, tmp_path / "e", options=hnmine.FilterOptions(labels=str(tmp_path / "empty.tsv")))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    program = next((p for p in map(Path, ("/usr/bin/chromium", "/usr/bin/google-chrome")) if p.exists()), None)
    if program is None:
        assert "CI" not in os.environ, "CI looks at the report in a browser: .ci/run installs chromium"
        pytest.skip("no Chromium: apt-get install chromium")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    with playwright.sync_playwright() as started:
        yield started.chromium.launch(
            executable_path=str(program), args=[*quiet, "--disable-component-update", "--disable-sync"]
        )


def open_page(browser: Any, path: Path, **how: Any) -> tuple[Any, list[str]]:
    page = browser.new_context(**how).new_page()
    page.set_default_timeout(240_000)  # a busy machine is no fault of the page's
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    return page, said


def test_looking_labelling_and_downloading(run: Path, browser: Any, tmp_path: Path) -> None:
    path = hnmine.report(run, tmp_path / "page.html")
    page, said = open_page(browser, path, viewport={"width": 1200, "height": 900}, color_scheme="light")
    assert page.title() == "run · hnmine"
    negatives = [r for r in decided(run) if r["verdict"] == "negative"]
    assert page.inner_text("#told").startswith(f"{len(negatives)} triplets shown, of 40 queries")

    page.select_option("#sort", "order")
    page.focus("#search")
    page.keyboard.press("f")  # written into the search, not said of a triplet
    page.fill("#search", "")
    assert page.is_disabled("#download")
    page.click("#list .item >> nth=0")
    assert page.inner_text("#detail .query").strip() == f"flow heat {HOSTILE}" or HOSTILE in page.inner_text("#detail")
    page.keyboard.press("f")
    page.keyboard.press("j")
    page.keyboard.press("g")
    assert page.inner_text("#download") == "Download 2 labels"
    with page.expect_download() as waiting:
        page.click("#download")
    waiting.value.save_as(tmp_path / "labels.tsv")
    head, *lines = (tmp_path / "labels.tsv").read_text().splitlines()
    assert head == "query-id\tcorpus-id\tscore"
    order = sorted(negatives, key=lambda r: (int(r["query_id"][1:]), r["pick_rank"]))[:2]
    assert lines == [f"{r['query_id']}\t{r['doc_id']}\t{label}" for r, label in zip(order, (1, 0), strict=True)]
    hnmine.filter(run, tmp_path / "d", options=hnmine.FilterOptions(labels=str(tmp_path / "labels.tsv")))

    page.keyboard.press("/")
    page.keyboard.type("jet plate")
    shown = "Number.parseInt(document.querySelector('#told').textContent)"
    until(lambda: page.evaluate(f"0 < {shown} && {shown} < {len(negatives)}"))
    page.fill("#search", "nothing has these words")
    until(lambda: page.evaluate("document.querySelector('#detail').innerText === 'Nothing matches.'"))
    page.fill("#search", "")
    until(lambda: page.evaluate(f"{shown} === {len(negatives)}"))
    page.select_option("#show", "dropped")
    kinds = set(page.locator("#detail .row.on .head b").all_inner_texts())
    assert all(kind.startswith("dropped: ") for kind in kinds)
    assert page.title() == "run · hnmine"  # nothing hostile ran
    assert said == []


def test_both_themes_and_a_phone(run: Path, browser: Any, tmp_path: Path) -> None:
    path = hnmine.report(run, tmp_path / "page.html")
    seen = {}
    for scheme in ("light", "dark"):
        page, said = open_page(browser, path, color_scheme=scheme)
        seen[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        ink = page.evaluate("getComputedStyle(document.querySelector('.plot svg text')).fill")
        assert ink == page.evaluate("getComputedStyle(document.body).color")
        page.click("#theme")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != seen[scheme]
        assert said == []
    assert seen["light"] != seen["dark"]
    page, _ = open_page(browser, path, viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_ten_thousand_triplets_scroll(run: Path, browser: Any, tmp_path: Path) -> None:
    """The list holds what is seen and no more, however many there are."""
    page_text = hnmine.report(run, tmp_path / "page.html").read_text("utf-8")
    before, rest = page_text.split('id="data">')
    data, after = rest.split("</script>", 1)
    content = json.loads(data)
    content["queries"] = [{**q, "id": f"{q['id']}-{i}"} for i in range(90) for q in content["queries"]]
    many = json.dumps(content).replace("<", "\\u003c")
    (tmp_path / "many.html").write_text(f'{before}id="data">{many}</script>{after}', "utf-8")
    page, said = open_page(browser, tmp_path / "many.html", viewport={"width": 1200, "height": 900})
    assert int(page.inner_text("#told").split()[0].replace(",", "")) >= 10_000
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})  # the processor's time: the machine may be busy

    def scripting() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return float(next(m["value"] for m in metrics if m["name"] == "ScriptDuration"))

    before_it = scripting()
    for asked in ("w", "wi", "wing flow", "nothing has these words", ""):
        page.fill("#search", asked)
        page.wait_for_timeout(150)  # the page waits 120 ms for the next key
    page.select_option("#sort", "gap")
    page.focus("#list")
    for _ in range(20):
        page.keyboard.press("j")
    assert page.get_attribute("#list", "aria-activedescendant") == "item-20"
    took = scripting() - before_it
    assert took < 1.0, f"{took:.2f} s of the processor for six searches and sorts and twenty moves"
    page.evaluate("document.querySelector('#list').scrollTop = 400000")
    until(lambda: page.evaluate("document.querySelector('#list .item').id.slice(5) > 5000"))
    assert page.locator("#list .item").count() < 40
    assert said == []
