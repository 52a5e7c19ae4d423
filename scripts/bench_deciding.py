"""How fast candidates are decided and exported, beyond the start-up, and what a new margin costs.

    python scripts/bench_deciding.py OUT [--data stdlib] [--repeat 3] [--against CHECKOUT]

Makes, once, a collection of pieces of the standard library's source with ready-made vectors, and mines it by BM25 and
by the vectors twice: for a quarter of the queries, and for all. Then, --repeat times in turn and each in a process of
its own, `filter` and `export` on both; what lies between the two, by processor time (user and system), is the rate
beyond the start-up. A machine that is busy is slower by processor time too, so the rate of `filter` also comes as a
multiple of a fixed piece of work, measured between the runs: NumPy's lexsort of (query, score) over as many rows.

`export` reads all candidates to write those that were picked, 7 of about 190 a query by default. So it is also told for
40 a query, where the writing of text has more of a share.

`new_margin_share` is the time of the whole `filter --relative-margin 0.1` over that of index + mine, here with vectors
that cost nothing; with --data DATA it is also told for that, indexed by BM25 and the default model (once; OUT keeps
them).

--against names the root of another checkout of hnmine, which is measured in turn with this one on the same candidates:
`*_speed_up` is its time beyond the start-up over ours.
Medians; OUT/results.json has everything.
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
import sysconfig
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import hnmine

DIMENSION = 64
SMALL, LARGE = "small", "large"
OTHER = "other "
"""Before what the other checkout wrote and took."""
WIDE = 40
"""Negatives a query, for a training file in which there is more to write than to read."""


def main() -> None:
    """Make the input if it is not there, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--data", help="as for hnmine: its candidates are given a new margin, too")
    parser.add_argument("--sample", help="of --data, as for hnmine ingest")
    parser.add_argument("--against", type=Path, help="another checkout of hnmine, measured in turn")
    given = parser.parse_args()
    mining = make_input(given.out, given.documents, given.queries)
    results = measure(given.out, given.repeat, mining, given.against)
    if given.data is not None:
        results["data"] = new_margin(given.out / "data-run", given.data, given.sample, given.repeat)
    results["machine"] = {
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "versions": {"hnmine": hnmine.__version__, "numpy": np.__version__, "pyarrow": pa.__version__},
    }
    (given.out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    for name, value in results.items():
        if isinstance(value, (int, float)):
            print(f"{name:38} {value:,.3f}")
    print(json.dumps({name: value for name, value in results.items() if isinstance(value, dict)}))


def make_input(out: Path, documents: int, queries: int) -> float:
    """Collection, indexes and both tables of candidates below `out`; returns the processor seconds of index + mine."""
    done = out / "mining.json"
    if done.exists():
        return float(json.loads(done.read_text())["seconds"])
    out.mkdir(parents=True, exist_ok=True)
    vectors = write_data(out, documents, queries)
    hnmine.ingest(out / "data", out / "collection")
    began = time.process_time()
    hnmine.index_bm25(out / "collection", out / "bm25")
    hnmine.index_dense(out / "collection", out / "dense", options=vectors)
    indexes = [out / "bm25", out / "dense"]
    hnmine.mine(out / "collection", out / LARGE, indexes=indexes)
    seconds = time.process_time() - began
    hnmine.mine(out / "collection", out / SMALL, indexes=indexes, options=hnmine.MineOptions(limit=queries // 4))
    done.write_text(json.dumps({"seconds": seconds}))
    return seconds


def write_data(out: Path, documents: int, queries: int) -> hnmine.DenseOptions:
    """Pieces of source of 200 to 600 characters; a query is 60 characters of the piece that is its positive."""
    places = Path(sysconfig.get_path("stdlib")).rglob("*.py")
    sources = [path for path in sorted(places) if "site-packages" not in path.parts]
    text = "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in sources)
    draw = np.random.default_rng(0)
    step = (len(text) - 600) // documents
    lengths = draw.integers(200, 600, documents).tolist()
    pieces = [text[i * step : i * step + length] for i, length in enumerate(lengths)]
    positives = draw.choice(documents, queries, replace=False)
    folder = out / "data"
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    with open(folder / "corpus.jsonl", "w", encoding="utf-8") as stream:
        for i, piece in enumerate(pieces):
            stream.write(json.dumps({"_id": f"document-{i:07d}", "text": f"{piece} {i}"}) + "\n")
    with open(folder / "queries.jsonl", "w", encoding="utf-8") as stream:
        for i, (row, start) in enumerate(zip(positives.tolist(), draw.integers(0, 100, queries).tolist(), strict=True)):
            query = f"{pieces[row][start : start + 60].strip()} {i}"
            stream.write(json.dumps({"_id": f"query-{i:07d}", "text": query}) + "\n")
    lines = [f"query-{i:07d}\tdocument-{row:07d}\t1\n" for i, row in enumerate(positives.tolist())]
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines), encoding="utf-8")
    centres = draw.standard_normal((500, DIMENSION))
    found = centres[np.arange(documents) * 500 // documents] + 0.7 * draw.standard_normal((documents, DIMENSION))
    asked = found[positives] + 0.9 * draw.standard_normal((queries, DIMENSION))
    for name, values in (("documents", found), ("queries", asked)):
        np.save(out / f"{name}.npy", (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32))
    return hnmine.DenseOptions(vectors=str(out / "documents.npy"), query_vectors=str(out / "queries.npy"))


def measure(out: Path, repeat: int, mining: float, against: Path | None = None) -> dict[str, Any]:
    """All figures of the made input."""
    rows = {
        name: int(json.loads((out / name / "manifest.json").read_text())["counts"]["candidates"])
        for name in (SMALL, LARGE)
    }
    times: dict[str, list[float]] = {}
    sides: list[tuple[str, Path | None]] = [("", None)] if against is None else [(OTHER, against), ("", None)]

    def note(name: str, seconds: float) -> None:
        times.setdefault(name, []).append(seconds)

    def export(side: str, root: Path | None, name: str) -> None:
        file = out / f"{side}{name}.parquet"
        for old in (file, out / f"{side}{name}.ids.parquet"):
            old.unlink(missing_ok=True)
        fresh(out / f"{side}{name}.hnmine")
        note(f"{side}export {name}", command("export", out / f"{side}{name}-decisions", "-o", file, root=root))

    for side, root in sides:
        for name in (SMALL, LARGE):
            target = fresh(out / f"{side}wide-{name}-decisions")
            command("filter", out / name, "-o", target, "--num-negatives", WIDE, root=root)
    for _ in range(repeat):
        for name in (SMALL, LARGE):
            for side, root in sides:
                target = fresh(out / f"{side}{name}-decisions")
                note(f"{side}filter {name}", command("filter", out / name, "-o", target, root=root))
                export(side, root, name)
                export(side, root, f"wide-{name}")
            note(f"lexsort {name}", lexsort(rows[name]))
        margin = ("--relative-margin", "0.1")
        note("new margin", command("filter", out / LARGE, "-o", fresh(out / "margin"), *margin))
        note("one query", command("filter", out / SMALL, "-o", fresh(out / "one"), "--limit", "1"))
        note("help", command("--help"))
    middle = {name: statistics.median(values) for name, values in times.items()}
    text = {name: megabytes(out / f"{name}.parquet") for size in (SMALL, LARGE) for name in (size, f"wide-{size}")}

    def beyond(what: str) -> float:
        return middle[f"{what}{LARGE}"] - middle[f"{what}{SMALL}"]

    many = rows[LARGE] - rows[SMALL]
    speed_ups = {
        f"{what.strip().replace(' ', '_').removesuffix('-')}_speed_up": beyond(f"{OTHER}{what}") / beyond(what)
        for what in ("filter ", "export ", "export wide-")
        if against is not None
    }
    return {
        "rows": float(rows[LARGE]),
        "filter_rows_per_second": many / beyond("filter "),
        "filter_rows_per_second_with_start_up": rows[LARGE] / middle[f"filter {LARGE}"],
        "filter_over_lexsort": beyond("filter ") / beyond("lexsort "),
        "export_megabytes_per_second": (text[LARGE] - text[SMALL]) / beyond("export "),
        "export_megabytes": text[LARGE],
        "export_wide_megabytes_per_second": (text[f"wide-{LARGE}"] - text[f"wide-{SMALL}"]) / beyond("export wide-"),
        "export_wide_megabytes": text[f"wide-{LARGE}"],
        "new_margin_share": middle["new margin"] / mining,
        "seconds_filter_one_query": middle["one query"],
        "seconds_help": middle["help"],
        **speed_ups,
        "times": times,
    }


def new_margin(place: Path, data: str, sample: str | None, repeat: int) -> dict[str, Any]:
    """Processor seconds of a new margin for the candidates of some data, and its share of index + mine."""
    collection, indexes = place / "collection", [place / "bm25", place / "dense"]
    done = place / "mining.json"
    if not done.exists():
        command("ingest", data, "-o", collection, *(["--sample", sample] if sample else []))
        spent = [command("index", path.name, collection, "-o", path) for path in indexes]
        named = [word for path in indexes for word in ("--index", path)]
        spent.append(command("mine", collection, *named, "-o", place / "candidates"))
        done.write_text(json.dumps({"seconds": sum(spent)}))
    mining = float(json.loads(done.read_text())["seconds"])
    target = place / "decisions"
    margin = ("--relative-margin", "0.1")
    seconds = [command("filter", place / "candidates", "-o", fresh(target), *margin) for _ in range(repeat)]
    middle = statistics.median(seconds)
    rows = int(json.loads((place / "candidates" / "manifest.json").read_text())["counts"]["candidates"])
    return {
        "data": data,
        "rows": rows,
        "index_and_mine_seconds": mining,
        "filter_seconds": middle,
        "share": middle / mining,
    }


def command(*arguments: object, root: Path | None = None) -> float:
    """Processor seconds, user and system, of one command of the hnmine in `root`, or of this one."""
    root = root or Path(hnmine.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root.resolve())}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    line = [sys.executable, "-P", "-m", "hnmine", *map(str, arguments)]  # -P: not the one in the current directory
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def lexsort(rows: int) -> float:
    """Processor seconds of sorting `rows` float64 scores by (query, score), 100 rows a query."""
    owner: npt.NDArray[np.int64] = np.arange(rows) // 100
    scores = np.random.default_rng(0).random(rows)
    began = time.process_time()
    np.lexsort((scores, owner))
    return time.process_time() - began


def megabytes(file: Path) -> float:
    """The text in a training file, in MB (10^6 bytes), repeats counted."""
    table = pq.read_table(file)
    return sum(pc.sum(pc.binary_length(column)).as_py() for column in table.columns) / 1e6


def fresh(path: Path) -> Path:
    """The path, with nothing there."""
    shutil.rmtree(path, ignore_errors=True)
    return path


if __name__ == "__main__":
    main()
