"""`filter --relabel`, from judgments to training files: who made a positive of what, and what that does to the rest."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.errors import UsageError
from hnmine.files.artefact import Artefact
from tests.chat_server import ChatServer

ORDER = ["a", "p", "b", "c", "d", "e"]
"""The run of query q; its known positive is p, and e is judged not relevant. Query r has p and a."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("relabel")
    (root / "data" / "qrels").mkdir(parents=True)
    corpus = [{"_id": d, "title": "", "text": f"text {d}"} for d in sorted({*ORDER, "s"})]
    queries = [{"_id": q, "text": f"question {q}"} for q in "qr"]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (root / "data" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "data" / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq\tp\t1\nq\te\t0\nr\ts\t1\n")
    lines = [f"q Q0 {d} {i} {10 - i} x" for i, d in enumerate(ORDER, 1)]
    lines += [f"r Q0 {d} {i} {10 - i} x" for i, d in enumerate(["s", "a", "b", "p"], 1)]
    (root / "one.trec").write_text("".join(line + "\n" for line in lines))
    hnmine.ingest(root / "data", root / "collection")
    hnmine.mine(root / "collection", root / "candidates", options=hnmine.MineOptions(run=(f"one={root}/one.trec",)))
    return root


def labels(folder: Path, **grades: int) -> str:
    """A file of labels for query q."""
    file = folder / "labels.tsv"
    lines = "".join(f"q\t{doc}\t{grade}\n" for doc, grade in grades.items())
    file.write_text("query-id\tcorpus-id\tscore\n" + lines)
    return str(file)


def filtered(root: Path, out: Path, candidates: str = "candidates", **options: Any) -> dict[str, dict[str, Any]]:
    """The decided rows of query q by document."""
    asked = hnmine.FilterOptions(**{"no_margin": True, **options})
    hnmine.filter(root / candidates, out, options=asked, collection=root / "collection")
    rows = pq.read_table(Artefact.open(out).files()).to_pylist()
    return {row["doc_id"]: row for row in rows if row["query_id"] == "q"}


def told(rows: dict[str, dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    return {doc: (row["verdict"], row["reason"], row["called_relevant_by"]) for doc, row in rows.items()}


def test_a_label_makes_a_positive_and_says_so(root: Path, tmp_path: Path) -> None:
    given = labels(tmp_path, a=1, b=0, e=2)
    rows = filtered(root, tmp_path / "d", labels=given, relabel="positive", num_negatives=2)
    assert told(rows) == {
        "a": ("positive", "relabelled", "labels"),
        "p": ("positive", "known-positive", None),
        "b": ("negative", "picked", None),
        "c": ("negative", "picked", None),
        "d": ("reserve", "not-needed", None),
        "e": ("positive", "relabelled", "labels"),
    }
    assert {doc: row["step"] for doc, row in rows.items() if row["step"] != "none"} == {
        "a": "relabelled",
        "e": "relabelled",
    }
    assert not rows["a"]["is_positive"], "evidence stays as it is; the verdict is what changed"
    artefact = Artefact.open(tmp_path / "d")
    assert artefact.counts["called_relevant"] == {"labels": 2}
    assert artefact.counts["verdicts"] == {"negative": 4, "positive": 4, "reserve": 2}
    assert artefact.plan["relabel"] == {"mode": "positive", "by": ["labels"]}


def test_dropping_and_hearing_nobody(root: Path, tmp_path: Path) -> None:
    given = labels(tmp_path, a=1)
    rows = filtered(root, tmp_path / "drop", labels=given, relabel="drop")
    assert told(rows)["a"] == ("dropped", "called-relevant", "labels")
    rows = filtered(root, tmp_path / "off", labels=given, relabel="off")
    assert rows["a"]["reason"] == "judged-grade", "as without --relabel"
    assert "called_relevant_by" not in rows["a"]
    assert filtered(root, tmp_path / "none", labels=given) == rows


def test_a_query_with_too_many_gives_no_training_row(root: Path, tmp_path: Path) -> None:
    given = labels(tmp_path, a=1, b=1)
    rows = filtered(root, tmp_path / "d", labels=given, relabel="positive", max_fn_per_query=1)
    assert {row["reason"] for row in rows.values()} == {"known-positive", "too-many-relevant"}
    assert told(rows)["a"] == ("dropped", "too-many-relevant", "labels")
    hnmine.export(tmp_path / "d", tmp_path / "t.parquet")
    assert {row["anchor"] for row in pq.read_table(tmp_path / "t.parquet").to_pylist()} == {"question r"}
    advice = Artefact.open(tmp_path / "d").counts["advice"]
    assert advice.startswith("raise --max-fn-per-query: too-many-relevant dropped 5")


def test_a_new_positive_is_exported_beside_the_known_one_and_behind_it(root: Path, tmp_path: Path) -> None:
    filtered(root, tmp_path / "d", labels=labels(tmp_path, a=1), relabel="positive", num_negatives=2)

    def exported(name: str, **options: Any) -> list[dict[str, Any]]:
        hnmine.export(tmp_path / "d", tmp_path / name, options=hnmine.ExportOptions(**options))
        rows: list[dict[str, Any]] = pq.read_table(tmp_path / name).to_pylist()
        return rows

    rows = exported("n.parquet", format="n-tuple")
    own = {row["positive"]: row for row in rows if row["anchor"] == "question q"}
    assert {text: (row["negative_1"], row["negative_2"]) for text, row in own.items()} == {
        "text a": ("text b", "text c"),
        "text p": ("text b", "text c"),
    }
    ids = pq.read_table(tmp_path / "n.ids.parquet").to_pylist()
    assert {tuple(row["steps"]) for row in ids if row["doc_ids"][0] == "a"} == {("relabelled", "none", "none")}
    assert [row["positive"] for row in exported("one.parquet", max_positives=1) if row["anchor"] == "question q"] == [
        "text p"
    ] * 2, "the known one, although the other has the better rank"
    weighed = exported("w.parquet", format="n-tuple", weight=True)
    assert [row["weights"][0] for row in weighed] == [1.0, 1.0, 1.0]


def test_the_next_round_knows_it_as_a_positive(root: Path, tmp_path: Path) -> None:
    """Also where a person overruled the qrels: their grade 0 is no grade of a positive."""
    filtered(root, tmp_path / "d", labels=labels(tmp_path, a=1, e=1), relabel="positive", num_negatives=2)
    hnmine.export(tmp_path / "d", tmp_path / "beir", options=hnmine.ExportOptions(format="beir"))
    lines = (tmp_path / "beir" / "qrels" / "train.tsv").read_text().splitlines()[1:]
    assert sorted(line for line in lines if line.startswith("q\t")) == [
        *("q\ta\t1", "q\tb\t0", "q\tc\t0", "q\te\t1", "q\tp\t1")
    ]


def test_no_batch_has_it_as_a_negative_of_its_query(root: Path, tmp_path: Path) -> None:
    for mode in ("positive", "drop"):
        filtered(root, tmp_path / mode, labels=labels(tmp_path, a=1), relabel=mode, num_negatives=2)
        file = tmp_path / f"{mode}.parquet"
        hnmine.export(tmp_path / mode, file, options=hnmine.ExportOptions(collisions=True))
        pairs = pq.read_table(file.with_name(f"{mode}.collisions.parquet")).to_pylist()
        found = {(pair["query_id"], pair["doc_id"]): pair["reason"] for pair in pairs}
        assert found["q", "a"] == ("positive" if mode == "positive" else "called-relevant")


def test_an_audit_counts_it_as_a_positive(root: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth.tsv"
    truth.write_text("query-id\tcorpus-id\tscore\nq\tp\t1\nq\ta\t1\nr\ts\t1\n")
    rates = {}
    for mode in ("off", "positive"):
        given = {} if mode == "off" else {"labels": labels(tmp_path, a=1)}
        filtered(root, tmp_path / mode, relabel=mode, num_negatives=2, **given)
        report = hnmine.audit(tmp_path / mode, options=hnmine.AuditOptions(qrels=str(truth)))
        rates[mode] = (report["positives"], report["false_negative_rate"])
    assert rates == {"off": (2, 1 / 4), "positive": (3, 0.0)}


def test_a_relabelled_document_is_no_candidate_that_the_reuse_cap_counts(root: Path, tmp_path: Path) -> None:
    """Document a is a candidate of both queries; as a positive of q it leaves the one place to r."""
    options = {"relabel": "positive", "max_reuse": 1, "labels": labels(tmp_path, a=1)}
    filtered(root, tmp_path / "d", **options)
    rows = pq.read_table(Artefact.open(tmp_path / "d").files()).to_pylist()
    assert [row["verdict"] for row in rows if row["doc_id"] == "a"] == ["positive", "negative"]


def test_somebody_has_to_say_it(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nobody says which candidates are relevant"):
        filtered(root, tmp_path / "d", relabel="positive")
    with pytest.raises(UsageError, match=r"--relabel-above 1\.0: .*\n--max-fn-per-query -1: at least 0"):
        filtered(root, tmp_path / "d", relabel="drop", relabel_above=1.0, max_fn_per_query=-1)


def test_all_blocks_and_any_number_of_workers_say_the_same(root: Path, tmp_path: Path) -> None:
    given = labels(tmp_path, a=1)
    options = hnmine.FilterOptions(no_margin=True, relabel="positive", labels=given)
    prints = set()
    for workers in (1, 2):
        out = tmp_path / f"w{workers}"
        how = hnmine.Execution(executor=f"local:{workers}")
        hnmine.filter(root / "candidates", out, options=options, collection=root / "collection", how=how)
        prints.add(Artefact.open(out).fingerprint)
    assert len(prints) == 1


@pytest.fixture
def judged(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Candidates that a cheap judge graded and a strong one again, as far as the cheap one called them relevant."""
    monkeypatch.setenv("no_proxy", "*")
    cheap = {"text a": 3, "text b": 2, "text c": 1, "text d": 0}
    server = ChatServer(lambda query, text: cheap[text])
    server.grade = lambda query, text: (
        cheap.get(text, 0) if server.asked[-1]["model"] == "cheap" else 3 * (text == "text a")
    )
    options = hnmine.JudgeOptions(judge=(f"{server.url}#cheap", f"{server.url}#strong"), judge_window="0:1")
    try:
        hnmine.judge(root / "collection", root / "candidates", tmp_path / "judged", options=options)
    finally:
        server.close()
    return tmp_path / "judged"


def test_what_the_strong_judge_confirms_is_a_positive(root: Path, judged: Path, tmp_path: Path) -> None:
    rows = filtered(root, tmp_path / "d", str(judged), relabel="positive")
    assert {doc: (row["grade_cheap"], row["grade_strong"]) for doc, row in rows.items()} == {
        "a": (3, 3),
        "p": (None, None),
        "b": (2, 0),
        "c": (1, None),
        "d": (0, None),
        "e": (None, None),
    }
    assert {doc: found for doc, found in told(rows).items() if found[2]} == {
        "a": ("positive", "relabelled", "grade_strong")
    }
    known = {doc for doc, row in rows.items() if row["p_false_negative"] == 0}
    assert known == {"b", "d", "e"}, "what a judge calls not relevant is known, as what the qrels judged; c is related"


def test_where_a_judge_was_asked_its_word_counts_by_default(root: Path, judged: Path, tmp_path: Path) -> None:
    rows = filtered(root, tmp_path / "d", str(judged))
    assert told(rows)["a"] == ("dropped", "called-relevant", "grade_strong")
    deaf = filtered(root, tmp_path / "off", str(judged), relabel="off")
    assert deaf["a"]["verdict"] == "negative"
    assert deaf["b"]["p_false_negative"] != 0
    by_hand = filtered(root, tmp_path / "by-hand", str(judged), labels=labels(tmp_path, a=0))
    assert told(by_hand)["a"] == ("negative", "picked", None), "a person has the last word"


class Rerank(BaseHTTPRequestHandler):
    """`/rerank` as text-embeddings-inference answers it: logits, here of 0.953, 0.899 and 0.12."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = {"text a": 3.0, "text b": 2.19}
        found = [{"index": i, "score": known.get(text, -2.0)} for i, text in enumerate(body["texts"])]
        raw = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_reranker_is_heard_when_asked_for(root: Path, tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Rerank)
    threading.Thread(target=server.serve_forever).start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        options = hnmine.ScoreOptions(reranker=url, remote_model="one", name="ce")
        hnmine.score(root / "collection", root / "candidates", tmp_path / "scored", options=options)
    finally:
        server.shutdown()
        server.server_close()
    scored = str(tmp_path / "scored")
    assert "called_relevant_by" not in filtered(root, tmp_path / "off", scored)["a"]
    rows = filtered(root, tmp_path / "d", scored, relabel="positive")
    assert {doc: found for doc, found in told(rows).items() if found[2]} == {
        "a": ("positive", "relabelled", "score_ce")
    }
    rows = filtered(root, tmp_path / "laxer", scored, relabel="drop", relabel_above=0.5)
    assert {doc for doc, found in told(rows).items() if found[2]} == {"a", "b"}
    grid = hnmine.SweepOptions(no_margin=True, relabel="drop", relabel_above=(0.5, 0.9), num_negatives=(7,))
    report = hnmine.sweep(tmp_path / "scored", options=grid, collection=root / "collection")
    # Of q's a, b, c, d, e and r's a, b, p: both queries' a and b, or both queries' a, are called relevant.
    assert [point["negatives"] for point in report["points"]] == [4, 6]
