"""Kernels over postings: a search that leaves out what cannot reach the first k, and the score of given pairs.

They are compiled by numba when imported.

MaxScore (Turtle and Flood, "Query Evaluation: Strategies and Optimizations", Information Processing and Management
1995), block by block of documents: the scores of a block stay in the processor's cache. The tokens of a query are
ordered by the most that each can add. Once k documents score above what the first few tokens can add in sum, a document
that has only those is out of the running: their postings, which are the longest, are then read only to complete the
scores that the other tokens' postings have begun.

A pair's score is a sum in float64, rounded to float32 once. The search adds the same numbers in another order; that
makes no difference as long as no sum in float64 has to be rounded, and none has but for odd weights; then it asks the
pair kernel.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hnmine.engines.kernels import compiled

FIRST_BLOCK, LARGEST_BLOCK = 1 << 12, 1 << 16
"""Documents of a block: small ones first, so that the k-th best score soon excludes."""
_DENSE = 4
"""A block is read through from end to end if more than one in so many of its documents has begun a score."""
_EXACT = 2.0**29
"""A float64 holds every sum of float32 numbers that is at most so many times the least of them: all are whole multiples
of that one's last bit, which is more than 2**-24 of it, and a float64 holds whole numbers to 2**53."""
_LOOK = 64
"""Scores that are looked at together whether one is above the bar."""


def _push_on(
    scores: npt.NDArray[np.float64], rows: npt.NDArray[np.int32], size: int, score: np.float64, row: np.int32
) -> int:
    """Put a score into a heap whose lowest comes first, in place of that one if it is full; the new size."""
    if size < len(scores):
        place = size
        while place > 0:
            above = (place - 1) >> 1
            if score >= scores[above]:
                break
            scores[place], rows[place] = scores[above], rows[above]
            place = above
        scores[place], rows[place] = score, row
        return size + 1
    place = 0
    while True:
        below = 2 * place + 1
        if below >= size:
            break
        if below + 1 < size and scores[below + 1] < scores[below]:
            below += 1
        if scores[below] >= score:
            break
        scores[place], rows[place] = scores[below], rows[below]
        place = below
    scores[place], rows[place] = score, row
    return size


def _advance_to(documents: npt.NDArray[np.int32], start: int, end: int, row: int) -> int:
    """The first position from `start` on, or `end`, whose document is `row` or a later one."""
    step, low, high = 1, start, start
    while high < end and documents[high] < row:
        low = high + 1
        high += step
        step *= 2
    high = min(high, end)
    while low < high:
        middle = (low + high) >> 1
        if documents[middle] < row:
            low = middle + 1
        else:
            high = middle
    return low


def _add_everywhere(
    begun: npt.NDArray[np.float64],
    documents: npt.NDArray[np.int32],
    impacts: npt.NDArray[np.float32],
    span: tuple[int, int],
    low: int,
    weight: np.float64,
) -> None:
    """Add the impacts of the postings of a span to the scores of a block that begins with document `low`."""
    # Unsigned indices, here and below: numba looks at every signed one whether it counts from the end, which takes
    # more than a tenth of all time.
    first = np.uint64(low)
    for at in range(np.uint64(span[0]), np.uint64(span[1])):
        begun[np.uint64(documents[at]) - first] += weight * impacts[at]


def _add_to_those_above(
    begun: npt.NDArray[np.float64],
    documents: npt.NDArray[np.int32],
    impacts: npt.NDArray[np.float32],
    span: tuple[int, int],
    low: int,
    weight: np.float64,
    needed: np.float64,
) -> None:
    """As `_add_everywhere`, to scores above `needed` alone."""
    first, nothing = np.uint64(low), 0.0
    for at in range(np.uint64(span[0]), np.uint64(span[1])):
        place = np.uint64(documents[at]) - first
        score, more = begun[place], weight * impacts[at]
        begun[place] = score + (more if score > needed else nothing)  # no branch: none could be foretold


def _any_of_them_above(scores: npt.NDArray[np.float64], start: int, stop: int, bar: np.float64) -> bool:
    """Whether one of the scores from `start` to `stop` is above a bar; looks at several at once."""
    found = np.uint32(0)
    for place in range(np.uint64(start), np.uint64(stop)):
        found |= np.uint32(scores[place] > bar)
    return bool(found)


def _score_of(
    offsets: npt.NDArray[np.int64],
    documents: npt.NDArray[np.int32],
    impacts: npt.NDArray[np.float32],
    absent: npt.NDArray[np.float32],
    tokens: npt.NDArray[np.int64],
    times: npt.NDArray[np.int64],
    start: int,
    stop: int,
    row: int,
) -> float:
    """The score of a document for the query that has the tokens from `start` to `stop`: what the others only find."""
    score = 0.0
    for position in range(start, stop):
        token = tokens[position]
        score += times[position] * np.float64(absent[token])
        low, end = offsets[token], offsets[token + 1]
        high = end
        while low < high:
            middle = (low + high) // 2
            if documents[middle] < row:
                low = middle + 1
            else:
                high = middle
        if low < end and documents[low] == row:
            score += times[position] * np.float64(impacts[low])
    return score


def _least_of(impacts: npt.NDArray[np.float32], start: int, stop: int, least: np.float32) -> np.float32:
    """The least of `least` and the impacts from `start` to `stop` that is above 0; infinity if none is."""
    found = least if least > 0 else np.float32(np.inf)
    for at in range(np.uint64(start), np.uint64(stop)):
        if 0 < impacts[at] < found:
            found = impacts[at]
    return found


_least = compiled(_least_of)
_score = compiled(_score_of)
_push = compiled(_push_on)
_advance = compiled(_advance_to)
_add = compiled(_add_everywhere)
_add_above = compiled(_add_to_those_above)
_any_above = compiled(_any_of_them_above)


def _search(
    offsets: npt.NDArray[np.int64],
    documents: npt.NDArray[np.int32],
    impacts: npt.NDArray[np.float32],
    absent: npt.NDArray[np.float32],
    peaks: npt.NDArray[np.float32],
    least: npt.NDArray[np.float32],
    size: int,
    allowed: npt.NDArray[np.bool_],
    tokens: npt.NDArray[np.int64],
    times: npt.NDArray[np.int64],
    token_offsets: npt.NDArray[np.int64],
    found: npt.NDArray[np.int32],
    scores: npt.NDArray[np.float32],
) -> None:
    k = found.shape[1]
    all_allowed = len(allowed) == 0
    widest = np.diff(token_offsets).max()
    begun = np.zeros(min(size, LARGEST_BLOCK), np.float64)
    position, end, first = np.empty(widest, np.int64), np.empty(widest, np.int64), np.empty(widest, np.int64)
    weight, most = np.empty(widest, np.float64), np.zeros(widest + 1, np.float64)
    best, rows = np.empty(k, np.float64), np.empty(k, np.int32)
    for query in range(len(token_offsets) - 1):
        start = token_offsets[query]
        count = token_offsets[query + 1] - start
        if count == 0:
            continue
        own = tokens[start : start + count]
        order = np.argsort(peaks[own] * times[start : start + count])
        nothing, finest = 0.0, np.inf
        for place in range(count):
            token = own[order[place]]
            weight[place] = times[start + order[place]]
            position[place], end[place] = offsets[token], offsets[token + 1]
            most[place + 1] = most[place] + weight[place] * peaks[token]
            nothing += weight[place] * absent[token]
            if least[token] == 0:
                least[token] = _least(impacts, offsets[token], offsets[token + 1], absent[token])
            finest = min(finest, least[token])
        # Sums are off by at most a rounding a step: what is below this share of the k-th best is below it.
        safe = 1.0 - (count + 2) * 2.0**-52
        held, bar, essential = 0, 0.0, 0
        low, block = 0, FIRST_BLOCK
        while low < size:
            high = min(low + block, size)
            block = min(2 * block, LARGEST_BLOCK)
            begins = 0
            for place in range(essential, count):
                first[place] = position[place]
                position[place] = _advance(documents, first[place], end[place], high)
                _add(begun, documents, impacts, (first[place], position[place]), low, weight[place])
                begins += position[place] - first[place]
            dense = begins * _DENSE > high - low
            for place in range(essential - 1, -1, -1):
                span = (position[place], _advance(documents, position[place], end[place], high))
                if dense:
                    _add(begun, documents, impacts, span, low, weight[place])
                elif begins:
                    needed = max(bar * safe - most[place + 1], 0.0)
                    _add_above(begun, documents, impacts, span, low, weight[place], needed)
                position[place] = span[1]
            if dense:
                for start_row in range(0, high - low, _LOOK):
                    stop_row = min(start_row + _LOOK, high - low)
                    if _any_above(begun, start_row, stop_row, bar):
                        for row in range(start_row, stop_row):
                            if begun[row] > bar and (all_allowed or allowed[low + row]):
                                held = _push(best, rows, held, begun[row], low + row)
                                if held == k:
                                    bar = best[0]
                begun[: high - low] = 0.0
            else:
                for place in range(essential, count):
                    for at in range(np.uint64(first[place]), np.uint64(position[place])):
                        row = documents[at]
                        score = begun[np.uint64(row) - np.uint64(low)]
                        begun[np.uint64(row) - np.uint64(low)] = 0.0
                        if score > bar and (all_allowed or allowed[row]):
                            held = _push(best, rows, held, score, row)
                            if held == k:
                                bar = best[0]
            while essential < count - 1 and most[essential + 1] <= bar * safe:
                essential += 1
            low = high
        down = np.argsort(-best[:held])
        for place in range(held):
            row, score = rows[down[place]], best[down[place]] + nothing
            if score > finest * _EXACT:
                score = _score(offsets, documents, impacts, absent, tokens, times, start, start + count, row)
            scores[query, place], found[query, place] = score, row


def _score_pairs(
    offsets: npt.NDArray[np.int64],
    documents: npt.NDArray[np.int32],
    impacts: npt.NDArray[np.float32],
    absent: npt.NDArray[np.float32],
    tokens: npt.NDArray[np.int64],
    times: npt.NDArray[np.int64],
    token_offsets: npt.NDArray[np.int64],
    pair_offsets: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    first: int,
    last: int,
    scores: npt.NDArray[np.float32],
) -> None:
    for query in range(first, last):
        start, stop = token_offsets[query], token_offsets[query + 1]
        for pair in range(pair_offsets[query], pair_offsets[query + 1]):
            scores[pair] = _score(offsets, documents, impacts, absent, tokens, times, start, stop, rows[pair])


search = compiled(_search)
"""Fill `found` and `scores`, of shape (queries, k), with each query's first k rows by score, descending.

What is not filled stays as it was. `peaks[t]` is the highest of token t's `impacts`, and `least[t]` the lowest above 0,
which is filled in where it is 0. Query i has the distinct tokens `tokens[token_offsets[i]:token_offsets[i + 1]]`, each
`times` over. Only documents that are `allowed` are found, all if that array is empty. Scores are those of
`score_pairs`; ties at the cut are left to chance.
"""
score_pairs = compiled(_score_pairs)
"""Fill in the scores of the pairs of queries `first` to `last`, sums over the query's distinct tokens, in their order.

Query i owns the rows from `pair_offsets[i]` to `pair_offsets[i + 1]`.
"""
