"""Which rows of a training file are written, on which side, in which order: selections and orders of a layout.

Everything is by query and keyed, so that it depends on neither the order of work nor on what else there is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hnmine.core.layout import Bools, Chosen, Ints, Keys, Layout

Scores = npt.NDArray[np.float32]
_AT_A_TIME = 1 << 17
"""Rows whose difficulty is computed at a time."""


def held_out(keys: Keys, share: float) -> Bools:
    """Which of the uniform keys are in the lowest `share` (0 to 1) of all that there could be, whatever the others."""
    return np.asarray(keys.astype(np.float64) < share * 2.0**64)


def whole_groups(group: Ints, keys: Keys, most: int) -> Bools:
    """Which groups to keep so that no more than `most` rows are left: the first in the order of their keys.

    `group[i]` is the group of row i, `keys` has one number a group. A group is kept as a whole or not at all, and all
    that a smaller `most` keeps a larger one keeps too.
    """
    order = np.argsort(keys, kind="stable")
    rows = np.cumsum(np.bincount(group, minlength=len(keys))[order])
    keep = np.zeros(len(keys), np.bool_)
    keep[order[rows <= most]] = True
    return keep


def difficulties(chosen: Chosen, layout: Layout, positives: Scores, negatives: Scores) -> Scores:
    """How hard each row is: the mean score of its negatives less the mean score of its positives (float32).

    That is the margin of MarginMSE (Hofstätter et al. 2020) with its sign turned, so that a row grows harder as the
    number grows. What a row has none of counts as its query has it: a pair of a query and a negative is compared with
    the query's positives. NaN where a score is missing, or where the query has no positive or no negative.

    `positives` and `negatives` are the scores of the lists of `chosen`.
    """
    found = [np.empty(0, np.float32)]
    for start in range(0, len(layout), _AT_A_TIME):
        rows = layout.between(start, min(start + _AT_A_TIME, len(layout)))
        owner = np.repeat(np.arange(len(rows)), np.diff(rows.offsets))
        is_positive = rows.places >= 0
        near, far = (
            _side(rows.query, owner[own], places[own], offsets, scores)
            for own, places, offsets, scores in (
                (is_positive, rows.places, chosen.positive_offsets, positives),
                (~is_positive, -1 - rows.places, chosen.negative_offsets, negatives),
            )
        )
        found.append((far - near).astype(np.float32))
    return np.concatenate(found)


def arranged(part: Ints, difficulty: Scores | None) -> Ints:
    """The rows by part, within a part as they stand; or from easy to hard, those that cannot be told first."""
    if difficulty is None:
        return np.argsort(part, kind="stable")
    return np.lexsort((np.where(np.isnan(difficulty), -np.inf, difficulty), part))


def _side(query: Ints, owner: Ints, places: Ints, offsets: Ints, scores: Scores) -> npt.NDArray[np.float64]:
    """The mean score of each row's documents of one side; of its query's, where the row has none of them.

    `owner` and `places` are the rows of these documents, and where they stand in the list that `offsets` cuts.
    """
    found = _means(owner, scores[places], len(query))
    lacking = np.flatnonzero(np.bincount(owner, minlength=len(query)) == 0)
    low = offsets[query[lacking]]
    lengths = offsets[query[lacking] + 1] - low
    starts = np.concatenate([[0], np.cumsum(lengths)])[:-1]
    whose = np.repeat(np.arange(len(lacking)), lengths)
    found[lacking] = _means(whose, scores[np.arange(len(whose)) + (low - starts)[whose]], len(lacking))
    return found


def _means(owner: Ints, values: Scores, size: int) -> npt.NDArray[np.float64]:
    """The mean of each owner's values; NaN for one without."""
    sums, counts = np.bincount(owner, values, size), np.bincount(owner, minlength=size)
    means: npt.NDArray[np.float64] = np.divide(sums, counts, out=np.full(size, np.nan), where=counts > 0)
    return means
