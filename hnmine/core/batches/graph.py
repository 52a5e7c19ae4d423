"""Queries joined with the documents that they found: who is alike is told from that, without a model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hnmine.core.layout import Keys

Ints = npt.NDArray[np.int64]

DEPTH = 32
"""The first documents of a list that count, beside the positives."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Graph:
    """Query q found the documents `documents[offsets[q]:offsets[q + 1]]`, numbered from 0, none of them twice.

    `keys` are the documents' hashes. 8 bytes an edge.
    """

    offsets: Ints
    documents: Ints
    keys: Keys

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def owner(self) -> Ints:
        """The query of each edge."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @classmethod
    def of(cls, owner: Ints, keys: Keys, queries: int) -> Graph:
        """From the text key of each document that a query found; equal texts are one document."""
        unique, document = np.unique(keys, return_inverse=True)
        order = np.lexsort((document, owner))
        owner, document = owner[order], document[order]
        is_new = np.ones(len(owner), np.bool_)
        is_new[1:] = (owner[1:] != owner[:-1]) | (document[1:] != document[:-1])
        counts = np.bincount(owner[is_new], minlength=queries)
        return cls(offsets=np.concatenate([[0], np.cumsum(counts)]), documents=document[is_new], keys=unique)
