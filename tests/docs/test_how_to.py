"""The recipes of docs/how-to run as they stand, against a searcher that answers as Elasticsearch does."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from markdown_blocks import ROOT, blocks
from pages import run_page, write_scripts
from test_commands import needs_model

from tests.chat_server import ChatServer
from tests.e2e.harness import contents


class Searcher(BaseHTTPRequestHandler):
    """`_bulk`, `_refresh` and `_msearch` over words in common; what it holds is kept in the server."""

    def do_POST(self) -> None:
        lines = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode().splitlines()
        rows = [json.loads(line) for line in lines]
        held: dict[str, str] = self.server.held  # type: ignore[attr-defined]
        answer: dict[str, Any] = {}
        if self.path == "/corpus/_bulk":
            held.update(
                {action["index"]["_id"]: source["text"] for action, source in zip(rows[::2], rows[1::2], strict=True)}
            )
            answer = {"errors": False}
        elif self.path == "/_msearch":
            answer = {"responses": [self.search(held, body) for body in rows[1::2]]}
        else:
            assert self.path == "/corpus/_refresh", self.path
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    @staticmethod
    def search(held: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        wanted = set(body["query"]["match"]["text"].lower().split())
        scores = Counter({doc: len(wanted & set(text.lower().split())) for doc, text in held.items()})
        hits = [{"_id": doc, "_score": float(score)} for doc, score in scores.most_common(body["size"]) if score]
        return {"hits": {"hits": hits}}

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def elastic() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Searcher)
    server.held = {}  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("page", "count"), [("external-searchers", 2), ("labels", 3)])
def test_scripts_are_python(page: str, count: int) -> None:
    found = blocks(f"docs/how-to/{page}.md", "python")
    assert len(found) == count
    for script in found:
        compile(script, "recipe", "exec")


@pytest.mark.slow
@needs_model
def test_labels(place: Path, shell: dict[str, str]) -> None:
    page = "docs/how-to/labels.md"
    write_scripts(page, place, place.parent / "tools")
    for name, much, little in (
        ("packages.py", '"asyncio", "concurrent", "email", ', ""),
        ("graph.py", '"*.py"', '"[a-d]*.py"'),
    ):
        script = (place / name).read_text()
        assert much in script
        (place / name).write_text(script.replace(much, little))
    run_page(page, place, shell)
    label = {row["text"]: row["label"] for row in map(json.loads, (place / "packages.jsonl").open())}
    rows = pq.read_table(place / "packages/triplets.parquet").to_pylist()
    assert len(rows) > 1_000
    assert all(label[row["anchor"]] == label[row["positive"]] != label[row["negative"]] for row in rows)
    (near,) = (place / "near/candidates").glob("*.parquet")
    assert any("random-near" in sources for sources in pq.read_table(near)["sources"].to_pylist())
    assert pq.read_metadata(place / "near/triplets.parquet").num_rows > 0


@pytest.mark.slow
def test_external_searchers(place: Path, shell: dict[str, str], elastic: str) -> None:
    page = "docs/how-to/external-searchers.md"
    write_scripts(page, place, place.parent / "tools")
    run_page(page, place, shell | {"ELASTIC": elastic})
    run = pq.read_table(place / "elastic.parquet")
    rows = pq.read_table(place / "work/candidates/part-00000.parquet").to_pylist()
    found = {(row["query_id"], row["doc_id"]): row["score_elastic"] for row in rows if "run:elastic" in row["sources"]}
    assert found == {(row["query_id"], row["doc_id"]): row["score"] for row in run.to_pylist()}
    alone = [row for row in rows if row["sources"] == ["run:elastic"]]
    assert alone
    assert all(row["score_bm25"] is not None for row in alone), "every row has every index's score"
    assert pq.read_metadata(place / "triplets.parquet").num_rows > 0
    audit = ["audit", "triplets.parquet", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "hnmine", *audit], cwd=place, env=shell, capture_output=True, check=True
    )
    assert json.loads(done.stdout)


@pytest.mark.slow
def test_import(place: Path, shell: dict[str, str]) -> None:
    page = "docs/how-to/import.md"
    (lines,) = blocks(page, "json")
    (place / "minedHN.jsonl").write_text(lines)
    run_page(page, place, shell)
    better = [json.loads(line) for line in (place / "better.jsonl").read_text().splitlines()]
    assert better
    assert all(len(row["neg"]) == len(row["neg_scores"]) > 0 for row in better)
    known, imported = (
        set(pq.read_table(place / name / "candidates" / "part-00000.parquet")["doc_id"].to_pylist())
        for name in ("known", "imported")
    )
    texts = {
        row["doc_id"]: row["text"]
        for row in pq.read_table(place / "imported/collection/documents/part-00000.parquet").to_pylist()
    }
    assert known < imported
    copies = [texts[name] for name in imported - known]  # looked up by what they say, they are the corpus' own document
    assert copies == ["photosynthesis turns light, water and carbon dioxide into sugar"]


@pytest.mark.slow
def test_report(place: Path, shell: dict[str, str]) -> None:
    run_page("docs/how-to/report.md", place, shell)
    assert (place / "mined" / "report.html").stat().st_size > 100_000


def test_hubs(place: Path, shell: dict[str, str]) -> None:
    write_scripts("docs/how-to/hubs.md", place, place.parent / "tools")
    run_page("docs/how-to/hubs.md", place, shell)


@pytest.mark.slow
def test_relabel(place: Path, shell: dict[str, str]) -> None:
    write_scripts("docs/how-to/relabel.md", place, place.parent / "tools")
    server = ChatServer(lambda query, text: 3 if len(text) % 20 == 0 else 1)  # some of every query's, and never many
    try:
        run_page("docs/how-to/relabel.md", place, shell | {"JUDGE_URL": server.url, "no_proxy": "*"})
    finally:
        server.close()
    found = pq.read_table(place / "mined" / "relabelled" / "part-00000.parquet").to_pylist()
    new = {(row["query_id"], row["doc_id"]) for row in found if row["reason"] == "relabelled"}
    ids = pq.read_table(place / "relabelled.ids.parquet").to_pylist()
    assert {(row["query_id"], row["doc_ids"][0]) for row in ids if row["steps"][0] == "relabelled"} == new != set()
    again = pq.read_table(place / "mined-again" / "candidates" / "part-00000.parquet").to_pylist()
    assert new <= {(row["query_id"], row["doc_id"]) for row in again if row["is_positive"]}


@pytest.mark.slow
def test_cluster(tmp_path: Path, shell: dict[str, str]) -> None:
    """With a Slurm of one file and a kubectl that believes everything; Ray is Ray."""
    pytest.importorskip("ray")
    place, tools, state = tmp_path / "place", tmp_path / "tools", tmp_path / "slurm"
    place.mkdir()
    state.mkdir()
    fake = ROOT / "tests" / "e2e" / "fake_slurm.py"
    for name in ("sbatch", "scontrol"):
        start = f"import sys; sys.argv[0] = '{name}'; exec(open('{fake}').read())"
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{start}" "$@"\n')
    (tools / "kubectl").write_text(f'#!/bin/sh\n[ "$1" != apply ] || cat >> "{tmp_path}/applied.yaml"\n')
    for name in ("sbatch", "scontrol", "kubectl"):
        (tools / name).chmod(0o755)
    own = {"FAKE_SLURM": str(state), "FAKE_PREEMPT": "", "OMP_NUM_THREADS": "1", "HNMINE_TEST_BLOCK_SIZE": "64"}
    run_page("docs/how-to/cluster.md", place, shell | own, apart=True)
    assert {path.read_text() for path in state.glob("*.state")} == {"done"}
    assert (tmp_path / "applied.yaml").read_text().count("kind: Job") == 6
    assert not (place / "work" / "alone").exists(), "a plan writes nothing"
    made = contents(place / "work" / "slurm")
    assert "triplets.parquet" in made
    assert made == contents(place / "work" / "ray") == contents(place / "work" / "hand")


@pytest.mark.slow
def test_hub(tmp_path: Path, shell: dict[str, str]) -> None:
    pytest.importorskip("huggingface_hub")
    run_page("docs/how-to/hub.md", tmp_path, shell, apart=True)
    card = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert card.startswith("---\n")
    assert 'load_dataset("me/docstrings", "ids")' in card


@pytest.mark.slow
def test_batches(place: Path, shell: dict[str, str]) -> None:
    python = place.parent / "tools" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    for script in blocks("docs/how-to/batches.md", "python"):
        (place / script.split(":", 1)[0].removeprefix("# ")).write_text(script)
    run_page("docs/how-to/batches.md", place, shell)
    assert pq.read_schema(place / "clusters.ids.parquet").names[2] == "batch_id"
