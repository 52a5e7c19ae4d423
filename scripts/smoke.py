"""Runs the installed `hnmine` on a tiny collection and on the standard library, without models, and checks the results.

Usage: python smoke.py HNMINE, in a writable directory that is not the source tree. Needs nothing but hnmine itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TOPICS = ("granite is a rock", "oak is a tree", "trout is a fish", "hail is weather", "rye is a grain")


def command(*arguments: str, code: int = 0) -> str:
    done = subprocess.run([sys.argv[1], *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != code:
        sys.exit(f"hnmine {' '.join(arguments)}: exit {done.returncode}, not {code}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def tiny(folder: Path) -> None:
    """A BEIR directory: 25 documents, 5 queries with one positive each."""
    (folder / "qrels").mkdir(parents=True)
    documents = [
        {"_id": f"d{i}-{j}", "title": "", "text": f"{topic}, number {j}"}
        for i, topic in enumerate(TOPICS)
        for j in range(5)
    ]
    queries = [{"_id": f"q{i}", "text": f"{topic} number 0"} for i, topic in enumerate(TOPICS)]
    for name, rows in (("corpus", documents), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    lines = "".join(f"q{i}\td{i}-0\t1\n" for i in range(len(TOPICS)))
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines, encoding="utf-8")


def check(condition: bool, what: str) -> None:
    if not condition:
        sys.exit(f"smoke test: {what}")


def main() -> None:
    import pyarrow.parquet as pq

    import hnmine

    check("site-packages" in str(hnmine.__file__), "the installed package is tested, not a source tree")
    tiny(Path("tiny"))
    summary = json.loads(command("run", "tiny", "-o", "out", "--no-dense", "-n", "2", "--json"))
    check(summary["filter"]["counts"]["queries"] == len(TOPICS), "every query is decided")
    triplets = pq.read_table("out/triplets.parquet")
    check(triplets.column_names == ["anchor", "positive", "negative"], f"columns {triplets.column_names}")
    check(triplets.num_rows == 2 * len(TOPICS), f"{triplets.num_rows} triplets")
    check(all(p != n for p, n in zip(triplets["positive"], triplets["negative"], strict=True)), "p is not n")
    for part in ("collection", "indexes/bm25", "candidates", "decisions", "export"):
        hnmine.Artefact.open(Path("out") / part)
    command("inspect", "out", "--sample", "2")

    stdlib = json.loads(command("run", "stdlib", "--sample", "0.1", "--no-dense", "-o", "stdlib.parquet", "--json"))
    found, rows = stdlib["ingest"]["counts"], pq.read_metadata("stdlib.parquet").num_rows
    check(found["documents"] > 500 and rows > 500, f"stdlib: {found['documents']} documents, {rows} triplets")

    command("run", "tiny", "-o", "with-models", code=5)
    check(not Path("with-models").exists(), "a missing package is told before anything is written")
    command("index", "dense", "out", "-o", "dense", code=5)
    check("pip install 'hnmine[dense]'" in command("doctor"), "doctor names the extra that is missing")
    print(f"smoke test of hnmine {hnmine.__version__}: {triplets.num_rows} + {rows:,} triplets, artefacts intact")


if __name__ == "__main__":
    main()
