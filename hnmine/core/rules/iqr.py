"""A ceiling from the query's own scores: far outliers among the candidates are likely positives."""

from __future__ import annotations

import numpy as np

from hnmine.core.evidence import Bools, Evidence, Floats
from hnmine.core.rules.base import Rule


def quartile(evidence: Evidence, among: Bools, share: float) -> Floats:
    """The quantile `share` of the judge's scores of each query's rows of `among`, linear between neighbours.

    One entry a query; NaN for a query without such a row.
    """
    queries = len(evidence.offsets) - 1
    owner, scores = evidence.owner[among], evidence.judge[among]
    order = np.lexsort((scores, owner))
    ascending = scores[order]
    counts = np.bincount(owner, minlength=queries)
    result = np.full(queries, np.nan)
    some = counts > 0
    first = (np.cumsum(counts) - counts)[some]
    place = share * (counts[some] - 1)
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, counts[some] - 1)
    result[some] = ascending[first + low] + (place - low) * (ascending[first + high] - ascending[first + low])
    return result


class Iqr(Rule):
    """Drops n with s(n) > Q3 + r * IQR, the quartiles taken over the query's candidates (Tukey's upper fence).

    UNPG (Jung et al., BMVC 2022, arXiv 2203.11593) uses r = 1.0 or 1.5. Counted are the candidates that are no
    positives and not brought by chance alone, whatever other rules say of them; one such row alone is never an outlier.
    """

    reason = "iqr"
    reads_judge = True
    counts_rows = True
    knob = "raise --iqr, or raise --top-k in mine"

    def __init__(self, times: float) -> None:
        self.times = times

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        among = np.isfinite(evidence.judge) & ~evidence.is_positive & ~evidence.is_random
        low, high = quartile(evidence, among, 0.25), quartile(evidence, among, 0.75)
        return np.asarray(evidence.judge > (high + self.times * (high - low))[evidence.owner])
