"""Near-copies planted in bulk: texts that are nearly the same and take the first places of a query together.

A few copies are everywhere; they become suspicious where they crowd out all else. So documents are compared within
the lists they were found in, and a group counts once it fills half of a list.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hnmine.core.evidence import Bools, Floats, Ints
from hnmine.hashing import bare_text, keyed_hashes

Sketches = npt.NDArray[np.uint32]
"""One row a text."""

RESEMBLANCE = 0.5
"""From here on texts are near-copies: the share of shingles that Broder et al. (1997) took for the web."""
LIST = 10
"""Places of a list that are looked at."""
BULK = LIST // 2
"""So many near-copies among the first `LIST` of one query are a bulk."""

_SHINGLE = 8
_MOST_CHARACTERS = 20_000
_SIZE = 64
_FACTORS = np.array(keyed_hashes(0, "near-copies", last=map(str, range(2 * _SIZE))), np.uint64)
_ODD, _ADDED = _FACTORS[:_SIZE] | np.uint64(1), _FACTORS[_SIZE:]
_BASE = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)


def sketch(text: str) -> Sketches:
    """64 numbers of which two texts share about as large a part as of their shingles (MinHash: Broder 1997).

    Shingles are every 8 characters in a row of what `text_key` compares, of the first 20,000 characters: words play no
    part, so it is the same in languages that are written without spaces.
    """
    bare = bare_text(text).decode("utf-8", "surrogatepass")[:_MOST_CHARACTERS]
    codes = np.frombuffer(bare.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    windows = max(len(codes) - _SHINGLE + 1, 1)
    shingles = np.zeros(windows, np.uint64)
    with np.errstate(over="ignore"):
        for place in range(min(_SHINGLE, len(codes))):
            shingles = shingles * _BASE + codes[place : place + windows] + np.uint64(1)
        shingles = np.unique((shingles ^ (shingles >> _HALF)) * _BASE)
        return np.asarray(((shingles[:, None] * _ODD + _ADDED) >> _HALF).min(axis=0), np.uint32)


def resemblance(one: Sketches, other: Sketches) -> Floats:
    """The estimated share of shingles that each pair of texts has in common (Jaccard); off by 0.06 at 0.5, 1 sigma."""
    return np.asarray((one == other).mean(axis=1), np.float64)


def bulks(lists: Ints, sketches: Sketches) -> list[Ints]:
    """Groups of near-copies that fill half of some list, largest first, each in ascending order.

    `lists` are document numbers [lists, 10], -1 where a list is shorter; `sketches` one row a document number.
    """
    left, right = (place.ravel() for place in np.triu_indices(LIST, 1))
    pairs = np.stack([lists[:, left], lists[:, right]], axis=2)  # [lists, 45, 2]
    whole = (pairs >= 0).all(axis=2)
    near = np.zeros(whole.shape, np.bool_)
    once, back = np.unique(np.sort(pairs[whole], axis=1), axis=0, return_inverse=True)
    near[whole] = _near(once, sketches)[back.ravel()]
    full = [row for row in np.flatnonzero(near.sum(axis=1) >= BULK - 1) if _largest(left, right, near[row]) >= BULK]
    if not full:
        return []
    found = _components(len(sketches), pairs[near])
    crowded = {int(found[document]) for row in full for document in _members(lists[row], found)}
    groups = [np.flatnonzero(found == name) for name in crowded]
    return sorted(groups, key=lambda group: (-len(group), int(group[0])))


def _near(pairs: Ints, sketches: Sketches) -> Bools:
    step = 65_536
    pieces = (pairs[start : start + step] for start in range(0, len(pairs), step))
    found = [resemblance(sketches[piece[:, 0]], sketches[piece[:, 1]]) >= RESEMBLANCE for piece in pieces]
    return np.concatenate([np.zeros(0, np.bool_), *found])


def _largest(left: Ints, right: Ints, near: Bools) -> int:
    """How many places of one list the largest group takes, joined by that list's own pairs."""
    return int(np.bincount(_components(LIST, np.stack([left[near], right[near]], axis=1))).max())


def _members(row: Ints, found: Ints) -> Ints:
    """The documents of one list that belong to a group which fills half of it."""
    documents = row[row >= 0]
    names, counts = np.unique(found[documents], return_counts=True)
    return documents[np.isin(found[documents], names[counts >= BULK])]


def _components(size: int, pairs: Ints) -> Ints:
    """The least member of each number's group, where pairs are joined, and pairs of these."""
    parent = np.arange(size)
    while len(pairs):
        low = parent[pairs].min(axis=1)
        before = parent.copy()
        np.minimum.at(parent, pairs[:, 0], low)
        np.minimum.at(parent, pairs[:, 1], low)
        parent = parent[parent]
        if (parent == before).all():
            break
    return parent
