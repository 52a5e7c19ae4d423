"""What a window of doubt costs and what it finds: candidates a query asked about, and false negatives among them.

    python scripts/measure_judge_window.py CANDIDATES=QRELS ...

CANDIDATES (a run directory or candidates) was mined with few known positives a query; QRELS is the full judgment, which
only this script reads. For each lower end of `--judge-window` (the upper one is 1): candidates and requests a query,
and the share that would be shown to a judge of (a) the relevant candidates that are not known to be, (b) those of them
that the default filter picks as negatives, (c) all negatives that it picks. One JSON object a collection and window on
standard output.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from guard_study import read

from hnmine.core import guard
from hnmine.core.grouped import order_among
from hnmine.core.judging import MOST_CANDIDATES

WINDOWS = (0.0, 0.001, 0.003, 0.01, 0.02, 0.03, 0.05, 0.1)
MOST = 0.03
"""The probability above which the default filter drops a candidate."""
NEGATIVES = 7


def main(arguments: list[str]) -> None:
    """Measure every window on every collection."""
    for spec in arguments:
        study = read(spec)
        terms = study.terms
        p = guard.probabilities(terms, guard.fit([terms]))
        open_rows = terms.is_open
        unknown = study.relevant & open_rows
        place = order_among(terms.owner, -np.arange(len(p), dtype=np.float64), open_rows & (p <= MOST))
        picked = (place >= 1) & (place <= NEGATIVES) & open_rows & (p <= MOST)
        queries = len(np.unique(terms.owner))
        for low in WINDOWS:
            asked = open_rows & (p >= low)
            each = np.bincount(terms.owner[asked], minlength=queries)
            found = {
                "collection": study.name,
                "window": f"{low:g}:1",
                "candidates_a_query": round(float(each.mean()), 1),
                "requests_a_query": round(float(np.ceil(each / MOST_CANDIDATES).mean()), 2),
                "false_negatives_seen": _share(asked & unknown, unknown),
                "picked_false_negatives_seen": _share(asked & unknown & picked, unknown & picked),
                "picked_seen": _share(asked & picked, picked),
            }
            print(json.dumps(found), flush=True)


def _share(part: np.ndarray, whole: np.ndarray) -> float | None:
    return round(float(part.sum() / whole.sum()), 3) if whole.any() else None


if __name__ == "__main__":
    main(sys.argv[1:])
