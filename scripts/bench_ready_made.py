"""The whole job on ready-made vectors, beside sentence-transformers' `mine_hard_negatives`: memory, time, and the rows.

    python scripts/bench_ready_made.py OUT [--documents 50000] [--queries 100000] [--repeat 5] [--threads N]
        [--json FILE]

Synthetic texts with ready-made vectors of 64 dimensions, in heaps; every query has one positive; 5 negatives a query as
triplets, `--margin R` asks for a relative margin. Three ways from the same files to a Parquet file of triplets, each in
a process of its own, in turn:

- *chain*: `hnmine run`: ingest, index dense with ready-made vectors (kept as fp32, as the peer has them), mine as deep
  as the peer searches, filter, export;
- *drop-in*: `hnmine.mine_hard_negatives`, with the peer's parameters;
- *peer*: `sentence_transformers.util.mine_hard_negatives`, with `use_faiss=True`. For both functions a model gives the
  ready-made vector of each text, so nothing is encoded.

Medians of --repeat rounds, of the processor's seconds (user and system), the wall's, and the peak of anonymous memory
over the process and its children (see bench_scale.py). Processor seconds of a function are also told without imports,
reading and writing. The rows are compared by query, positive and negative; where they differ, `largest_gap` is how far
the cosines of the negatives in question are apart.

    python scripts/bench_ready_made.py OUT --memory-only --queries 20000 100000 200000

measures the chain's memory alone, stage by stage, against the number of queries.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import statistics
import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

if __name__ == "__main__" and "--threads" in sys.argv:  # before NumPy is there; whoever imports this keeps his own
    os.environ["OMP_NUM_THREADS"] = sys.argv[sys.argv.index("--threads") + 1]

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
bench_scale: Any = importlib.import_module("bench_scale")

NEGATIVES = 5
WAYS = ("chain", "drop-in", "peer")


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--queries", type=int, nargs="+", default=[100_000])
    parser.add_argument("--margin", type=float, help="Relative margin [default: none].")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, help="Of NumPy, FAISS and torch [default: as many as cores].")
    parser.add_argument("--memory-only", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--way", choices=WAYS[1:], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way is not None:
        call(given.way, given.out, given.margin)
        return
    sizes = [(given.documents, queries) for queries in given.queries]
    if given.memory_only:
        report: dict[str, Any] = {"memory": [memory(given.out, *size) for size in sizes]}
    else:
        report = {"sizes": [compare(given.out, *size, margin=given.margin, repeat=given.repeat) for size in sizes]}
    packages = ("sentence-transformers", "torch", "datasets", "faiss-cpu")
    facts = bench_scale.machine()
    facts["versions"] |= {name: version(name) for name in packages}
    report |= {"threads": given.threads or facts["cores"], "margin": given.margin, "machine": facts}
    text = json.dumps(report, indent=1)
    print(text)
    if given.json is not None:
        given.json.write_text(text + "\n", encoding="utf-8")


def compare(out: Path, documents: int, queries: int, *, margin: float | None, repeat: int) -> dict[str, Any]:
    """The three ways over one input: medians, ratios to the peer, and what differs in the rows."""
    place = made(out, documents, queries)
    rounds: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(repeat):
        for way in WAYS:
            rounds[way].append(go(way, place, margin))
            print(way, json.dumps(rounds[way][-1]), file=sys.stderr, flush=True)
    middle = {
        way: {name: statistics.median(one[name] for one in all_rounds) for name in all_rounds[0]}
        for way, all_rounds in rounds.items()
    }
    peer = middle["peer"]
    ratios = {
        way: {name: round(value / peer[name], 3) for name, value in middle[way].items() if name in peer}
        for way in WAYS[:-1]
    }
    wanted = ids(place / "peer.parquet")
    return {
        "documents": documents,
        "queries": queries,
        "medians": middle,
        "ratios_to_peer": ratios,
        "rows": {way: differences(place, ids(place / f"{way}.parquet"), wanted) for way in WAYS[:-1]},
        "rounds": rounds,
    }


def go(way: str, place: Path, margin: float | None) -> dict[str, Any]:
    """What one way takes from the files to the training file."""
    target = place / f"{way}.parquet"
    if way == "chain":
        for old in (target, place / "chain.ids.parquet"):
            old.unlink(missing_ok=True)
        shutil.rmtree(place / "chain.hnmine", ignore_errors=True)
        margins = ["--no-margin"] if margin is None else ["--relative-margin", margin]
        settings = place / "run.toml"
        settings.write_text(
            f'[dense]\nvectors = "{place / "documents.npy"}"\nquery_vectors = "{place / "queries.npy"}"\n'
            f'store = "fp32"\n[mine]\ntop_k = {depth(margin)}\n'
        )
        rules = ["--no-bm25", "-n", NEGATIVES, *margins]
        return asdict(bench_scale.command("run", place / "data", "-o", target, "-c", settings, *rules))
    asked = [] if margin is None else ["--margin", margin]
    spent = asdict(bench_scale.spend([sys.executable, __file__, place, "--way", way, *asked]))
    return spent | json.loads((place / f"{way}.json").read_text())


def depth(margin: float | None) -> int:
    """How many documents a query the peer retrieves: `range_max` as it is derived, and one for the positive."""
    return NEGATIVES * (1 if margin is None else 10) + 2


def call(way: str, place: Path, margin: float | None) -> None:
    """One of the two functions, with a model that gives ready-made vectors; writes rows and seconds beside the data."""
    import datasets
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    import hnmine

    class ReadyMade(SentenceTransformer):  # type: ignore[misc]
        """A model whose vectors are in a file; a text's last word is its row."""

        max_seq_length = 512

        def get_embedding_dimension(self) -> int:
            return int(bench_scale.DIMENSION)

        def encode_document(self, texts: list[str], **how: Any) -> Any:
            return self.give("documents", texts, **how)

        def encode_query(self, texts: list[str], **how: Any) -> Any:
            return self.give("queries", texts, **how)

        def give(self, side: str, texts: list[str], *, convert_to_tensor: bool = False, **_: Any) -> Any:
            found = np.load(place / f"{side}.npy", mmap_mode="r")[[row_of(text) for text in texts]]
            return torch.from_numpy(found) if convert_to_tensor else found

    def texts(name: str) -> dict[str, str]:
        with open(place / "data" / name, encoding="utf-8") as lines:
            return {record["_id"]: record["text"] for record in map(json.loads, lines)}

    documents, queries = texts("corpus.jsonl"), texts("queries.jsonl")
    judged = (place / "data" / "qrels" / "train.tsv").read_text(encoding="utf-8").splitlines()[1:]
    pairs = [line.split("\t")[:2] for line in judged]
    data = datasets.Dataset.from_dict(
        {"anchor": [queries[query] for query, _ in pairs], "positive": [documents[own] for _, own in pairs]}
    )
    corpus = list(documents.values())
    del documents, queries, judged, pairs
    model = ReadyMade(modules=[torch.nn.Identity()], device="cpu")
    asked: dict[str, Any] = {"corpus": corpus, "num_negatives": NEGATIVES, "relative_margin": margin, "verbose": False}
    function, more = (mine_hard_negatives, {"use_faiss": True}) if way == "peer" else (hnmine.mine_hard_negatives, {})
    began = time.process_time()
    found = function(data, model, **asked, **more)
    (place / f"{way}.json").write_text(json.dumps({"function_seconds": round(time.process_time() - began, 2)}))
    found.to_parquet(place / f"{way}.parquet")


def row_of(text: str) -> int:
    """The row in the file of vectors: a text's last word."""
    return int(text.rpartition(" ")[2])


def ids(file: Path) -> pa.Table:
    """The rows of a training file by the rows of its texts, sorted; three columns of int64."""
    table = pq.read_table(file)
    columns = []
    for column in table.columns:
        texts = column.combine_chunks().dictionary_encode()
        rows = np.array([row_of(text) for text in texts.dictionary.to_pylist()], np.int64)
        columns.append(rows[texts.indices.to_numpy()])
    found = pa.table(columns, names=["query", "positive", "negative"])
    return found.sort_by([(name, "ascending") for name in found.column_names])


def differences(place: Path, found: pa.Table, wanted: pa.Table) -> dict[str, Any]:
    """How many rows of each are not the other's, and how far the cosines of such negatives are apart at most."""
    names = found.column_names
    ours = found.join(wanted, names, join_type="left anti").sort_by("query")
    theirs = wanted.join(found, names, join_type="left anti").sort_by("query")
    documents, queries = (np.load(place / f"{side}.npy", mmap_mode="r") for side in ("documents", "queries"))

    def cosines(table: pa.Table) -> dict[int, list[float]]:
        by_query: dict[int, list[float]] = {}
        for query, negative in zip(table["query"].to_pylist(), table["negative"].to_pylist(), strict=True):
            value = float(np.float64(documents[negative]) @ np.float64(queries[query]))
            by_query.setdefault(query, []).append(value)
        return {query: sorted(values) for query, values in by_query.items()}

    own, others = cosines(ours), cosines(theirs)
    pairs = [
        abs(a - b)
        for query, values in own.items()
        if len(values) == len(others.get(query, ()))
        for a, b in zip(values, others[query], strict=True)
    ]
    return {
        "rows": found.num_rows,
        "rows_of_peer": wanted.num_rows,
        "not_the_peers": ours.num_rows,
        "only_the_peers": theirs.num_rows,
        "largest_gap": max(pairs, default=0.0),
    }


def memory(out: Path, documents: int, queries: int) -> dict[str, Any]:
    """Peak of anonymous memory of each stage, `inspect --sample` and `audit` among them."""
    place = made(out, documents, queries)
    stages = bench_scale.dense_stages(place, place / "stages", depth(None), NEGATIVES)
    work = place / "stages"
    shutil.rmtree(work, ignore_errors=True)
    more = {"inspect": ["inspect", work / "decisions", "--sample", 3], "audit": ["audit", work / "decisions"]}
    peaks = {name: bench_scale.command(*line).peak_anonymous_bytes for name, line in {**stages, **more}.items()}
    shutil.rmtree(work)
    return {"documents": documents, "queries": queries, "peak_anonymous_bytes": peaks}


def made(out: Path, documents: int, queries: int) -> Path:
    """The directory of the input, made if it is not there."""
    place = out.absolute() / f"ready-{documents}-{queries}"
    if not (place / "data" / "qrels" / "train.tsv").exists():
        bench_scale.write_vectors(place, documents, queries, words=30)
    return place


if __name__ == "__main__":
    main()
