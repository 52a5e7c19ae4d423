"""What a judge is shown and what it finds there: candidates a query, and the false negatives among them.

    python scripts/measure_judge_window.py CANDIDATES=QRELS ...

CANDIDATES (a run directory or candidates) was mined with few known positives a query; QRELS is the full judgment,
which only this script reads. For lower ends of `--judge-window` (the upper one is 1) and for `--judge-top`: candidates
and requests a query, the share of the relevant candidates that are not known to be which a judge would see, and the
share of relevant ones among what it sees. One JSON object a collection and setting on standard output.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from guard_study import read

from hnmine.core import guard
from hnmine.core.grouped import order_among
from hnmine.core.judging import MOST_CANDIDATES

LOWS = (0.0, 0.01, 0.03, 0.1)
TOPS = (10, 25, 50, 1_000)


def main(arguments: list[str]) -> None:
    """Measure every setting on every collection."""
    for spec in arguments:
        study = read(spec)
        terms = study.terms
        p = guard.probabilities(terms, guard.fit([terms]))
        unknown = study.relevant & terms.is_open
        queries = len(np.unique(terms.owner))
        for low in LOWS:
            in_doubt = terms.is_open & (p >= low)
            place = order_among(terms.owner, p, in_doubt)
            for top in TOPS:
                asked = in_doubt & (place <= top)
                each = np.bincount(terms.owner[asked], minlength=queries)
                found = {
                    "collection": study.name,
                    "window": f"{low:g}:1",
                    "top": top,
                    "candidates_a_query": round(float(each.mean()), 1),
                    "requests_a_query": round(float(np.ceil(each / MOST_CANDIDATES).mean()), 2),
                    "false_negatives_seen": round(float((asked & unknown).sum() / max(unknown.sum(), 1)), 3),
                    "relevant_among_them": round(float((asked & unknown).sum() / max(asked.sum(), 1)), 3),
                }
                print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
