"""Ensembles of teachers: every retriever is a teacher, and they share out the queries or take turns in each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hnmine.core.evidence import Bools, Evidence, Floats, Ints
from hnmine.core.grouped import order_among
from hnmine.core.layout import Keys, mix
from hnmine.core.picks.base import Picker

_NOWHERE = np.iinfo(np.int64).max


class CrossTeacher(Picker):
    """One teacher a query, drawn, gives all its negatives: the survivors in that teacher's order.

    Cross-sample ensembling of NV-Retriever (Moreira et al. 2024, arXiv 2407.15831). The draw is keyed by (seed, query,
    its positives), so it stays when more candidates are mined. Rows beyond the teacher's top k follow by its score,
    rows without one come last.
    """

    token = "cross-teacher"
    is_random = True

    def __init__(self, teachers: Sequence[str]) -> None:
        self.teachers = teachers

    def teacher_of(self, evidence: Evidence, draw: Keys) -> Ints:
        """The number of each query's teacher."""
        number = np.zeros(len(evidence.offsets) - 1, np.uint64)
        positive = evidence.is_positive
        np.bitwise_xor.at(number, evidence.owner[positive], draw[positive])
        # Mixed, because the draws also decide elsewhere: a query with one positive has that row's number here.
        mixed = mix(number, np.zeros(len(number), np.int64))
        return np.asarray(mixed % np.uint64(len(self.teachers)), np.int64)

    @property
    def is_consistent(self) -> bool:
        """Yes: the order is the teacher's."""
        return True

    def _keys(self, evidence: Evidence, eligible: Bools, draw: Keys) -> Sequence[npt.NDArray[Any]]:
        teacher = self.teacher_of(evidence, draw)[evidence.owner]
        place = np.full(len(teacher), _NOWHERE)
        score: Floats = np.full(len(teacher), np.nan)
        for number, name in enumerate(self.teachers):
            own = teacher == number
            rank = evidence.ranks[name][own]
            place[own] = np.where(rank > 0, rank, _NOWHERE)
            score[own] = evidence.scores[name][own]
        return (place, -score)


class IntraTeacher(Picker):
    """The teachers take turns in every query: the best survivor of each, then the second of each, and so on.

    Intra-sample ensembling of NV-Retriever (Moreira et al. 2024, arXiv 2407.15831), without repetitions: a teacher
    whose survivor another one gave before passes. Teachers have their turn in the order of the table. Rows that no
    teacher ranked come last, in rank-by order.
    """

    token = "intra-teacher"

    def __init__(self, teachers: Sequence[str]) -> None:
        self.teachers = teachers

    @property
    def is_consistent(self) -> bool:
        """Yes: a row that is not picked has only later ones of its teacher behind it."""
        return True

    def _keys(self, evidence: Evidence, eligible: Bools, draw: Keys) -> Sequence[npt.NDArray[Any]]:
        turn = np.full(len(eligible), _NOWHERE)
        giver = np.zeros(len(eligible), np.int64)
        for number, name in enumerate(self.teachers):
            rank = evidence.ranks[name]
            given = order_among(evidence.owner, -rank.astype(np.float64), eligible & (rank > 0))
            earlier = (given > 0) & (given < turn)
            turn[earlier], giver[earlier] = given[earlier], number
        return (turn, giver)
