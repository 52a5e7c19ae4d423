"""How work grows with workers: weak scaling as measured, and a simulation of larger clusters from measured blocks.

    python scripts/bench_scaling.py OUT [--documents 65536] [--queries 4096] [--workers 1 2] [--rounds 3]
        [--model DIR] [--bandwidth 10e9] [--link 1e9] [--encode-rate RATE] [--json FILE] [--markdown FILE] [--plot FILE]

`weak`: the same work a worker with `--executor local:1`, `local:2`, ...: documents for the indexes, queries for the
rest; every command a process of its own, one thread a worker. Efficiency is the seconds of one worker over those of
more, median over alternating rounds; of wall seconds, and of processor seconds a worker, which tell of more work and of
slower memory, but take no notice of other jobs of the machine.

`blocks`: every stage in this process with --documents and with twice as many: processor seconds before the first block,
of each block and after the last, bytes written. What grows is a line through the two sizes. Blocks are measured a
quarter as large as they are and taken to grow with their rows.

`simulation`: a million to a billion documents, --mined queries, on 1 to 1,024 workers, by `cluster_simulation.py`.
Assumed are the bandwidth of the storage (to all, to one worker) and, if given, texts a second that a GPU encodes;
everything else is measured. `limits` tells how many files, how much memory and disk a size takes.

One JSON object on stdout, and in --json FILE; the page's tables in --markdown FILE.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing import connection as connections
from pathlib import Path
from typing import Any

import numpy as np

import hnmine
from hnmine.execute.dealing import Answer, Worker, deal
from hnmine.execute.local import Block, Execution, StopFlag
from hnmine.execute.progress import Silent
from hnmine.files.artefact import Artefact
from hnmine.files.collection import Collection
from hnmine.stages import filter as filter_stage
from hnmine.stages import index_bm25, index_dense, indexes
from hnmine.stages import search as search_stage
from hnmine.stages.stage import Stage

sys.path.insert(0, str(Path(__file__).parent))
import bench_scale
from cluster_simulation import Cluster, Line, Took, Work, simulate, spread_like

SIZES = (10**6, 10**7, 10**8, 10**9)
WORKERS = (1, 4, 16, 64, 256, 1024)
K = 100
NEGATIVES = 5
SLICED = (1, 4)
"""How many slices measured searches are cut into."""
PARTS = 4
"""Blocks a worker has in weak scaling, and the smallest number of measured ones."""


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--documents", type=int, default=65_536, help="a worker; simulated from this and twice as many")
    parser.add_argument("--queries", type=int, default=4_096)
    parser.add_argument("--texts", type=int, default=512, help="a worker, to encode")
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--mined", type=float, default=1e6, help="queries of the simulated collections")
    parser.add_argument("--bandwidth", type=float, default=10e9, help="bytes a second of the storage, to all workers")
    parser.add_argument("--link", type=float, default=1e9, help="bytes a second of the storage, to one worker")
    parser.add_argument("--encode-rate", type=float, help="texts a second that a worker with a GPU encodes")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--plot", type=Path)
    return parser.parse_args()


# Measured: one process.


class Clock(Silent):
    """Processor seconds and bytes written when the first block begins and after each."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, int]] = []
        self.units: list[int] = []

    def start(self, label: str, total: int | None, done: int, unit: str) -> None:
        """The first block begins."""
        self.marks.append((time.process_time(), written()))

    def advance(self, units: int) -> None:
        """A block is done."""
        self.marks.append((time.process_time(), written()))
        self.units.append(units)


def written() -> int:
    """Bytes that this process has written to files so far; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("wchar:")), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run of a stage: processor seconds before the first block, of each, after the last; of its blocks, rows and
    bytes written; bytes that stay, and bytes of its manifest.
    """

    head: float
    blocks: list[float]
    tail: float
    rows: list[int]
    written: list[int]
    kept: int = 0
    manifest: int = 0

    @property
    def opening(self) -> float:
        """Seconds that the first block of a process takes more than the others, at the others' rate."""
        if len(self.blocks) < 2:
            return 0.0
        rate = statistics.median(s / r for s, r in zip(self.blocks[1:], self.rows[1:], strict=True))
        return max(0.0, self.blocks[0] - rate * self.rows[0])

    @property
    def seconds_a_row(self) -> list[float]:
        """Of every block but the first, which opens the inputs; of that if there is no other."""
        found = [s / r for s, r in zip(self.blocks, self.rows, strict=True)]
        return found[1:] or found


def measured(action: Callable[[Execution], Any], place: Path) -> Measured:
    """A stage, carried out; `place` is the artefact that it leaves."""
    clock = Clock()
    began = time.process_time()
    action(Execution(progress=clock))
    ended = time.process_time()
    artefact = Artefact.open(place, verify=False)
    (first, _), (last, _) = clock.marks[0], clock.marks[-1]
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(clock.marks, clock.marks[1:], strict=False)]
    return Measured(
        head=first - began,
        blocks=[seconds for seconds, _ in steps],
        tail=ended - last,
        rows=clock.units,
        written=[size for _, size in steps],
        kept=sum(entry["bytes"] for entry in artefact.manifest["files"].values()),
        manifest=(place / "manifest.json").stat().st_size,
    )


@contextmanager
def setting(**values: object) -> Iterator[None]:
    """Environment variables for the duration."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: str(value) for name, value in values.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def blocks_of(rows: int) -> Any:
    """Blocks of at most so many rows."""
    return setting(HNMINE_TEST_BLOCK_SIZE=max(1, rows))


def write_collection(folder: Path, documents: int, queries: int, dimension: int) -> None:
    """`data`, a BEIR directory of synthetic text, and random unit vectors; equal sizes give equal files."""
    bench_scale.write_text(folder / "data", documents, queries)
    draw = np.random.default_rng(1)
    for name, count in (("documents", documents), ("queries", min(queries, documents))):
        vectors = draw.standard_normal((count, dimension), dtype=np.float32)
        np.save(folder / f"{name}.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def measure_blocks(place: Path, documents: int, queries: int, dimension: int) -> dict[str, Any]:
    """Every stage over one collection, by name; `search` and `mine` over one slice and over several."""
    shutil.rmtree(place, ignore_errors=True)
    write_collection(place, documents, queries, dimension)
    collection, text, dense = place / "collection", place / "text", place / "dense"
    flat = hnmine.DenseOptions(
        vectors=str(place / "documents.npy"), query_vectors=str(place / "queries.npy"), ann=hnmine.options.Ann.FLAT
    )
    few = max(1, min(documents, index_bm25.BLOCK) // PARTS)
    asked = max(1, min(queries, indexes.BLOCK) // PARTS)
    found: dict[str, Any] = {}
    began = time.process_time()
    hnmine.ingest(place / "data", collection)
    found["ingest"] = time.process_time() - began

    def stage(name: str, rows: int, target: Path, action: Callable[[Execution], Any]) -> None:
        with tempfile.TemporaryDirectory() as cache, setting(HNMINE_CACHE=cache), blocks_of(rows):
            found[name] = measured(action, target)

    stage(
        "index bm25",
        few,
        text,
        lambda how: hnmine.index_bm25(collection, text, options=hnmine.Bm25Options(language="none"), how=how),
    )
    stage(
        "index dense",
        min(few, index_dense.BLOCK),
        dense,
        lambda how: hnmine.index_dense(collection, dense, options=flat, how=how),
    )
    for slices in SLICED:
        hits = place / f"hits-{slices}"
        for name, index in (("bm25", text), ("dense", dense)):
            target = place / f"{name}-{slices}"
            options = hnmine.SearchOptions(top_k=K, slices=slices)
            stage(
                f"search {name}, {slices}",
                asked,
                target,
                lambda how, t=target, i=index, o=options: hnmine.search(collection, t, indexes=[i], options=o, how=how),
            )
        with blocks_of(asked):
            hnmine.search(collection, hits, indexes=[text, dense], options=hnmine.SearchOptions(top_k=K, slices=slices))
        target = place / f"candidates-{slices}"
        stage(
            f"mine, {slices}",
            asked,
            target,
            lambda how, t=target, h=hits: hnmine.mine(
                collection, t, indexes=[text, dense], options=hnmine.MineOptions(top_k=K), hits=h, how=how
            ),
        )
    half, options = place / "candidates-half", hnmine.MineOptions(top_k=K, limit=max(1, queries // 2))
    stage(
        "mine, half",
        asked,
        half,
        lambda how: hnmine.mine(collection, half, indexes=[text, dense], options=options, hits=hits, how=how),
    )
    rules = hnmine.FilterOptions(no_margin=True, num_negatives=NEGATIVES)
    for which, candidates in (("half", half), ("all", place / "candidates-1")):
        decisions, output = place / f"decisions-{which}", place / f"triplets-{which}"
        stage(
            f"filter, {which}",
            asked,
            decisions,
            lambda how, c=candidates, d=decisions: hnmine.filter(c, d, options=rules, how=how),
        )
        exporting, _ = hnmine.api.prepare_export(decisions, output, options=hnmine.ExportOptions(), collection=None)
        found["export block"] = exporting.block_rows
        stage(f"export, {which}", asked, output, lambda how, d=decisions, o=output: hnmine.export(d, o, how=how))
    opened = Collection.open(collection)
    found["memory a document"] = (opened.tie_order.nbytes + opened.doc_text_keys.nbytes) / documents
    found["collection bytes"] = sum(entry["bytes"] for entry in opened.artefact.manifest["files"].values())
    found["text bytes"] = sum(path.stat().st_size for path in opened.artefact.files("texts/documents-", ".arrow"))
    return found


def starting(stage: Stage) -> float:
    """Wall seconds of a process that gets a stage as workers do, and ends: the median of three."""
    code = "import pickle, sys; pickle.load(sys.stdin.buffer)"
    took = []
    for _ in range(3):
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", code], input=pickle.dumps(stage), check=True)
        took.append(time.monotonic() - began)
    return statistics.median(took)


class _Idle(Worker):
    """A worker that does nothing, behind a socket like those of processes."""

    def __init__(self, asked: deque[_Idle]) -> None:
        ours, theirs = socket.socketpair()
        self.connection = connections.Connection(ours.detach())
        self.other = connections.Connection(theirs.detach())
        self._asked = asked

    def is_ready(self) -> bool:
        return True

    def give(self, block: Block) -> None:
        self._asked.append(self)

    def answer(self) -> Answer | None:
        found: Answer = self.connection.recv()
        return found

    def end(self) -> str:
        self.connection.close()
        self.other.close()
        return ""


def dispatching(workers: int, blocks: int) -> float:
    """Processor seconds a block of the process that deals blocks out, one answer at a time."""
    asked: deque[_Idle] = deque()

    def wait(busy: Sequence[Worker], seconds: float) -> Sequence[Worker]:
        asked.popleft().other.send((None, None))
        of = {worker.connection: worker for worker in busy if isinstance(worker, _Idle)}
        return [of[found] for found in connections.wait(list(of), seconds)]  # type: ignore[index]

    all_blocks = [Block(name=f"b{i}", index=i, size=1) for i in range(workers + blocks)]
    began = time.process_time()
    done = sum(1 for _ in deal(lambda _: _Idle(asked), wait, all_blocks, workers, StopFlag()))
    return (time.process_time() - began) / done


# Measured: one worker beside several.


def weak(out: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Seconds of every command with the same work a worker, round by round, and what of it is efficiency."""
    for count in given.workers:
        place = out / f"weak-{count}"
        shutil.rmtree(place, ignore_errors=True)
        write_collection(place, given.documents * count, given.queries * count, given.dimension)
        bench_scale.write_text(place / "few", given.texts * count, 1)
        for data, name in ((place / "data", "collection"), (place / "few", "few-collection")):
            bench_scale.command("ingest", data, "-o", place / name)
    shared = out / f"weak-{given.workers[0]}"
    text, dense = shared / "text", shared / "dense"
    ready = ["--vectors", shared / "documents.npy", "--query-vectors", shared / "queries.npy", "--ann", "flat"]
    bench_scale.command("index", "bm25", shared / "collection", "-o", text, "--language", "none")
    bench_scale.command("index", "dense", shared / "collection", "-o", dense, *ready)
    steps = given.queries * given.workers[0] // max(given.workers)  # all search one collection, for some of its queries
    found: dict[str, dict[int, list[dict[str, float]]]] = {}
    with setting(OMP_NUM_THREADS=1):
        for number in range(given.rounds):
            order = given.workers if number % 2 else given.workers[::-1]
            for count in order:
                for stage, spent in _weak_stages(out / f"weak-{count}", shared, given, steps, count).items():
                    found.setdefault(stage, {}).setdefault(count, []).append(spent)
            print(f"weak scaling: round {number + 1} of {given.rounds}", file=sys.stderr, flush=True)
    base = given.workers[0]
    return {
        "rounds": found,
        "efficiency": {
            stage: {
                count: {
                    "wall": _ratio(own[base], own[count], "wall", 1.0),
                    "processor": _ratio(own[base], own[count], "processor", count / base),
                }
                for count in given.workers
            }
            for stage, own in found.items()
        },
    }


def _weak_stages(
    place: Path, shared: Path, given: argparse.Namespace, queries: int, count: int
) -> dict[str, dict[str, float]]:
    work, few = place / "work", place / "few-collection"
    shutil.rmtree(work, ignore_errors=True)
    mined = ["mine", shared / "collection", "--index", shared / "text", "--index", shared / "dense", "--top-k", K]
    lines: dict[str, tuple[int, list[object]]] = {
        "index bm25": (
            given.documents // PARTS,
            ["index", "bm25", place / "collection", "-o", work / "bm25", "--language", "none"],
        ),
        "index dense": (
            given.texts // PARTS,
            ["index", "dense", few, "-o", work / "dense", "--model", given.model, "--ann", "flat"],
        ),
        "mine": (queries // PARTS, [*mined, "--limit", queries * count, "-o", work / "candidates"]),
        "filter": (
            queries // PARTS,
            ["filter", work / "candidates", "-o", work / "decisions", "--no-margin", "-n", NEGATIVES],
        ),
        "export": (queries // PARTS, ["export", work / "decisions", "-o", work / "triplets"]),
    }
    spent = {}
    for stage, (rows, line) in lines.items():
        with blocks_of(rows):
            took = bench_scale.command(*line, "--executor", f"local:{count}")
        spent[stage] = {"wall": took.wall_seconds, "processor": took.processor_seconds}
    return spent


def _ratio(one: Sequence[Mapping[str, float]], more: Sequence[Mapping[str, float]], kind: str, times: float) -> float:
    return round(statistics.median(times * a[kind] / b[kind] for a, b in zip(one, more, strict=True)), 3)


# From what was measured to what a cluster would take.


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A collection, and how many slices it is searched in."""

    documents: int
    queries: int

    @property
    def slices(self) -> int:
        """As many as `search` makes."""
        return max(1, -(-self.documents // search_stage.SLICE))


Points = Sequence[tuple[float, Measured]]
"""Runs of a stage, each with what its seconds a row may grow with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """A stage at any size. Bytes are per row; a row of `search` is a query in one slice."""

    block: int
    """Rows of a block."""
    rows: Callable[[Size], int]
    x: Callable[[Size], float]
    """What seconds a row grow with."""
    seconds: Line
    variety: list[float]
    """Blocks' seconds over those expected, as measured."""
    reads: Callable[[Size], float]
    """Bytes that a block reads."""
    writes: float
    inputs: tuple[str, ...]
    """Whose bytes are hashed before the first block."""
    head: Line
    """Over the bytes of the inputs."""
    tail: Line
    """Over blocks."""
    startup: Line
    """Over documents."""
    kept: float
    manifest: float
    """Bytes of it a block."""

    def blocks(self, size: Size) -> int:
        """How many."""
        return -(-self.rows(size) // self.block)

    def work(self, size: Size, stages: Mapping[str, Growth], collection: float, dispatch: float) -> Work:
        """What the simulation needs to know; `collection` has so many bytes a document."""
        row, inputs = self.seconds.at(self.x(size)), collection * size.documents
        inputs += sum(stages[name].kept * stages[name].rows(size) for name in self.inputs)
        count = self.blocks(size)
        return Work(
            seconds=spread_like(self.variety, row * self.rows(size) / count, count),
            size=self.reads(size) + self.writes * self.block,
            head=self.head.at(inputs),
            tail=self.tail.at(count),
            startup=self.startup.at(size.documents),
            dispatch=dispatch,
        )


def growths(found: Mapping[int, Mapping[str, Any]], process: float, encoding: Measured) -> dict[str, Growth]:
    """What every stage does as sizes grow, from runs at several numbers of documents and of a model on a few texts.

    `process`: seconds that a worker process takes to start.
    """
    sizes, stages = sorted(found), {}
    text = found[sizes[-1]]["text bytes"] / sizes[-1]

    def documents(size: Size) -> int:
        return size.documents

    def queries(size: Size) -> int:
        return size.queries

    def both(size: Size) -> int:
        return size.queries * size.slices

    def add(
        name: str, points: Points, opened: Sequence[int], hashed: Sequence[float], inputs: tuple[str, ...], **more: Any
    ) -> None:
        """`opened` and `hashed`: documents of the collection, and bytes of all inputs, of each run."""
        runs = [run for _, run in points]
        last = runs[-1]
        stages[name] = Growth(
            seconds=Line.through([(x, statistics.median(run.seconds_a_row)) for x, run in points]),
            variety=[s / statistics.fmean(run.seconds_a_row) for run in runs for s in run.seconds_a_row],
            writes=sum(last.written) / sum(last.rows),
            inputs=inputs,
            head=Line.through([(size, run.head) for size, run in zip(hashed, runs, strict=True)]),
            tail=Line.through([(sum(run.rows) / more["block"], run.tail) for run in runs]),
            startup=_raised(Line.through([(n, run.opening) for n, run in zip(opened, runs, strict=True)]), process),
            kept=last.kept / sum(last.rows),
            manifest=last.manifest / len(last.rows),
            **more,
        )

    def bytes_of(documents: int, *names: str) -> float:
        own = found[documents]
        return own["collection bytes"] + sum(own[name].kept for name in names)

    for name, block in (("index bm25", index_bm25.BLOCK), ("index dense", index_dense.BLOCK)):
        add(
            name,
            [(1.0, found[n][name]) for n in sizes],
            sizes,
            [bytes_of(n) for n in sizes],
            (),
            block=block,
            rows=documents,
            x=lambda _: 1.0,
            reads=lambda _, block=block: text * block,
        )
    stages["index dense"] = replace(
        stages["index dense"],
        seconds=Line(start=statistics.median(encoding.seconds_a_row), slope=0.0),
        variety=[s / statistics.fmean(encoding.seconds_a_row) for s in encoding.seconds_a_row],
        head=_raised(stages["index bm25"].head, encoding.head),
        startup=Line(start=process + encoding.opening, slope=0.0),
    )
    cuts = [(n, slices) for n in sizes for slices in SLICED]
    for name, index in (("search bm25", "index bm25"), ("search dense", "index dense")):
        own = stages[index].kept
        add(
            name,
            [(n / slices, found[n][f"{name}, {slices}"]) for n, slices in cuts],
            [n for n, _ in cuts],
            [bytes_of(n, index) for n, _ in cuts],
            (index,),
            block=indexes.BLOCK,
            rows=both,
            x=lambda size: size.documents / size.slices,
            reads=lambda size, own=own: own * size.documents / size.slices,
        )
    hits = sum(stages[name].kept for name in ("search bm25", "search dense"))
    read = ("index bm25", "index dense", "search bm25", "search dense")
    add(
        "mine",
        [(float(slices), found[n][f"mine, {slices}"]) for n, slices in cuts],
        [n for n, _ in cuts],
        [bytes_of(n, *read[:2], *(f"{name}, {slices}" for name in read[2:])) for n, slices in cuts],
        read,
        block=indexes.BLOCK,
        rows=queries,
        x=lambda size: float(size.slices),
        reads=lambda size: hits * indexes.BLOCK * size.slices,
    )
    parts = [(n, which) for n in sizes for which in ("half", "all")]
    asked = sum(found[sizes[-1]]["filter, all"].rows)
    for name, before, block in (
        ("filter", "mine", filter_stage.BLOCK),
        ("export", "filter", found[sizes[-1]]["export block"]),
    ):
        each = sum(found[sizes[-1]][f"{name}, all"].rows) / asked
        inputs = {
            which: f"{before}, {which}" if (before, which) != ("mine", "all") else "mine, 1" for _, which in parts
        }
        add(
            name,
            [(1.0, found[n][f"{name}, {which}"]) for n, which in parts],
            [n for n, _ in parts],
            [bytes_of(n, inputs[which]) for n, which in parts],
            (before,),
            block=block,
            rows=lambda size, each=each: round(size.queries * each),
            x=lambda _: 1.0,
            reads=lambda _, own=stages[before].kept * block / each: own,
        )
    return stages


def _raised(line: Line, by: float) -> Line:
    return Line(start=line.start + by, slope=line.slope)


def simulated(
    stages: Mapping[str, Growth], given: argparse.Namespace, facts: Mapping[str, Any], sizes: Sequence[int]
) -> list[dict[str, Any]]:
    """Every size on every number of workers: seconds of each stage, and what bounds it."""
    results = []
    for documents in sizes:
        size = Size(documents=documents, queries=int(min(given.mined, documents)))
        ingest = facts["ingest"].at(documents)
        rows: dict[str, dict[int, Took]] = {}
        for name, stage in stages.items():
            for workers in WORKERS:
                cluster = Cluster(workers=workers, bandwidth=given.bandwidth, link=given.link)
                work = stage.work(size, stages, facts["collection bytes"], facts["dispatch"].at(workers))
                rows.setdefault(name, {})[workers] = simulate(work, cluster)
        total = {w: ingest + sum(own[w].seconds for own in rows.values()) for w in WORKERS}
        results.append(
            {
                "documents": documents,
                "queries": size.queries,
                "slices": size.slices,
                "hours": {
                    "ingest": dict.fromkeys(WORKERS, ingest / 3600),
                    **{name: {w: took.seconds / 3600 for w, took in own.items()} for name, own in rows.items()},
                    "all": {w: seconds / 3600 for w, seconds in total.items()},
                },
                "speed-up": {w: total[WORKERS[0]] / seconds for w, seconds in total.items()},
                "bound by": {name: {w: took.bound_by for w, took in own.items()} for name, own in rows.items()},
                "least hours": {
                    name: {cause: s / 3600 for cause, s in own[WORKERS[-1]].least.items()} for name, own in rows.items()
                },
                "limits": limits(size, stages, facts),
            }
        )
    return results


def limits(size: Size, stages: Mapping[str, Growth], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Files, manifests, memory and disk that a size takes."""
    blocks = {name: stage.blocks(size) for name, stage in stages.items()}
    return {
        "blocks": blocks,
        "manifest bytes": {name: stages[name].manifest * count for name, count in blocks.items()},
        "disk bytes": {
            "collection": facts["collection bytes"] * size.documents,
            **{name: stage.kept * stage.rows(size) for name, stage in stages.items()},
        },
        "memory bytes a process": facts["memory a document"] * size.documents,
        "maps of a dense index": blocks["index dense"],
        "maps allowed": facts["maps allowed"],
    }


def measure(given: argparse.Namespace) -> tuple[dict[str, Growth], dict[str, Any]]:
    """Run every stage at both sizes; returns stages at any size, and what is not of one stage."""
    out, found = given.out, {}
    measure_blocks(out / "warm", 2_000, 64, given.dimension)  # imports, and compiles
    for documents in (given.documents, 2 * given.documents):
        found[documents] = measure_blocks(out / f"blocks-{documents}", documents, given.queries, given.dimension)
    few = out / "texts"
    shutil.rmtree(few, ignore_errors=True)
    bench_scale.write_text(few / "data", given.texts, 1)
    hnmine.ingest(few / "data", few / "collection")
    options = hnmine.DenseOptions(model=given.model, ann=hnmine.options.Ann.FLAT)
    with setting(HNMINE_TEST_BLOCK_SIZE=max(1, given.texts // (2 * PARTS))):
        encoding = measured(
            lambda how: hnmine.index_dense(few / "collection", few / "dense", options=options, how=how), few / "dense"
        )
    stage = index_bm25.IndexBm25(Collection.open(few / "collection"), hnmine.Bm25Options(language="none"))
    process = starting(stage)
    largest = max(found)
    allowed = Path("/proc/sys/vm/max_map_count")
    facts = {
        "ingest": Line.through([(n, own["ingest"]) for n, own in found.items()]),
        "dispatch": Line.through([(w, dispatching(w, 200)) for w in (1, 16, 256)]),
        "collection bytes": found[largest]["collection bytes"] / largest,
        "memory a document": found[largest]["memory a document"],
        "maps allowed": int(allowed.read_text()) if allowed.exists() else None,
        "process": process,
        "encoding": encoding,
        "measured": found,
    }
    return growths(found, process, encoding), facts


# Told.


def plain(value: Any) -> Any:
    """JSON values of lines and measurements, however deep."""
    if isinstance(value, Line | Measured):
        return plain(asdict(value))
    if isinstance(value, Growth):
        return {n: plain(getattr(value, n)) for n in Growth.__slots__ if not callable(getattr(value, n))}
    if isinstance(value, Mapping):
        return {str(key): plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [plain(own) for own in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def tables(report: Mapping[str, Any]) -> str:
    """The report as the tables of docs/scaling.md."""
    lines = ["### Weak scaling", "", "| stage | workers | wall | processor |", "|---|---|---|---|"]
    for stage, own in report["weak"]["efficiency"].items():
        lines += [f"| {stage} | {n} | {e['wall']:.2f} | {e['processor']:.2f} |" for n, e in own.items() if n != "1"]
    lines += ["", "### What a block takes", ""]
    lines += [
        "| stage | rows | s a block at 1e6 | bytes read and written | s before, 1e6 documents | s after, a block |"
    ]
    lines += ["|---|---|---|---|---|---|"]
    lines += [
        f"| {name} | {own['block']:,} | {own['seconds a block']:.3g} | {_bytes(own['bytes a block'])}"
        f" | {own['seconds before']:.3g} | {own['seconds after']:.2g} |"
        for name, own in report["blocks"].items()
    ]
    for result in report["simulation"]:
        workers = list(result["speed-up"])
        lines += ["", f"### {result['documents']:,} documents, {result['queries']:,} queries", ""]
        lines += ["| hours on ... workers | " + " | ".join(f"{int(w):,}" for w in workers) + " | bound at the end by |"]
        lines += ["|---" * (len(workers) + 2) + "|"]
        for name, hours in result["hours"].items():
            bound = result["bound by"].get(name, {}).get(workers[-1], "serial" if name == "ingest" else "")
            lines += [f"| {name} | " + " | ".join(f"{hours[w]:.3g}" for w in workers) + f" | {bound} |"]
        lines += ["| speed-up | " + " | ".join(f"{result['speed-up'][w]:.3g}" for w in workers) + " | |"]
        for other in report.get("simulation at the encode rate", ()):
            if other["documents"] == result["documents"]:
                rate = f"at {report['given']['encode_rate']:,.0f} texts a second"
                bound = {"index dense": other["bound by"]["index dense"][workers[-1]], "all": ""}
                for name, why in bound.items():
                    told = " | ".join(f"{other['hours'][name][w]:.3g}" for w in workers)
                    lines += [f"| {name}, {rate} | {told} | {why} |"]
    lines += ["", "### Files, memory and disk", ""]
    sizes = report["simulation"]
    lines += ["| | " + " | ".join(f"{one['documents']:,}" for one in sizes) + " |", "|---" * (len(sizes) + 1) + "|"]
    for name in report["blocks"]:
        lines += [f"| blocks of {name} | " + " | ".join(f"{o['limits']['blocks'][name]:,}" for o in sizes) + " |"]
    for name in report["blocks"]:
        told = " | ".join(_bytes(one["limits"]["manifest bytes"][name]) for one in sizes)
        lines += [f"| manifest of {name} | {told} |"]
    for name in sizes[0]["limits"]["disk bytes"]:
        lines += [f"| disk, {name} | " + " | ".join(_bytes(o["limits"]["disk bytes"][name]) for o in sizes) + " |"]
    told = " | ".join(_bytes(one["limits"]["memory bytes a process"]) for one in sizes)
    return "\n".join([*lines, f"| memory of ids' order and text keys, a process | {told} |", ""])


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def plot(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Speed-up against workers, a line for each size."""
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    workers = [int(count) for count in results[0]["speed-up"]]
    for result in results:
        axes.loglog(workers, list(result["speed-up"].values()), "o-", label=f"{result['documents']:,} documents")
    axes.loglog(workers, workers, ":", color="grey", label="as many times as fast as workers")
    axes.set_xlabel("workers")
    axes.set_ylabel("times as fast as one worker")
    axes.legend()
    with matplotlib.rc_context({"svg.hashsalt": "hnmine"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def tell(report: Mapping[str, Any], given: argparse.Namespace) -> None:
    """Write the files that were asked for."""
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if given.markdown is not None:
        given.markdown.write_text(tables(report), encoding="utf-8")
    if given.plot is not None:
        plot(report["simulation"], given.plot)


def main() -> None:
    """Measure, simulate and tell; weak scaling, which takes the longest, comes last."""
    given = arguments()
    os.environ["OMP_NUM_THREADS"] = "1"
    given.out.mkdir(parents=True, exist_ok=True)
    stages, facts = measure(given)
    million = Size(documents=10**6, queries=10**6)
    report = plain(
        {
            "machine": bench_scale.machine(),
            "given": {name: str(v) if isinstance(v, Path) else v for name, v in vars(given).items()},
            "weak": {"rounds": {}, "efficiency": {}},
            "blocks": {
                name: {
                    "block": stage.block,
                    "seconds a block": stage.seconds.at(stage.x(million)) * stage.block,
                    "bytes a block": stage.reads(million) + stage.writes * stage.block,
                    "seconds before": stage.work(million, stages, facts["collection bytes"], 0.0).head,
                    "seconds after": stage.tail.slope,
                    "growth": stage,
                }
                for name, stage in stages.items()
            },
            "facts": facts,
            "simulation": simulated(stages, given, facts, SIZES),
        }
    )
    if given.encode_rate:
        own = Line(start=1 / given.encode_rate, slope=0.0)
        fast = {**stages, "index dense": replace(stages["index dense"], seconds=own)}
        report["simulation at the encode rate"] = plain(simulated(fast, given, facts, SIZES))
    tell(report, given)
    report["weak"] = plain(weak(given.out, given))
    tell(report, given)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
