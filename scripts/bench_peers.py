"""hnmine beside its peers: every comparison in one go, and one table of targets.

    python scripts/bench_peers.py OUT [--rounds 5] [--only encoding,end-to-end] [--quick]
        [--flag-script hn_mine.py [--flag-python PYTHON]] [--beir DIR] [--reranker DIR]
        [--json FILE] [--markdown FILE] [--plot FILE.svg]

Each part is one of the other scripts, which says what it compares and how. They run one after the other, each in a
process of its own, and leave their reports in OUT; a part that --only leaves out is told from the report that an
earlier call left there. A target whose part has not run, or lacked what it needs, is told as not measured.

    encoding    bench_encoding.py: sentence-transformers' encode
    end-to-end  bench_end_to_end.py: sentence-transformers' miner; with --flag-script FlagEmbedding's too
    deciding    bench_deciding.py, with a new margin for `stdlib`
    bm25        bench_bm25.py at 50,000 and 1,000,000 documents: bm25s, rank-bm25; needs --beir, a folder of BEIR
                directories, for its text (medquad, scifact)
    scoring     bench_scoring.py on cranfield and medquad: sentence-transformers' loop; needs --beir and --reranker
    ready-made  bench_ready_made.py: sentence-transformers' miner where nothing is encoded; memory

The JSON has one key a target, with `target`, `measured` and `met`, and the machine of each part. --quick takes tiny
sizes: it shows that everything runs, and its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import operator
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parent
Report = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is aimed at, and where a part's report tells what came of it."""

    part: str
    words: str
    read: Callable[[Report], float]
    """Raises `KeyError` or `IndexError` if the report does not say."""
    least: float | None = None
    most: float | None = None

    def judge(self, report: Report | None) -> dict[str, Any]:
        """The entry of the JSON: `measured` is None if nothing was, `met` too if nothing is aimed at."""
        try:
            value = None if report is None else self.read(report)
        except (KeyError, IndexError):
            value = None
        holds, bound = (operator.ge, self.least) if self.most is None else (operator.le, self.most)
        return {
            "part": self.part,
            "words": self.words,
            "target": bound,
            "better": "higher" if self.most is None else "lower",
            "measured": value,
            "met": None if value is None or bound is None else bool(holds(value, bound)),
        }


def at(*path: str | int) -> Callable[[Report], float]:
    """The number at a place of a report."""

    def read(report: Report) -> float:
        found: Any = report
        for key in path:
            found = found[key]
        return float(found)

    return read


def least_at_same_dtype(report: Report) -> float:
    """Of fp32, bf16 and the back ends, against the peer's batches of 32."""
    found = report["ratios"]["same_dtype"]
    return min(float(own["ratio_to_batch_32"]) for own in found.values() if isinstance(own, dict))


def of_collections(choose: Callable[[Sequence[float]], float], key: str) -> Callable[[Report], float]:
    """The worst of the collections that the part scoring measures."""
    return lambda report: choose([float(own["targets"][key]) for own in report["collections"].values()])


OWN = "hnmine, dense alone"
TARGETS: dict[str, Target] = {
    "encoding_torch": Target(
        part="encoding", words="encoding in torch, its defaults", least=2.5, read=at("ratios", "torch", "ratio")
    ),
    "encoding_best": Target(
        part="encoding",
        words="encoding, the best back end that is installed",
        least=3.0,
        read=at("ratios", "best_back_end", "ratio"),
    ),
    "encoding_same_dtype": Target(
        part="encoding", words="encoding at the same dtype, the worst of them", least=1.2, read=least_at_same_dtype
    ),
    "end_to_end_stdlib": Target(
        part="end-to-end", words="texts to triplets, dense index alone", least=2.5, read=at("ratios", "defaults")
    ),
    "end_to_end_with_bm25": Target(
        part="end-to-end", words="texts to triplets, with BM25 as well", read=at("ratios", "defaults_with_bm25")
    ),
    "end_to_end_same_dtype": Target(
        part="end-to-end", words="texts to triplets, fp32", least=1.2, read=at("ratios", "same_dtype")
    ),
    "end_to_end_against_helped": Target(
        part="end-to-end",
        words="texts to triplets, the peer in bf16 with batches of 16",
        read=at("ratios", "against_helped"),
    ),
    "end_to_end_flagembedding": Target(
        part="end-to-end", words="texts to triplets, FlagEmbedding", read=at("ratios", "flagembedding")
    ),
    "same_triplets": Target(
        part="end-to-end",
        words="share of the peer's triplets, both in fp32",
        read=at("agreement", f"{OWN}, fp32", "share_of_theirs"),
    ),
    "same_triplets_bf16": Target(
        part="end-to-end",
        words="share of the peer's triplets, hnmine in bf16",
        read=at("agreement", OWN, "share_of_theirs"),
    ),
    "bm25_kernel": Target(
        part="bm25",
        words="BM25 kernel over bm25s', 1,000,000 documents",
        least=2.0,
        read=at("sizes", 1, "ratios", "kernel"),
    ),
    "bm25_mine_1m": Target(
        part="bm25",
        words="`mine` over bm25s' raw search, 1,000,000 documents",
        least=0.9,
        read=at("sizes", 1, "ratios", "mine"),
    ),
    "bm25_mine_50k": Target(
        part="bm25",
        words="`mine` over bm25s' raw search, 50,000 documents",
        least=0.5,
        read=at("sizes", 0, "ratios", "mine"),
    ),
    "bm25_rank_bm25": Target(
        part="bm25",
        words="`mine` over rank-bm25, 50,000 documents",
        least=300,
        read=at("sizes", 0, "ratios", "mine against rank-bm25"),
    ),
    "score_until_oracle": Target(
        part="scoring",
        words="pairs that `score --until` scores over the least possible",
        most=1.25,
        read=of_collections(max, "pairs_over_minimum"),
    ),
    "score_pairs": Target(
        part="scoring", words="pairs a second", least=3.0, read=of_collections(min, "rate_over_peer")
    ),
    "score_product": Target(part="scoring", words="scoring, both together", read=of_collections(min, "product")),
    "memory_peak": Target(
        part="ready-made",
        words="ready-made vectors, 50,000 × 100,000: peak of anonymous memory over the peer's",
        most=0.3,
        read=at("sizes", 0, "ratios_to_peer", "chain", "peak_anonymous_bytes"),
    ),
    "memory_time": Target(
        part="ready-made",
        words="the same: processor seconds over the peer's",
        most=0.5,
        read=at("sizes", 0, "ratios_to_peer", "chain", "processor_seconds"),
    ),
    "decide_new_margin": Target(
        part="deciding", words="a new margin over index + mine, `stdlib`", most=0.01, read=at("data", "share")
    ),
    "filter_rows_per_second": Target(
        part="deciding",
        words="candidates `filter` decides a second, a core",
        least=2e6,
        read=at("filter_rows_per_second"),
    ),
    "export_mb_per_second": Target(
        part="deciding",
        words="MB of text `export` writes a second, 7 of 190 candidates picked",
        least=150,
        read=at("export_megabytes_per_second"),
    ),
    "export_mb_per_second_wide": Target(
        part="deciding", words="the same, 40 picked", least=150, read=at("export_wide_megabytes_per_second")
    ),
    "help_seconds": Target(part="deciding", words="seconds of `--help`", most=0.3, read=at("seconds_help")),
    "empty_filter_seconds": Target(
        part="deciding", words="seconds of `filter` for one query", most=1.0, read=at("seconds_filter_one_query")
    ),
}


def script(name: str, *arguments: object) -> str:
    """What one of the other scripts prints; its talk goes to stderr."""
    print(f"{name} {' '.join(map(str, arguments))}", file=sys.stderr, flush=True)
    line = [sys.executable, SCRIPTS / name, *arguments]
    return subprocess.run([str(word) for word in line], check=True, stdout=subprocess.PIPE, text=True).stdout


def hnmine(*arguments: object) -> None:
    """One hnmine command, quietly."""
    line = [sys.executable, "-m", "hnmine", *arguments, "--quiet"]
    subprocess.run([str(word) for word in line], check=True, stdout=subprocess.DEVNULL)


def encoding(given: argparse.Namespace, out: Path) -> Report:
    texts = ["--texts", 16] if given.quick else []
    script("bench_encoding.py", *texts, "--rounds", given.rounds, "--json", out / "report.json")
    return read(out / "report.json")


def end_to_end(given: argparse.Namespace, out: Path) -> Report:
    sample = 0.002 if given.quick else given.sample
    flag = ["--flag-script", given.flag_script, "--flag-python", given.flag_python] if given.flag_script else []
    return json.loads(script("bench_end_to_end.py", out, "--sample", sample, "--rounds", given.rounds, *flag))


def deciding(given: argparse.Namespace, out: Path) -> Report:
    sizes = ["--documents", 1_000, "--queries", 400, "--sample", 0.01] if given.quick else []
    script("bench_deciding.py", out, "--repeat", given.rounds, "--data", "stdlib", *sizes)
    return read(out / "results.json")


def bm25(given: argparse.Namespace, out: Path) -> Report:
    if given.beir is None:
        raise Lacking("--beir")
    sources = [given.beir / name for name in ("medquad", "scifact")]
    sizes = ["--documents", 500, 1_000, "--queries", 50] if given.quick else ["--documents", 50_000, 1_000_000]
    return json.loads(script("bench_bm25.py", out, *sources, "--rounds", given.rounds, *sizes))


def scoring(given: argparse.Namespace, out: Path) -> Report:
    if given.beir is None or given.reranker is None:
        raise Lacking("--beir and --reranker")
    runs = {"cranfield": ["-k", 200, "--split", "sparse1"], "medquad": ["-k", 100, "--no-dense", "--limit", 300]}
    asked = {"cranfield": ["--queries", 12, "--timed", 1], "medquad": ["--queries", 24, "--timed", 2]}
    found = {}
    for name, options in runs.items():
        hnmine("run", given.beir / name, "-o", out / name, *options)
        few = ["--queries", 2, "--timed", 1] if given.quick else asked[name]
        line = [out / name, "--reranker", given.reranker, "--rounds", given.rounds, *few]
        found[name] = json.loads(script("bench_scoring.py", *line))
    return {"collections": found, "machine": next(iter(found.values()))["machine"]}


def ready_made(given: argparse.Namespace, out: Path) -> Report:
    sizes = ["--documents", 1_000, "--queries", 1_000] if given.quick else []
    return json.loads(script("bench_ready_made.py", out, "--repeat", given.rounds, "--threads", 1, *sizes))


class Lacking(Exception):
    """A part cannot run without an option that was not given."""


PARTS: dict[str, Callable[[argparse.Namespace, Path], Report]] = {
    "encoding": encoding,
    "end-to-end": end_to_end,
    "deciding": deciding,
    "bm25": bm25,
    "scoring": scoring,
    "ready-made": ready_made,
}


def read(path: Path) -> Report:
    found: Report = json.loads(path.read_text(encoding="utf-8"))
    return found


def measure(given: argparse.Namespace, chosen: Sequence[str]) -> dict[str, Report]:
    """The report of every part: of the chosen ones a new one, of the others the one in OUT, if there is one."""
    found = {}
    for name, part in PARTS.items():
        file = given.out / f"{name}.json"
        if name in chosen:
            place = given.out / name
            place.mkdir(parents=True, exist_ok=True)
            try:
                report = part(given, place)
            except Lacking as lacking:
                print(f"{name}: not measured without {lacking}", file=sys.stderr)
            else:
                file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        if file.exists():
            found[name] = read(file)
    return found


def judge(reports: Mapping[str, Report]) -> dict[str, dict[str, Any]]:
    """One entry a target."""
    return {key: target.judge(reports.get(target.part)) for key, target in TARGETS.items()}


def markdown(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of `docs/benchmarks/peers.md`."""
    lines = ["| | target | measured | met |", "|---|---|---|---|"]
    for entry in found.values():
        sign = "≥" if entry["better"] == "higher" else "≤"
        target = "" if entry["target"] is None else f"{sign} {number(entry['target'])}"
        measured = "not measured" if entry["measured"] is None else number(entry["measured"])
        met = {True: "yes", False: "no", None: ""}[entry["met"]]
        lines.append(f"| {entry['words']} | {target} | {measured} | {met} |")
    return "\n".join(lines) + "\n"


def number(value: float) -> str:
    """Three digits, or the whole number if it is large."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def plot(found: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """A bar a target: how far beyond it the measurement is, 1 being the target; a log scale."""
    import matplotlib
    from matplotlib.figure import Figure

    bars = {
        entry["words"]: entry["measured"] / entry["target"]
        if entry["better"] == "higher"
        else entry["target"] / entry["measured"]
        for entry in found.values()
        if entry["measured"] and entry["target"] is not None
    }
    figure = Figure(figsize=(9, 0.8 + 0.32 * len(bars)), layout="constrained")
    axes = figure.add_subplot()
    names = list(reversed(bars))
    colours = ["tab:green" if bars[name] >= 1 else "tab:orange" for name in names]
    axes.barh(names, [bars[name] for name in names], color=colours)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("measured over target (right of the line: met)")
    with matplotlib.rc_context({"svg.hashsalt": "hnmine"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sample", type=float, default=0.1, help="share of `stdlib` from end to end; 1 for all of it")
    parser.add_argument("--beir", type=Path)
    parser.add_argument("--reranker", type=Path)
    parser.add_argument("--flag-script", type=Path, help="scripts/hn_mine.py of FlagEmbedding's repository")
    parser.add_argument("--flag-python", default=sys.executable, help="a Python that has FlagEmbedding")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    chosen = [name for name in given.only.split(",") if name]
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"--only {','.join(sorted(unknown))}: one of {', '.join(PARTS)}")
    reports = measure(given, chosen)
    found = judge(reports)
    table = markdown(found)
    print(table)
    machines = {name: report["machine"] for name, report in reports.items() if "machine" in report}
    if given.json is not None:
        given.json.write_text(json.dumps({**found, "machines": machines}, indent=2) + "\n", encoding="utf-8")
    if given.markdown is not None:
        given.markdown.write_text(table, encoding="utf-8")
    if given.plot is not None:
        plot(found, given.plot)


if __name__ == "__main__":
    main()
