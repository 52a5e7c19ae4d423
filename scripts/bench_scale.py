"""Time and memory of the whole job as the corpus grows, each command in a process of its own.

    python scripts/bench_scale.py bm25|dense OUT [--documents 10000 100000 1000000 10000000] [--queries 200000] [-k 100]
        [--ann auto] [--json FILE] [--plot FILE.svg]

`bm25`: synthetic text, drawn with a seed: words of a Zipf-Mandelbrot law, 30 a document on average; a query is six
different words of its positive. `ingest`, `index bm25` and `mine` run one after the other over each corpus.

`dense`: ready-made vectors of 64 dimensions in heaps, a query near its positive, short texts. `ingest`, `index dense`,
`mine`, `filter` and `export` of 5 negatives run one after the other.

Memory is anonymous resident memory (RssAnon of /proc/PID/status, Linux), summed over the process and all that it
started, looked at every 50 ms: what is mapped from disk is the system's to keep or to drop. Seconds are processor
seconds, user and system, beside which the wall's are told. Data and artefacts of a corpus are removed when it is
measured, unless --keep. One JSON object on stdout, and in --json FILE.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import hnmine

STEP = 0.05
"""Seconds between two looks at the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a command took: seconds, and bytes of anonymous resident memory at its peak."""

    processor_seconds: float
    wall_seconds: float
    peak_anonymous_bytes: int


def anonymous_memory(pid: int) -> int:
    """Bytes of anonymous resident memory of a process and all its descendants; 0 of one that has ended."""
    total = 0
    for own in family(pid):
        try:
            status = Path(f"/proc/{own}/status").read_text()
        except OSError:
            continue
        total += sum(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon:"))
    return total


def family(pid: int) -> Iterator[int]:
    """The process and its descendants; not one that is being started, and has the memory of its parent until then."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found = children.read_text().split()
        except OSError:
            continue
        for child in found:
            if sizes(int(child)) != sizes(pid):
                yield from family(int(child))


def sizes(pid: int) -> str:
    """The kernel's numbers about the memory of a process; empty of one that has ended."""
    try:
        return Path(f"/proc/{pid}/statm").read_text()
    except OSError:
        return ""


def spend(line: Sequence[object]) -> Spent:
    """Run a command to its end and tell what it took; `CalledProcessError` if it fails."""
    began = time.monotonic()
    process = subprocess.Popen([str(word) for word in line], stdout=subprocess.DEVNULL)
    peak, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.is_set():
            peak = max(peak, anonymous_memory(process.pid))
            ended.wait(STEP)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)  # the usage of this command and of what it waited for
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        ended.set()
        watcher.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, [str(word) for word in line])
    return Spent(
        processor_seconds=round(usage.ru_utime + usage.ru_stime, 2),
        wall_seconds=round(time.monotonic() - began, 2),
        peak_anonymous_bytes=peak,
    )


def command(*arguments: object) -> Spent:
    """One hnmine command, measured."""
    return spend([sys.executable, "-m", "hnmine", *arguments, "--quiet"])


def machine() -> dict[str, Any]:
    """What was measured on."""
    packages = ("numpy", "numba", "pyarrow")
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "load": [round(load, 1) for load in os.getloadavg()],
        "versions": {"hnmine": hnmine.__version__, **{name: version(name) for name in packages}},
    }


# BM25 over synthetic text.

WORDS = 2_000_000
SHIFT = 20.0
"""Of the Zipf-Mandelbrot law 1 / (rank + SHIFT): a tenth of the documents has the first word, as without stop words."""
LENGTH = 30
ASKED = 6
_CHUNK = 50_000


def words() -> list[str]:
    """The words from the most frequent on: w and the rank in hexadecimal, so that frequent words are short."""
    return [f"w{rank:x}" for rank in range(WORDS)]


def write_text(folder: Path, documents: int, queries: int) -> None:
    """A BEIR directory; equal sizes give equal files."""
    draw = np.random.default_rng(0)
    named = np.array(words(), object)
    shares = np.cumsum(1 / (np.arange(WORDS) + SHIFT))
    shares /= shares[-1]
    asking = np.sort(draw.choice(documents, min(queries, documents), replace=False))
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    with (
        (folder / "corpus.jsonl").open("w") as corpus,
        (folder / "queries.jsonl").open("w") as asked,
        (folder / "qrels" / "train.tsv").open("w") as judged,
    ):
        judged.write("query-id\tcorpus-id\tscore\n")
        for start in range(0, documents, _CHUNK):
            size = min(_CHUNK, documents - start)
            lengths = ASKED + draw.poisson(LENGTH - ASKED, size)
            text = named[np.searchsorted(shares, draw.random(int(lengths.sum())))].tolist()
            ends = np.cumsum(lengths).tolist()
            lines = [text[end - length : end] for end, length in zip(ends, lengths.tolist(), strict=True)]
            corpus.writelines(
                f'{{"_id": "d{row}", "text": "{" ".join(line)}"}}\n' for row, line in enumerate(lines, start)
            )
            for row in asking[slice(*np.searchsorted(asking, [start, start + size]))].tolist():
                distinct = list(dict.fromkeys(lines[row - start]))
                own = draw.permutation(len(distinct))[:ASKED].tolist()
                asked.write(f'{{"_id": "q{row}", "text": "{" ".join(distinct[place] for place in own)}"}}\n')
                judged.write(f"q{row}\td{row}\t1\n")


def bm25(out: Path, documents: int, queries: int, k: int, *, keep: bool) -> dict[str, Any]:
    """What the three commands take over one corpus; `mine` for one query, too, which is its start-up."""
    place = out / f"bm25-{documents}-{queries}"
    data, collection, index = place / "data", place / "collection", place / "index"
    try:
        if not (data / "qrels" / "train.tsv").exists():
            write_text(data, documents, queries)
        spent = {
            "ingest": command("ingest", data, "-o", collection),
            "index": command("index", "bm25", collection, "-o", index, "--language", "none"),
        }
        line = ["mine", collection, "--index", index, "--top-k", k]
        command(*line, "-o", place / "warm", "--limit", 1)  # compiles, and reads the index
        spent["mine one"] = command(*line, "-o", place / "one", "--limit", 1)
        spent["mine"] = command(*line, "-o", place / "candidates")
        counts = json.loads((place / "candidates" / "manifest.json").read_text())["counts"]
    finally:
        if not keep:
            shutil.rmtree(place, ignore_errors=True)
    beyond = spent["mine"].processor_seconds - spent["mine one"].processor_seconds
    return {
        "documents": documents,
        "queries": counts["queries"],
        "candidates": counts["candidates"],
        "milliseconds_a_query": round(1000 * beyond / counts["queries"], 4),
        "stages": {name: asdict(own) for name, own in spent.items()},
    }


# Dense over ready-made vectors.

DIMENSION = 64
_HEAPS = 500
_SYLLABLES = ("ka", "lo", "mi", "ren", "tas", "vu", "pel", "dor", "shi", "ban")
_ROWS = 65_536


def write_vectors(folder: Path, documents: int, queries: int, *, words: int) -> None:
    """`data`, a BEIR directory, `documents.npy` and `queries.npy` (float32, unit length); equal sizes give equal files.

    A document has `words` words, a query a third of that, 5 at least, and then the number of its row, by which alone
    texts are sure to differ. A query's vector has a cosine of about 0.9 to its positive's.
    """
    draw = np.random.default_rng(0)
    (folder / "data" / "qrels").mkdir(parents=True, exist_ok=True)
    known = np.array([a + b + c for a in _SYLLABLES for b in _SYLLABLES for c in _SYLLABLES], object)
    for name, prefix, count, width in (
        ("corpus", "d", documents, words),
        ("queries", "q", queries, max(words // 3, 5)),
    ):
        with (folder / "data" / f"{name}.jsonl").open("w", encoding="utf-8") as lines:
            for start in range(0, count, _ROWS):
                texts = known[draw.integers(0, len(known), (min(_ROWS, count - start), width))].tolist()
                lines.writelines(
                    f'{{"_id": "{prefix}{row:08d}", "text": "{" ".join(text)} {row}"}}\n'
                    for row, text in enumerate(texts, start)
                )
    heaps = draw.standard_normal((_HEAPS, DIMENSION), dtype=np.float32)
    positives = draw.integers(0, documents, queries)
    found: Any = None
    for name, count in (("documents", documents), ("queries", queries)):
        vectors = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, (count, DIMENSION))
        for start in range(0, count, _ROWS):
            size = min(_ROWS, count - start)
            noise = draw.standard_normal((size, DIMENSION), dtype=np.float32)
            if found is None:
                own = heaps[draw.integers(0, _HEAPS, size)] + np.float32(0.7) * noise
            else:
                own = found[positives[start : start + size]] + np.float32(0.06) * noise
            vectors[start : start + size] = own / np.linalg.norm(own, axis=1, keepdims=True)
        found = vectors
    with (folder / "data" / "qrels" / "train.tsv").open("w", encoding="utf-8") as judged:
        judged.write("query-id\tcorpus-id\tscore\n")
        judged.writelines(f"q{query:08d}\td{row:08d}\t1\n" for query, row in enumerate(positives.tolist()))


def dense_stages(place: Path, work: Path, k: int, negatives: int, ann: str = "auto") -> dict[str, list[object]]:
    """The commands from the files in `place` to a training file below `work`."""
    collection, index, candidates, decisions = (
        work / name for name in ("collection", "index", "candidates", "decisions")
    )
    ready = ["--vectors", place / "documents.npy", "--query-vectors", place / "queries.npy"]
    return {
        "ingest": ["ingest", place / "data", "-o", collection],
        "index": ["index", "dense", collection, "-o", index, *ready, "--ann", ann],
        "mine": ["mine", collection, "--index", index, "--top-k", k, "-o", candidates],
        "filter": ["filter", candidates, "-o", decisions, "--no-margin", "-n", negatives],
        "export": ["export", decisions, "-o", work / "triplets.parquet"],
    }


def dense(out: Path, documents: int, queries: int, k: int, *, ann: str, keep: bool) -> dict[str, Any]:
    """What the commands take over one corpus; `mine` of 1 % of the queries, too, whose difference is the search."""
    place = out.absolute() / f"dense-{documents}-{queries}"
    try:
        if not (place / "data" / "qrels" / "train.tsv").exists():
            write_vectors(place, documents, queries, words=8)
        lines = dense_stages(place, place, k, 5, ann)
        spent = {name: command(*lines[name]) for name in ("ingest", "index")}
        few = max(queries // 100, 1)
        spent["mine few"] = command(*lines["mine"][:-1], place / "few", "--limit", few)
        spent |= {name: command(*lines[name]) for name in ("mine", "filter", "export")}
        counts = json.loads((place / "candidates" / "manifest.json").read_text())["counts"]
    finally:
        if not keep:
            shutil.rmtree(place, ignore_errors=True)
    beyond = spent["mine"].processor_seconds - spent["mine few"].processor_seconds
    return {
        "documents": documents,
        "queries": counts["queries"],
        "candidates": counts["candidates"],
        "milliseconds_a_query": round(1000 * beyond / (counts["queries"] - few), 4),
        "stages": {name: asdict(own) for name, own in spent.items()},
    }


def plot(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Time a query and peak memory against the number of documents; the line of linear growth beside them."""
    import matplotlib
    from matplotlib.figure import Figure

    sizes = [one["documents"] for one in results]
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    times = [one["milliseconds_a_query"] for one in results]
    left.loglog(sizes, times, "o-", label="mine")
    left.loglog(sizes, [times[0] * size / sizes[0] for size in sizes], ":", color="grey", label="linear")
    left.set_ylabel("processor milliseconds a query")
    for stage in (name for name in results[0]["stages"] if " " not in name):
        right.loglog(sizes, [one["stages"][stage]["peak_anonymous_bytes"] / 1e9 for one in results], "o-", label=stage)
    right.set_ylabel("peak anonymous memory, GB")
    for axes in (left, right):
        axes.set_xlabel("documents")
        axes.legend()
    with matplotlib.rc_context({"svg.hashsalt": "hnmine"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["bm25", "dense"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--documents", type=int, nargs="+", default=[10_000, 100_000, 1_000_000, 10_000_000])
    parser.add_argument("--queries", type=int, default=200_000, help="For bm25 at most one a document.")
    parser.add_argument("-k", type=int, default=100)
    parser.add_argument("--ann", default="auto", help="How `dense` searches, as for `hnmine index dense`.")
    parser.add_argument("--keep", action="store_true", help="Leave data and artefacts in OUT.")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    results = []
    for documents in given.documents:
        place, queries, k = given.out, given.queries, given.k
        if given.what == "bm25":
            results.append(bm25(place, documents, queries, k, keep=given.keep))
        else:
            results.append(dense(place, documents, queries, k, ann=given.ann, keep=given.keep))
        print(json.dumps(results[-1]), file=sys.stderr, flush=True)
    report = {"machine": machine(), "k": given.k, given.what: results}
    text = json.dumps(report, indent=1)
    print(text)
    if given.json is not None:
        given.json.write_text(text + "\n")
    if given.plot is not None:
        plot(results, given.plot)


if __name__ == "__main__":
    main()
