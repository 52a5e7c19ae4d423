"""Where the false negatives are: how many candidates are relevant after all, by rank and by score.

    python scripts/measure_relevance.py RUN=QRELS... --json FILE       measure
    python scripts/measure_relevance.py --from FILE --plot FILE.svg    draw what was measured

RUN is a directory of `hnmine run` whose judgments were one known positive a query, QRELS the full judgments, which only
count here. A candidate is relevant if these give it a grade above 0; known positives and their copies are left out, and
what nobody judged counts as not relevant, so every figure is a lower bound. For docs/explanation:

    for name in cranfield cacm cisi trecdl_19_20; do
        hnmine run beir/$name --qrels beir/$name/qrels/sparse1.tsv -k 200 -o runs/$name
    done
    python scripts/measure_relevance.py runs/cranfield=beir/cranfield/qrels/test.tsv ... \\
        --json docs/explanation/relevance.json --plot docs/explanation/relevance.svg
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 201)
"""Edges of the groups of ranks: 1, 2 to 3, 4 to 7, ..."""
RATIOS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.4)
"""Edges of the groups of s(n) / s(p)."""
MARGIN = 0.05
"""The relative margin that is drawn; no known positive of these collections scores below 0."""
LEAST = 30
"""Groups of fewer candidates are not drawn."""


def measure(run: Path, qrels: str) -> dict[str, Any]:
    """The figures of one collection."""
    import pyarrow.parquet as pq

    from hnmine.files.artefact import Artefact
    from hnmine.files.judgments import Judgments

    candidates = Artefact.open(run / "candidates")
    table = pq.read_table(candidates.files()).to_pandas()
    grades = Judgments(qrels).grades
    table["relevant"] = [grades.get(pair, 0) > 0 for pair in zip(table.query_id, table.doc_id, strict=True)]
    known = table[table.is_positive]
    own_text = set(zip(known.query_id, known.text_key, strict=True))
    copies = [pair in own_text for pair in zip(table.query_id, table.text_key, strict=True)]
    unlabelled = table[~table.is_positive & ~np.asarray(copies)]
    names = {score["origin"]: score["name"] for score in candidates.plan["scores"]}
    anchor = known.groupby("query_id")[f"score_{names['dense']}"].min()
    ratio = unlabelled[f"score_{names['dense']}"] / unlabelled.query_id.map(anchor)
    queries = set(table.query_id)
    return {
        "queries": len(queries),
        "relevant_a_query": sum(g > 0 and q in queries for (q, _), g in grades.items()) / len(queries),
        "known_positive_first": float((known[f"rank_{names['dense']}"] == 1).mean()),
        "relevant_below_margin": float((ratio[unlabelled.relevant] < 1 - MARGIN).mean()),
        "by_rank": {
            origin: grouped(unlabelled[f"rank_{name}"].to_numpy(float), unlabelled.relevant.to_numpy(), RANKS)
            for origin, name in sorted(names.items())
        },
        "by_ratio": grouped(ratio.to_numpy(float), unlabelled.relevant.to_numpy(), RATIOS),
    }


def grouped(values: np.ndarray, relevant: np.ndarray, edges: Sequence[float]) -> list[dict[str, float]]:
    """Candidates and relevant ones from each edge to below the next; null values are in none."""
    found = []
    for low, high in itertools.pairwise(edges):
        inside = (values >= low) & (values < high)
        found.append(
            {"from": low, "to": high, "candidates": int(inside.sum()), "relevant": int(relevant[inside].sum())}
        )
    return found


def plot(found: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """The share of candidates that are relevant, a line a collection: by rank of each retriever, and by s(n) / s(p)."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

    figure = Figure(figsize=(11, 4), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    for name, one in found.items():
        groups = (one["by_rank"]["bm25"], one["by_rank"]["dense"], one["by_ratio"])
        for axes, rows in zip(panels, groups, strict=True):
            drawn = [row for row in rows if row["candidates"] >= LEAST]
            middle = [(row["from"] + row["to"] - (axes is not panels[2])) / 2 for row in drawn]
            axes.plot(middle, [row["relevant"] / row["candidates"] for row in drawn], "o-", label=name, markersize=4)
    for axes, words in zip(panels, ("rank under BM25", "rank under MiniLM", "s(n) / s(p) under MiniLM"), strict=True):
        axes.set_xlabel(words)
        axes.grid(alpha=0.3)
    for axes in panels[:2]:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator([1, 3, 10, 30, 100]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels(["1", "3", "10", "30", "100"])
    panels[2].axvline(1 - MARGIN, color="black", linestyle=":", linewidth=1)
    panels[2].annotate(
        f"margin {MARGIN:.0%}",
        (1 - MARGIN, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-4, -12),
        textcoords="offset points",
        ha="right",
        fontsize=8,
    )
    panels[0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panels[0].set_ylim(bottom=0)
    panels[0].set_ylabel("unlabelled candidates that are relevant")
    panels[0].legend()
    with matplotlib.rc_context({"svg.hashsalt": "hnmine"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="RUN=QRELS")
    parser.add_argument("--from", dest="measured", type=Path, metavar="FILE", help="what --json wrote")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    if bool(given.runs) == bool(given.measured):
        parser.error("either RUN=QRELS... or --from FILE")
    if given.measured:
        found = json.loads(given.measured.read_text(encoding="utf-8"))
    else:
        pairs = [one.split("=", 1) for one in given.runs]
        found = {Path(run).name: measure(Path(run), qrels) for run, qrels in pairs}
    text = json.dumps(found, indent=1) + "\n"
    if given.json:
        given.json.write_text(text, encoding="utf-8")
    if given.plot:
        plot(found, given.plot)
    if not given.json and not given.plot:
        print(text, end="")


if __name__ == "__main__":
    main()
