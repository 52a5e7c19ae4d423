"""What `run --append` saves when a collection has grown, and whether its bytes are those of a run without.

    python scripts/bench_append.py OUT [--data stdlib] [--share 0.9] [--grows both|documents|queries] [--rounds 3]
        [--json FILE] [-- options of `hnmine run`]

DATA is ingested and cut: the first --share of its documents, of its queries, or of both, in their order, is what was
there before; all of it is what there is now. The old state is run once. Then, in turn and each as a process of its own,
the new state is run whole and with `--append`. A ratio is the median over rounds of the appended run's seconds over the
whole run's. Seconds are processor seconds (user and system), so that other work on the machine hardly matters; wall
seconds are given too. `made` is how many rows were in blocks that were made, of how many; every artefact and the
training file are compared byte for byte, and a difference ends the script.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

STAGES = {"index bm25": "indexes/bm25", "index dense": "indexes/*", "mine": "candidates", "score": "scored"}
"""Stages that take blocks over, and where a run keeps what they made."""


def main() -> None:
    """Cut the data, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", default="stdlib")
    parser.add_argument("--share", type=float, default=0.9)
    parser.add_argument("--grows", choices=("both", "documents", "queries"), default="both")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    own, options = sys.argv[1:], []
    if "--" in own:
        own, options = own[: own.index("--")], own[own.index("--") + 1 :]
    given = parser.parse_args(own)
    sizes = make_input(given.data, given.out, given.share, given.grows)
    results = {**measure(given.out, given.rounds, options), "sizes": sizes, "machine": machine()}
    for line in table(results):
        print(line)
    if given.json is not None:
        given.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def make_input(data: str, out: Path, share: float, grows: str) -> dict[str, dict[str, int]]:
    """Write `out`/old-data and `out`/new-data as BEIR directories; returns their documents and queries."""
    import pyarrow.parquet as pq

    import hnmine

    whole = out / "whole"
    hnmine.ingest(data, whole)
    tables = {name: pq.read_table(whole / name).to_pylist() for name in ("documents", "queries", "qrels")}
    sizes = {}
    for state, part in (("old", share), ("new", 1.0)):
        cut = {
            name: tables[name][: round(len(tables[name]) * (part if grows in ("both", name) else 1.0))]
            for name in ("documents", "queries")
        }
        folder = out / f"{state}-data"
        (folder / "qrels").mkdir(parents=True, exist_ok=True)
        documents = [{"_id": row["doc_id"], "title": row["title"], "text": row["text"]} for row in cut["documents"]]
        queries = [{"_id": row["query_id"], "text": row["text"]} for row in cut["queries"]]
        for name, rows in (("corpus", documents), ("queries", queries)):
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        known = {row["_id"] for row in documents}, {row["_id"] for row in queries}
        lines = [
            f"{row['query_id']}\t{row['doc_id']}\t{row['grade']}"
            for row in tables["qrels"]
            if row["doc_id"] in known[0] and row["query_id"] in known[1]
        ]
        (folder / "qrels" / "train.tsv").write_text(
            "\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n", encoding="utf-8"
        )
        sizes[state] = {"documents": len(documents), "queries": len(queries)}
    return sizes


def measure(out: Path, rounds: int, options: list[str]) -> dict[str, Any]:
    """Run the old state once, then the new one in both ways; returns seconds, ratios and what was made."""
    run(out, "old", options, [])
    found: dict[str, list[dict[str, Any]]] = {"plain": [], "appended": []}
    for number in range(rounds):
        for way in ("plain", "appended") if number % 2 == 0 else ("appended", "plain"):
            found[way].append(run(out, way, options, ["--append", str(out / "old")] if way == "appended" else []))
        require_equal(out / "plain", out / "appended")
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    pairs = list(zip(found["appended"], found["plain"], strict=True))
    stages = {
        stage: {
            **made(out / "appended", out / "plain", STAGES.get(stage)),
            "ratio": statistics.median(a["stages"][stage] / p["stages"][stage] for a, p in pairs),
        }
        for stage in found["plain"][0]["stages"]
    }
    return {
        "rounds": rounds,
        "options": options,
        "runs": found,
        "stages": stages,
        "ratio_processor": statistics.median(a["processor"] / p["processor"] for a, p in pairs),
        "ratio_wall": statistics.median(a["wall"] / p["wall"] for a, p in pairs),
    }


def run(out: Path, way: str, options: list[str], more: list[str]) -> dict[str, Any]:
    """One `hnmine run` in a process of its own: processor and wall seconds, and the wall seconds of every stage."""
    target = out / way
    shutil.rmtree(target, ignore_errors=True)
    data = out / ("old-data" if way == "old" else "new-data")
    command = [sys.executable, "-m", "hnmine", "run", str(data), "-o", str(target), "--json", "-q", *options, *more]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    summaries = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "processor": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "wall": wall,
        "stages": {name: summary["seconds"] for name, summary in summaries.items()},
        "taken_over": {name: summary["blocks"]["taken_over"] for name, summary in summaries.items()},
    }


def require_equal(one: Path, other: Path) -> None:
    """End the script unless two runs are equal in every byte but those of the `run.json`."""
    files = [
        {path.relative_to(place): path for path in place.rglob("*") if path.is_file() and path.name != "run.json"}
        for place in (one, other)
    ]
    wrong = sorted(str(name) for name in files[0].keys() ^ files[1].keys())
    wrong += [str(name) for name, path in files[0].items() if name in files[1] and not same(path, files[1][name])]
    if wrong:
        sys.exit(f"{one} and {other} differ: {', '.join(wrong[:10])}")


def same(one: Path, other: Path) -> bool:
    """Whether two files have the same bytes."""
    return one.samefile(other) or one.read_bytes() == other.read_bytes()


def made(appended: Path, plain: Path, place: str | None) -> dict[str, int]:
    """Rows in the blocks of a stage, and in those that were not taken over; empty where a stage makes everything."""
    found = {"rows": 0, "made": 0}
    for manifest in sorted(appended.glob(f"{place}/manifest.json")) if place else ():
        kind = json.loads(manifest.read_text(encoding="utf-8"))["kind"]
        if (place == "indexes/*") != (kind == "index-dense"):
            continue
        before = manifest.parent.relative_to(appended)
        then = json.loads((plain.parent / "old" / before / "manifest.json").read_text(encoding="utf-8"))["blocks"]
        for name, block in json.loads(manifest.read_text(encoding="utf-8"))["blocks"].items():
            rows = int(block["counts"].get("queries" if place == "candidates" else name.rsplit("-", 1)[0], 0))
            rows = rows or sum(block["files"].values())
            found["rows"] += rows
            is_taken = then.get(name, {}).get("made_from") == block["made_from"]
            found["made"] += 0 if is_taken else rows
    return found if found["rows"] else {}


def table(results: dict[str, Any]) -> list[str]:
    """The results as a Markdown table."""
    lines = ["| stage | rows made | of | time, whole run = 1 |", "|---|---|---|---|"]
    for name, stage in results["stages"].items():
        rows = f"{stage['made']:,} | {stage['rows']:,}" if "rows" in stage else "all |"
        lines.append(f"| `{name}` | {rows} | {stage['ratio']:.2f} |")
    lines.append(f"| whole run, processor time | | | {results['ratio_processor']:.2f} |")
    lines.append(f"| whole run, wall time | | | {results['ratio_wall']:.2f} |")
    return lines


def machine() -> dict[str, Any]:
    """The machine and the versions that count."""
    found = {}
    for name in ("hnmine", "numpy", "pyarrow", "torch", "sentence-transformers", "faiss-cpu"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    cpu = next((line for line in _cpu_lines() if line.startswith("model name")), platform.processor())
    return {
        "platform": platform.platform(),
        "processor": cpu.partition(":")[2].strip() or cpu,
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "versions": found,
    }


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


if __name__ == "__main__":
    main()
