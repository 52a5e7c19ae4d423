"""`sweep` says of every point what `filter` would have done there, and what the judgments make of it."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import hnmine
from hnmine import api
from hnmine.cli.app import app
from hnmine.errors import InputError, MissingDependencyError, UsageError
from hnmine.files.artefact import Artefact
from hnmine.options import SweepOptions, TruthOptions
from hnmine.stages import sweep as sweeping
from hnmine.stages.plot import check_plot

WORDS = ["apple", "pear", "plum", "fig", "kiwi", "lime", "mango", "peach", "quince", "melon"]


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Candidates of ten queries under BM25: each query is two words, its positive has both and one of its own."""
    root = tmp_path_factory.mktemp("sweep")
    data = root / "data"
    (data / "qrels").mkdir(parents=True)
    docs = {f"d{i}{j}": f"{a} {b} {'sweet ' * (j % 3)}" for i, a in enumerate(WORDS) for j, b in enumerate(WORDS)}
    queries = {f"q{i}": f"{WORDS[i]} {WORDS[(i + 1) % 10]}" for i in range(10)}
    (data / "corpus.jsonl").write_text("".join(json.dumps({"_id": d, "text": t}) + "\n" for d, t in docs.items()))
    (data / "queries.jsonl").write_text("".join(json.dumps({"_id": q, "text": t}) + "\n" for q, t in queries.items()))
    known = "".join(f"q{i}\td{i}{(i + 1) % 10}\t1\n" for i in range(10))
    (data / "qrels" / "train.tsv").write_text(known)
    # The truth also calls the two words the other way round relevant, and one document with the second word not.
    more = "".join(f"q{i}\td{(i + 1) % 10}{i}\t2\nq{i}\td{(i + 1) % 10}{(i + 5) % 10}\t0\n" for i in range(10))
    (root / "truth.tsv").write_text("query-id\tcorpus-id\tscore\n" + known + more)
    hnmine.ingest(data, root / "collection")
    hnmine.index_bm25(root / "collection", root / "indexes" / "bm25", options=hnmine.Bm25Options(language="none"))
    hnmine.mine(root / "collection", root / "candidates", indexes=[root / "indexes" / "bm25"])
    return root


def swept(root: Path, truth: str | None = "truth.tsv", **lists: object) -> list[dict[str, object]]:
    options = SweepOptions(**lists)  # type: ignore[arg-type]
    found = api.sweep(root, options=options, truth=TruthOptions(qrels=str(root / truth) if truth else None))
    points: list[dict[str, object]] = found["points"]
    return points


def test_every_point_is_what_filter_does_there(mined: Path, tmp_path: Path) -> None:
    lines = (mined / "truth.tsv").read_text().splitlines()[1:]
    truth = {(q, d): int(grade) for q, d, grade in (line.split("\t") for line in lines)}
    points = swept(mined, absolute_margin=(0.0, 0.5), skip_top=(0, 3), num_negatives=(4, 30))
    assert len(points) == 8
    for number, point in enumerate(points):
        setting = point["setting"]
        options = hnmine.FilterOptions(**setting)  # type: ignore[arg-type]
        decided = hnmine.filter(mined, tmp_path / str(number), options=options)
        rows = [row for f in Artefact.open(tmp_path / str(number)).files() for row in pq.read_table(f).to_pylist()]
        anchors = {r["query_id"]: r["score_bm25"] for r in rows if r["is_positive"]}
        picked = [r for r in rows if r["verdict"] == "negative"]
        assert picked
        false = sum(truth.get((r["query_id"], r["doc_id"]), 0) > 0 for r in picked)
        assert point["negatives"] == len(picked)
        assert point["queries_short"] == decided.counts["queries_short"]
        assert point["coverage"] == pytest.approx(len(picked) / (10 * options.num_negatives))
        assert point["mean_gap"] == pytest.approx(
            sum(anchors[r["query_id"]] - r["score_bm25"] for r in picked) / len(picked)
        )
        assert point["false_negatives"] == false
        assert point["judged_share"] == pytest.approx(
            sum((r["query_id"], r["doc_id"]) in truth for r in picked) / len(picked)
        )
    assert {p["false_negatives"] for p in points} != {0}


def test_none_means_no_margin_at_all(mined: Path) -> None:
    none, below = swept(mined, absolute_margin=(None, 1.0), num_negatives=(30,))
    assert none["negatives"] > below["negatives"]  # type: ignore[operator]
    text = SweepOptions(absolute_margin="none,0")  # type: ignore[call-arg]
    assert text.absolute_margin == (None, 0.0)  # type: ignore[attr-defined]


def test_a_grade_below_the_minimum_is_judged_and_not_false(mined: Path) -> None:
    options, truth = SweepOptions(num_negatives=(4,), skip_top=(0,)), str(mined / "truth.tsv")  # type: ignore[call-arg]
    one = api.sweep(mined, options=options, truth=TruthOptions(qrels=truth))["points"][0]
    three = api.sweep(mined, options=options, truth=TruthOptions(qrels=truth, min_relevance=3))["points"][0]
    assert one["false_negatives"] > three["false_negatives"] == 0
    assert one["judged_share"] == three["judged_share"]


def test_without_truth_the_front_is_by_the_guards_estimate(mined: Path, tmp_path: Path) -> None:
    """Ten queries are too few to estimate by: then there is no figure that means nothing, and no front."""
    few = api.sweep(mined)
    assert few["front_by"] is None
    assert not any("estimated_false_negative_rate" in point for point in few["points"])
    pairs = [f'{{"anchor": "{a} {b}", "positive": "{a} {b} pie"}}\n' for a in WORDS for b in WORDS[:4] if a != b]
    (tmp_path / "pairs.jsonl").write_text("".join(pairs))
    hnmine.ingest(tmp_path / "pairs.jsonl", tmp_path / "collection")
    hnmine.index_bm25(tmp_path / "collection", tmp_path / "bm25", options=hnmine.Bm25Options(language="none"))
    hnmine.mine(tmp_path / "collection", tmp_path / "candidates", indexes=[tmp_path / "bm25"])
    report = api.sweep(tmp_path / "candidates")
    assert report["front_by"] == "estimated_false_negative_rate"
    assert any(point["on_front"] for point in report["points"])
    assert all(0 <= point["estimated_false_negative_rate"] <= 1 for point in report["points"] if point["negatives"])


def test_judgments_of_another_collection_are_refused(mined: Path, tmp_path: Path) -> None:
    (tmp_path / "other.tsv").write_text("x\ty\t1\n")
    with pytest.raises(InputError, match="no candidate is judged"):
        api.sweep(mined, truth=TruthOptions(qrels=str(tmp_path / "other.tsv")))


def test_wrong_lists_are_refused() -> None:
    with pytest.raises(UsageError, match=r"skip_top = .*'x' is not a whole number"):
        SweepOptions(skip_top="0,x")  # type: ignore[call-arg]
    with pytest.raises(UsageError, match=r"1\.5"):
        SweepOptions(skip_top="1.5")  # type: ignore[call-arg]


def test_the_table_fits(mined: Path) -> None:
    report = api.sweep(mined, truth=TruthOptions(qrels=str(mined / "truth.tsv")))
    for width in (70, 100):
        lines = list(sweeping.render(report, width))
        assert len(lines) == len(report["points"]) + 3
        assert all(len(line) <= width for line in lines[:-1])
    assert any(line.startswith("*") for line in lines[2:-1])


def test_the_command(mined: Path, tmp_path: Path) -> None:
    out = tmp_path / "grid.csv"
    arguments = ["sweep", str(mined), "--skip-top", "0,3", "-n", "4", "--qrels", str(mined / "truth.tsv"), "--json"]
    done = CliRunner().invoke(app, [*arguments, "-o", str(out)])
    assert done.exit_code == 0, done.output
    points = json.loads(done.stdout)["points"]
    written = list(csv.DictReader(out.open()))
    assert [int(row["false_negatives"]) for row in written] == [p["false_negatives"] for p in points]
    assert CliRunner().invoke(app, [*arguments, "--fail-if", "best_coverage>0.5"]).exit_code == 6
    assert CliRunner().invoke(app, [*arguments, "--fail-if", "best_coverage>1"]).exit_code == 0


def test_the_picture(mined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="not a picture"):
        check_plot(tmp_path / "x.pdf")
    with monkeypatch.context() as patched:
        patched.setitem(__import__("sys").modules, "matplotlib", None)
        with pytest.raises(MissingDependencyError, match="pip install"):
            check_plot(tmp_path / "x.png")
    pytest.importorskip("matplotlib")
    truth = str(mined / "truth.tsv")
    for name in ("a.svg", "b.svg", "c.png"):
        done = CliRunner().invoke(app, ["sweep", str(mined), "--qrels", truth, "--plot", str(tmp_path / name)])
        assert done.exit_code == 0, done.output
    picture = (tmp_path / "a.svg").read_text()
    assert "false negative rate" in picture
    assert "nothing is better" in picture
    assert not re.search("#0[0-9a]0[0-9b]0", picture)  # the colours that stand for the page's
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
