"""How well `p_false_negative` is calibrated and how well it ranks, on judged collections.

    python scripts/evaluate_guard.py [--leave-one-out] [--only-dense | --only-lexical] CANDIDATES=QRELS ...

CANDIDATES (a run directory or candidates) was mined with few known positives a query; QRELS is the full judgment,
which only this script reads. With --leave-one-out the weights are learned anew from the other collections given, and
from none of the evaluated one; --only-dense and --only-lexical look at each table as if the other kind of retriever
had not been there. One JSON object a collection on stdout: ECE over 15 bins of equal mass (over all
unlabelled rows, and over each query's ten likeliest), AUC beside that of every single signal, the base rate and its
estimate.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from guard_study import Judged, auc, ece, learn, only, read

from hnmine.core import guard
from hnmine.core.grouped import order_among


def measure(study: Judged, weights: guard.Weights | None) -> dict[str, object]:
    """The figures of one collection."""
    terms = study.terms
    state = guard.fit([terms], weights)
    p = guard.probabilities(terms, state, weights)
    rows = terms.is_open
    truth = study.relevant[rows]
    head = rows & (order_among(terms.owner, p, rows) <= 10)
    single = {name: auc(truth, values[rows]) for name, values in study.singles.items()} if truth.any() else {}
    best = max(single, key=lambda name: single[name]) if single else None
    queries = max(len(np.unique(terms.owner[rows])), 1)
    return {
        "collection": study.name,
        "queries": queries,
        "rows": int(rows.sum()),
        "ece": round(ece(truth, p[rows]), 4),
        "ece_of_base_rate_0": round(float(truth.mean()), 4),
        "ece_head": round(ece(study.relevant[head], p[head]), 4),
        "head_true": round(float(study.relevant[head].mean()), 4),
        "head_estimated": round(float(p[head].mean()), 4),
        "base_rate": round(float(truth.mean()), 4),
        "estimated": round(float(p[rows].mean()), 4),
        "per_query_true": round(truth.sum() / queries, 2),
        "per_query_estimated": round(float(p[rows].sum()) / queries, 2),
        "auc": round(auc(truth, p[rows]), 4) if truth.any() else None,
        "best_single": [best, round(single[best], 4)] if best else None,
        "auc_of_singles": {name: round(value, 4) for name, value in single.items()},
        "trust": state["trust"],
        "labelled_share": state["labelled_share"],
        "coupling": state["coupling"],
    }


def main(arguments: list[str]) -> None:
    """Evaluate each collection, with the shipped weights or with those learned from the others."""
    studies = [read(spec) for spec in arguments if not spec.startswith("--")]
    for kind in (guard.DENSE, guard.LEXICAL):
        if f"--only-{kind}" in arguments:
            studies = [only(study, kind) for study in studies]
    for study in studies:
        weights = None
        if "--leave-one-out" in arguments:
            weights = learn([other for other in studies if other is not study])
        print(json.dumps(measure(study, weights)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
