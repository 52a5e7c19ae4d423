"""How well a small corpus (`hnmine downsample`) tells systems apart that the whole corpus tells apart.

    python scripts/bench_downsample.py DATA --qrels all=qrels/judged.tsv --qrels one=qrels/sparse1.tsv -k 5 10 20 50

DATA is a BEIR directory with TREC runs of several systems in `runs/*.trec`. For every file of judgments and every depth
k the pool is fed by all systems, each of which is then taken out once and judged in the pool of the others; and, as
MMTEB does it, by every choice of three systems, the others being newcomers. Prints Markdown.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hnmine

POOLED = 3


@dataclass(frozen=True)
class Measured:
    """What one pool came to: the manifest's counts, and who was new to it."""

    counts: dict[str, Any]
    newcomers: Sequence[str]

    @property
    def documents(self) -> int:
        """Documents of the small corpus."""
        return int(self.counts["documents"])

    @property
    def overrated(self) -> list[float]:
        """What nDCG@10 a newcomer gains by the documents that are not there."""
        systems = self.counts["systems"]
        return [systems[name]["left_out"] - systems[name]["whole"] for name in self.newcomers]


def measure(collection: Path, pooled: Sequence[Path], others: Sequence[Path], top_k: int, folder: Path) -> Measured:
    """Downsample by the runs in `pooled`; newcomers are the `others`, or each of the pooled where there are none."""
    options = hnmine.DownsampleOptions(run=tuple(map(str, pooled)), system=tuple(map(str, others)), top_k=top_k)
    with tempfile.TemporaryDirectory(dir=folder) as output:
        outcome = hnmine.downsample(collection, Path(output) / "small", options=options, cache_dir=folder / "cache")
    return Measured(outcome.counts, [path.stem for path in others or pooled])


def table_of_all(collection: Path, runs: Sequence[Path], depths: Sequence[int], folder: Path) -> list[str]:
    """Every system feeds the pool, and is left out once."""
    lines = ["| k | documents | share | tau, pooled | tau, left out | overrated by, mean | most |", "|" + "---|" * 7]
    for k in depths:
        found = measure(collection, runs, (), k, folder)
        tau, gains = found.counts["kendall_tau"], found.overrated
        cells = [
            f"{k}",
            f"{found.documents:,}",
            f"{found.documents / found.counts['documents_of']:.1%}",
            f"{tau['small']:.3f}",
            f"{tau['left_out']:.3f}",
            f"{statistics.mean(gains):+.4f}",
            f"{max(gains):+.4f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def table_of_systems(collection: Path, runs: Sequence[Path], top_k: int, folder: Path) -> list[str]:
    """nDCG@10 of each system at one depth."""
    systems = measure(collection, runs, (), top_k, folder).counts["systems"]
    lines = ["| system | whole | small | left out of the pool |", "|---|---|---|---|"]
    for name, own in sorted(systems.items(), key=lambda item: -item[1]["whole"]):
        lines.append(f"| {name} | {own['whole']:.4f} | {own['small']:.4f} | {own['left_out']:.4f} |")
    return lines


def table_of_choices(collection: Path, runs: Sequence[Path], depths: Sequence[int], folder: Path) -> list[str]:
    """Every choice of three systems feeds the pool; the others are new to it."""
    lines = [
        "| k | documents, mean | share | tau, mean | tau, least | overrated by, mean | most |",
        "|" + "---|" * 7,
    ]
    for k in depths:
        found = []
        for pooled in itertools.combinations(runs, POOLED):
            found.append(measure(collection, pooled, [run for run in runs if run not in pooled], k, folder))
        taus = [one.counts["kendall_tau"]["small"] for one in found]
        gains = [gain for one in found for gain in one.overrated]
        documents = statistics.mean(one.documents for one in found)
        cells = [
            f"{k}",
            f"{documents:,.0f}",
            f"{documents / found[0].counts['documents_of']:.1%}",
            f"{statistics.mean(taus):.3f}",
            f"{min(taus):.3f}",
            f"{statistics.mean(gains):+.4f}",
            f"{max(gains):+.4f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--qrels", action="append", required=True, metavar="NAME=FILE", help="relative to DATA")
    parser.add_argument("-k", type=int, nargs="+", default=[5, 10, 20, 50])
    given = parser.parse_args()
    runs = sorted((given.data / "runs").glob("*.trec"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for spec in given.qrels:
            called, _, file = spec.partition("=")
            collection = folder / called
            options = hnmine.InputOptions(qrels=str(given.data / file))
            counts = hnmine.ingest(given.data, collection, options=options).counts
            print(f"\n## {called}: {counts['queries']} queries, {counts['judgments']:,} judgments\n")
            print(*table_of_systems(collection, runs, given.k[0], folder), "", sep="\n", flush=True)
            print(*table_of_all(collection, runs, given.k, folder), "", sep="\n", flush=True)
            print(*table_of_choices(collection, runs, given.k, folder), sep="\n", flush=True)


if __name__ == "__main__":
    main()
