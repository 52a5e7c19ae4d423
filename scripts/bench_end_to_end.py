"""From texts to triplets: hnmine beside sentence-transformers and FlagEmbedding, on the same files, in turn.

    python scripts/bench_end_to_end.py OUT [--sample 0.1] [--rounds 5] [--cores 1] [--only WORD]
        [--flag-script hn_mine.py [--flag-python PYTHON]] [--json FILE] [--markdown FILE]

The texts are the built-in collection `stdlib`, or a keyed sample of it, written once below OUT for all. Every
contender is a process of its own that reads files and writes a training file: five negatives a query out of the first
100, cosine at least 5 % below the positive's. sentence-transformers runs `mine_hard_negatives` with FAISS, with its
defaults and with what helps it (bf16 autocast, 16 texts a batch). FlagEmbedding runs its own `scripts/hn_mine.py` (of
its repository; it is not in the package), which knows no margin and draws five of the first 100; --flag-python is the
interpreter of an environment that has it. hnmine runs with the dense index alone, in its default arithmetic and in
fp32, and as it is by default: with BM25 beside it and the guard for a margin.

Seconds are processor seconds of the process and its children, so that other work on the machine hardly enters; a ratio
is the median over rounds of the two contenders' in the same round. Start-up (most of it is importing the model's
library) is part of them. Each contender also runs once on a few texts, and ratios are told beyond that, too: what is
left of them as the texts grow.

What is chosen is compared too: the triplets of sentence-transformers' defaults that hnmine has as well, and of the
others how hnmine decided about the document. Of FlagEmbedding's draw: the share among hnmine's candidates.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

NEGATIVES, MARGIN, DEPTH = 5, 0.05, 100
FEW = 0.002
ST, ST_HELPED = "sentence-transformers, its defaults (fp32, batch 32)", "sentence-transformers, bf16 autocast, batch 16"
FLAG = "FlagEmbedding (fp32, batch 32)"
OWN, OWN_FP32, OWN_ALL = "hnmine, dense alone", "hnmine, dense alone, fp32", "hnmine, its defaults (BM25 too)"
OWN_OPENVINO = "hnmine, dense alone, OpenVINO"
ST_SCRIPT = Path(__file__).with_name("mine_with_sentence_transformers.py")

Triplet = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A command that mines, and what makes triplets or (query, negative) pairs of what it wrote."""

    line: Sequence[object]
    output: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Seconds, and the largest resident memory of one process, in bytes (files that are mapped count)."""

    processor: float
    wall: float
    resident: int


def write_data(out: Path, sample: float) -> Path:
    """`stdlib`, or a sample of it, in the forms that the contenders read; once."""
    import hnmine
    from hnmine.files.collection import Collection
    from hnmine.options import InputOptions

    data = out / "data"
    if not (data / "pairs.jsonl").exists():
        collection = out / "collection"
        hnmine.ingest("stdlib", collection, options=InputOptions(sample=sample if sample < 1 else None))
        write_forms(Collection.open(collection), data)
    return data


def write_forms(collection: Any, data: Path) -> None:
    """A BEIR directory, and FlagEmbedding's files: `pairs.jsonl` (query, pos) beside its `corpus.jsonl` (text)."""
    import numpy as np

    (data / "qrels").mkdir(parents=True, exist_ok=True)
    doc_ids, query_ids = collection.doc_ids.to_pylist(), collection.query_ids.to_pylist()
    documents = collection.document_texts_between(0, len(doc_ids))
    queries = collection.query_texts(np.arange(len(query_ids)))
    judged: dict[int, list[int]] = {}
    for query, document in zip(collection.qrels.query_rows.tolist(), collection.qrels.doc_rows.tolist(), strict=True):
        judged.setdefault(query, []).append(document)
    for name, ids, texts in (("corpus", doc_ids, documents), ("queries", query_ids, queries)):
        write_lines(data / f"{name}.jsonl", ({"_id": i, "text": t} for i, t in zip(ids, texts, strict=True)))
    with (data / "qrels" / "train.tsv").open("w", encoding="utf-8") as stream:
        stream.write("query-id\tcorpus-id\tscore\n")
        stream.writelines(f"{query_ids[q]}\t{doc_ids[d]}\t1\n" for q, rows in judged.items() for d in rows)
    pairs = ({"query": queries[q], "pos": [documents[d] for d in rows]} for q, rows in judged.items())
    write_lines(data / "pairs.jsonl", pairs)


def write_lines(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.open(encoding="utf-8")]


def contenders(
    data: Path, work: Path, *, model: str, flag_script: Path | None, flag_python: str, openvino: bool
) -> dict[str, Contender]:
    """Name → how it is run."""
    from hnmine.engines.models import resolve_model

    path = resolve_model(model, revision=None).path
    most = max(len(pair["pos"]) for pair in read_lines(data / "pairs.jsonl"))

    def theirs(name: str, *more: object) -> Contender:
        file = work / f"{name}.parquet"
        shared = ["--num-negatives", NEGATIVES, "--relative-margin", MARGIN, "--range-max", DEPTH]
        return Contender(line=[sys.executable, ST_SCRIPT, data, path, file, *shared, *more], output=file)

    def own(name: str, *more: object) -> Contender:
        folder = work / name
        line = [sys.executable, "-m", "hnmine", "run", data, "-o", folder, "-n", NEGATIVES, "--model", model, "--quiet"]
        return Contender(line=[*line, *more], output=folder)

    # As deep as the peer looks: it adds the most positives that any query has.
    alone = ("--no-bm25", "--relative-margin", MARGIN, "--top-k", DEPTH + most)
    found = {ST: theirs("st"), ST_HELPED: theirs("st-helped", "--batch-size", 16, "--bf16")}
    if flag_script is not None:
        file = work / "flag.jsonl"
        files = ["--input_file", data / "pairs.jsonl", "--candidate_pool", data / "corpus.jsonl", "--output_file", file]
        kind = ["--embedder_name_or_path", path, "--embedder_model_class", "encoder-only-base"]
        window = ["--range_for_sampling", f"0-{DEPTH}", "--negative_number", NEGATIVES]
        # The model's own pooling and length; 3,000 texts a batch, the default, is for GPUs.
        how = ["--pooling_method", "mean", "--devices", "cpu", "--use_fp16", "False", "--batch_size", 32]
        lengths = ["--embedder_query_max_length", 256, "--embedder_passage_max_length", 256]
        line = [flag_python, flag_script, *files, *kind, *window, *how, *lengths]
        found[FLAG] = Contender(line=line, output=file)
    found[OWN] = own("own", *alone)
    found[OWN_FP32] = own("own-fp32", *alone, "--dtype", "fp32", "--store", "fp32")
    found[OWN_ALL] = own("own-all")
    if openvino:
        found[OWN_OPENVINO] = own("own-openvino", *alone, "--backend", "openvino")
    return found


def spend(line: Sequence[object]) -> Spent:
    """Run a command; `CalledProcessError` with its output if it fails."""
    began = time.monotonic()
    process = subprocess.Popen([str(word) for word in line], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        print(output.decode(errors="replace")[-4_000:], file=sys.stderr)
        raise subprocess.CalledProcessError(process.returncode, [str(word) for word in line])
    return Spent(
        processor=usage.ru_utime + usage.ru_stime,
        wall=time.monotonic() - began,
        resident=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    )


def measure(
    runs: Mapping[str, Contender], rounds: int, spend: Callable[[Sequence[object]], Spent] = spend
) -> dict[str, list[Spent]]:
    """Each contender once in each round, forwards and backwards in turn; the output of the last run stays."""
    spent: dict[str, list[Spent]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in list(runs) if number % 2 == 0 else list(reversed(runs)):
            place = runs[name].output
            shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
            spent[name].append(spend(runs[name].line))
            print(f"round {number + 1}: {name}: {spent[name][-1].processor:.1f} s", file=sys.stderr, flush=True)
    return spent


def ratio(spent: Mapping[str, Sequence[Spent]], slow: str, fast: str) -> float:
    """How many times as fast `fast` is, by processor seconds: the median over rounds."""
    return statistics.median(a.processor / b.processor for a, b in zip(spent[slow], spent[fast], strict=True))


def ratios(spent: Mapping[str, Sequence[Spent]]) -> dict[str, float]:
    """Those of `RATIOS` whose contenders ran."""
    pairs = {key: pair for key, pair in RATIOS.items() if set(pair) <= set(spent)}
    return {key: round(ratio(spent, slow, fast), 3) for key, (slow, fast) in pairs.items()}


def beyond(spent: Mapping[str, Sequence[Spent]], few: Mapping[str, Sequence[Spent]]) -> dict[str, list[Spent]]:
    """Without what a few texts take."""
    return {
        name: [replace(one, processor=one.processor - few[name][0].processor) for one in runs]
        for name, runs in spent.items()
    }


def triplets(file: Path) -> set[Triplet]:
    """(query, positive, negative) texts of a training file."""
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    return set(zip(*(column.to_pylist() for column in table.columns[:3]), strict=True))


def compare(data: Path, theirs: set[Triplet], run: Path) -> dict[str, Any]:
    """How many of the peer's triplets hnmine has, and how it decided about the documents of the others."""
    own = triplets(run / "triplets.parquet")
    decided = decisions(data, run)
    why = Counter(decided.get((query, negative), ("not a candidate", 0))[0] for query, _, negative in theirs - own)
    return {
        "theirs": len(theirs),
        "ours": len(own),
        "both": len(theirs & own),
        "share_of_theirs": round(len(theirs & own) / max(len(theirs), 1), 5),
        "of the others": dict(why.most_common()),
    }


def decisions(data: Path, run: Path) -> dict[tuple[str, str], tuple[str, int]]:
    """(query's text, document's text) → hnmine's reason, and the document's rank (0 beyond the last).

    Of documents with the same text, the one that stands first.
    """
    import pyarrow.parquet as pq

    texts = {row["_id"]: row["text"] for row in read_lines(data / "corpus.jsonl")}
    queries = {row["_id"]: row["text"] for row in read_lines(data / "queries.jsonl")}
    found: dict[tuple[str, str], tuple[str, int]] = {}
    for part in sorted((run / "decisions").glob("part-*.parquet")):
        table = pq.read_table(part)
        rank = next(name for name in table.column_names if name.startswith("rank_") and name != "rank_bm25")
        for row in table.select(["query_id", "doc_id", "reason", rank]).to_pylist():
            pair = (queries[row["query_id"]], texts[row["doc_id"]])
            found.setdefault(pair, (row["reason"], row[rank] or 0))
    return found


def drawn_within(data: Path, file: Path, run: Path) -> dict[str, Any]:
    """Of the negatives that FlagEmbedding drew, the share among hnmine's candidates."""
    decided = decisions(data, run)
    pairs = [(row["query"], negative) for row in read_lines(file) for negative in row["neg"]]
    known = [decided[pair][0] for pair in pairs if pair in decided]
    return {
        "theirs": len(pairs),
        "among_candidates": round(len(known) / max(len(pairs), 1), 5),
        "hnmine on them": dict(Counter(known).most_common()),
    }


RATIOS = {
    "defaults": (ST, OWN),
    "defaults_with_bm25": (ST, OWN_ALL),
    "best_back_end": (ST, OWN_OPENVINO),
    "same_dtype": (ST, OWN_FP32),
    "against_helped": (ST_HELPED, OWN),
    "flagembedding": (FLAG, OWN),
    "flagembedding_same_dtype": (FLAG, OWN_FP32),
}
"""What is told: how many times as fast the second is."""


def summarise(spent: Mapping[str, Sequence[Spent]], few: Mapping[str, Sequence[Spent]]) -> dict[str, dict[str, Any]]:
    """A row a contender."""
    return {
        name: {
            "processor_seconds": round(statistics.median(one.processor for one in runs), 2),
            "wall_seconds": round(statistics.median(one.wall for one in runs), 2),
            "largest_resident_gb": round(max(one.resident for one in runs) / 1e9, 2),
            "times_as_fast": round(ratio(spent, ST, name), 3),
            "rounds": [round(one.processor, 2) for one in runs],
            "few_texts_processor_seconds": round(few[name][0].processor, 2),
        }
        for name, runs in spent.items()
    }


def agreements(data: Path, runs: Mapping[str, Contender]) -> dict[str, Any]:
    """What was chosen, compared."""
    found: dict[str, Any] = {}
    theirs = triplets(runs[ST].output)
    for name in (OWN, OWN_FP32, OWN_OPENVINO):
        if name in runs:
            found[name] = compare(data, theirs, runs[name].output)
    if ST_HELPED in runs:
        helped = triplets(runs[ST_HELPED].output)
        found[ST_HELPED] = {
            "ours": len(helped),
            "both": len(helped & theirs),
            "share_of_theirs": round(len(helped & theirs) / max(len(theirs), 1), 5),
        }
    base = next((runs[name].output for name in (OWN_FP32, OWN) if name in runs), None)
    if FLAG in runs and base is not None:
        found[FLAG] = drawn_within(data, runs[FLAG].output, base)
    return found


def markdown(report: Mapping[str, Any]) -> str:
    """The table of `docs/benchmarks/peers.md`."""
    lines = [
        "| | processor s | of it for a few texts | times as fast | triplets of the first |",
        "|---|---|---|---|---|",
    ]
    for name, row in report["contenders"].items():
        share = report["agreement"].get(name, {}).get("share_of_theirs")
        same = "" if share is None else f"{100 * share:.2f} %"
        few = row["few_texts_processor_seconds"]
        lines.append(f"| {name} | {row['processor_seconds']:.1f} | {few:.1f} | {row['times_as_fast']:.2f} | {same} |")
    return "\n".join(lines) + "\n"


def machine(cores: int, flag_python: str | None) -> dict[str, Any]:
    """Where this ran, and on what."""
    versions: dict[str, str] = {}
    for name in ("hnmine", "sentence-transformers", "transformers", "torch", "faiss-cpu", "datasets", "openvino"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    if flag_python is not None:
        code = "from importlib.metadata import version; print(version('FlagEmbedding'))"
        versions["FlagEmbedding"] = subprocess.check_output([flag_python, "-c", code], text=True).strip()
    return {
        "platform": platform.platform(),
        "processor": processor(),
        "cores": cores,
        "load": [round(load, 1) for load in os.getloadavg()],
        "python": platform.python_version(),
        "versions": versions,
    }


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith(("model name", "cpu family"))]
    return ", family ".join(dict.fromkeys(reversed(names))) or platform.processor()


def bind(cores: int) -> None:
    """Keep this process and its children to so many cores (Linux), with as many threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    quiet = {"TQDM_DISABLE": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    os.environ.update({"OMP_NUM_THREADS": str(cores), "MKL_NUM_THREADS": str(cores), **quiet})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sample", type=float, default=0.1, help="share of the queries and documents; 1 for all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--only", default="", help="leave out contenders without this word (the defaults stay)")
    parser.add_argument("--flag-script", type=Path, help="scripts/hn_mine.py of FlagEmbedding's repository")
    parser.add_argument("--flag-python", default=sys.executable)
    parser.add_argument("--openvino", action="store_true", help="hnmine on OpenVINO too")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args()
    bind(given.cores)
    how = {"flag_script": given.flag_script, "flag_python": given.flag_python, "openvino": given.openvino}
    places = {"few": write_data(given.out / "few", min(FEW, given.sample)), "all": write_data(given.out, given.sample)}
    runs = {}
    for name, data in places.items():
        work: Path = given.out / f"work-{name}"
        work.mkdir(exist_ok=True)
        runs[name] = contenders(data, work, model=given.model, **how)
        if given.only:
            runs[name] = {own: run for own, run in runs[name].items() if given.only in own or "defaults" in own}
    few, spent = measure(runs["few"], 1), measure(runs["all"], given.rounds)
    data = places["all"]
    with (data / "corpus.jsonl").open() as corpus, (data / "pairs.jsonl").open() as pairs:
        sizes = {"documents": sum(1 for _ in corpus), "queries": sum(1 for _ in pairs)}
    report = {
        "machine": machine(given.cores, given.flag_python if given.flag_script else None),
        "rounds": given.rounds,
        **sizes,
        "ratios": ratios(spent),
        "ratios_beyond_start_up": ratios(beyond(spent, few)),
        "contenders": summarise(spent, few),
        "agreement": agreements(data, runs["all"]),
    }
    text = json.dumps(report, indent=2)
    print(text)
    if given.json is not None:
        given.json.write_text(text + "\n", encoding="utf-8")
    if given.markdown is not None:
        given.markdown.write_text(markdown(report), encoding="utf-8")


if __name__ == "__main__":
    main()
