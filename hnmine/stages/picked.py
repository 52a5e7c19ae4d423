"""What decisions picked: each query's positives and negatives, as ids and numbers; the texts stay on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.core.layout import Chosen, Layout
from hnmine.core.rules import DOUBTS
from hnmine.core.shaping import difficulties
from hnmine.files.candidates import CandidatesTable, among, floats, ranks
from hnmine.files.collection import Collection, rows_in_order, rows_of
from hnmine.schema import (
    DOC_ID,
    EPOCH,
    IS_POSITIVE,
    P_FALSE_NEGATIVE,
    PICK_RANK,
    REASON,
    SOURCES,
    STEP,
    VERDICT,
    Verdict,
    rank_column,
    score_column,
)

READ_ROWS = 65_536
LOOKED_UP = 1 << 17
"""Document ids in memory at a time, at least."""
_BETWEEN = "\0"
"""Joins the names of a list of sources: no name holds it."""
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Documents in a list: their rows in the collection, and what is known about them, in numbers: 28 bytes each.

    `score` is the judge's (NaN where missing), `rank` 0 where missing, `weight` 1 for a positive, for others
    1 - p_false_negative (NaN where that is unknown); `sources` and `step` are codes of `Picked.words`.
    """

    rows: Ints
    score: npt.NDArray[np.float32]
    rank: npt.NDArray[np.int32]
    weight: npt.NDArray[np.float32]
    sources: npt.NDArray[np.int32]
    step: npt.NDArray[np.int32]

    def take(self, places: Ints) -> Texts:
        """The documents at the given places of the list."""
        return Texts(**{one.name: getattr(self, one.name)[places] for one in fields(self)})

    @classmethod
    def joined(cls, lists: Sequence[Texts]) -> Texts:
        """Several lists as one, in order; their codes must be of the same words."""
        return cls(**{one.name: np.concatenate([getattr(own, one.name) for own in lists]) for one in fields(cls)})


class Words:
    """The words of columns in which few are different, numbered as they came."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def codes(self, column: pa.ChunkedArray) -> npt.NDArray[np.int32]:
        """The number of each row's word."""
        found = column.combine_chunks()
        found = found if pa.types.is_dictionary(found.type) else found.dictionary_encode()
        known = [self._codes.setdefault(word, len(self._codes)) for word in found.dictionary.to_pylist()]
        codes: npt.NDArray[np.int32] = np.array(known, np.int32)[found.indices.to_numpy()]
        return codes

    def column(self, codes: npt.NDArray[np.int32]) -> pa.DictionaryArray:
        """The words again."""
        return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(list(self._codes), pa.string()))

    def lists(self, codes: npt.NDArray[np.int32]) -> pa.ListArray:
        """The words again, each taken apart into the list that it was joined of: lists of a dictionary."""
        apart = [word.split(_BETWEEN) if word else [] for word in self._codes]
        return pa.array(apart, pa.list_(pa.dictionary(pa.int32(), pa.string()))).take(pa.array(codes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """The positives and negatives of the chosen queries; `chosen` says which query owns which.

    A query stands once for each of the epochs asked for, with that epoch's negatives; `epochs` says which it is.
    `decisions` is the fingerprint of what was read.
    """

    query_rows: Ints
    epochs: Ints
    query_ids: pa.StringArray
    chosen: Chosen
    positives: Texts
    negatives: Texts
    words: Words
    decisions: str

    def documents(self, places: Ints) -> Ints:
        """The document row at each place of a layout."""
        return _at(places, self.positives.rows, self.negatives.rows)

    def scores(self, places: Ints) -> npt.NDArray[np.float32]:
        """The judge's score at each place of a layout; NaN where it is missing."""
        return _at(places, self.positives.score, self.negatives.score)

    def ranks(self, places: Ints) -> npt.NDArray[np.int32]:
        """The rank at each place of a layout; 0 where it is missing."""
        return _at(places, self.positives.rank, self.negatives.rank)

    def weights(self, places: Ints) -> npt.NDArray[np.float32]:
        """The weight at each place of a layout; NaN where nothing was estimated."""
        return _at(places, self.positives.weight, self.negatives.weight)

    def difficulties(self, layout: Layout) -> npt.NDArray[np.float32]:
        """How hard each row of a layout is under the judge; NaN where a score is missing."""
        return difficulties(self.chosen, layout, self.positives.score, self.negatives.score)

    def sources(self, places: Ints) -> pa.ListArray:
        """The list of sources at each place of a layout."""
        return self.words.lists(_at(places, self.positives.sources, self.negatives.sources))

    def steps(self, places: Ints) -> pa.DictionaryArray:
        """The step that filled each place of a layout."""
        return self.words.column(_at(places, self.positives.step, self.negatives.step))


def read_picked(
    collection: Collection,
    decisions: CandidatesTable,
    queries: Ints,
    *,
    max_positives: int | None = None,
    negatives: int | None = None,
    by_rank: bool = False,
    epoch: int | None = None,
    words: Words | None = None,
) -> Picked:
    """The picked rows of the given queries: positives by rank, negatives in the order in which they were picked.

    `max_positives` and `negatives` keep the first so many of each query; `by_rank` puts the negatives in rank order,
    which is another one if they were drawn at random; `epoch` takes the negatives of that epoch alone. What is to be
    joined is read with the same `words`.
    """

    def select(table: pa.Table, owner: Ints) -> tuple[Ints, Ints]:
        positive, negative = (
            np.flatnonzero(among(table[VERDICT], one)) for one in (Verdict.POSITIVE, Verdict.NEGATIVE)
        )
        if epoch is not None:
            negative = negative[table[EPOCH].fill_null(0).to_numpy()[negative] == epoch]
        known = ~np.asarray(table[IS_POSITIVE].to_numpy(zero_copy_only=False), np.bool_)[positive]
        positive = positive[np.lexsort((known, owner[positive]))]  # known ones before those that were relabelled
        if not by_rank:
            pick = table[PICK_RANK].fill_null(0).to_numpy()
            negative = negative[np.lexsort((pick[negative], owner[negative]))]
        return _first(owner, positive, max_positives), _first(owner, negative, negatives)

    return _read(collection, decisions.picked, queries, select, words or Words(), epoch=epoch or 1)


def join(parts: Sequence[Picked]) -> Picked:
    """Several as one, in order; they must have been read with the same words."""
    if len(parts) == 1:
        return parts[0]

    def offsets(all_offsets: list[Ints]) -> Ints:
        return _offsets([np.diff(own) for own in all_offsets])

    return Picked(
        query_rows=np.concatenate([part.query_rows for part in parts]),
        epochs=np.concatenate([part.epochs for part in parts]),
        query_ids=pa.concat_arrays([part.query_ids for part in parts]),
        chosen=Chosen(
            positive_offsets=offsets([part.chosen.positive_offsets for part in parts]),
            negative_offsets=offsets([part.chosen.negative_offsets for part in parts]),
        ),
        positives=Texts.joined([part.positives for part in parts]),
        negatives=Texts.joined([part.negatives for part in parts]),
        words=parts[0].words,
        decisions=parts[0].decisions,
    )


def read_ranking(collection: Collection, decisions: CandidatesTable, queries: Ints, *, length: int) -> Picked:
    """The first `length` rows of each query that no rule dropped, positives among them, in place of the negatives."""

    def select(table: pa.Table, owner: Ints) -> tuple[Ints, Ints]:
        listed = np.flatnonzero(among(table[VERDICT], Verdict.POSITIVE, Verdict.NEGATIVE, Verdict.RESERVE))
        return np.flatnonzero(among(table[VERDICT], Verdict.POSITIVE)), _first(owner, listed, length)

    return _read(collection, decisions, queries, select, Words())


def columns_read(judge: str | None, rank_by: str | None) -> list[str]:
    """The columns of decisions that are read of picked rows; some decisions lack some of them."""
    told = [VERDICT, PICK_RANK, EPOCH, IS_POSITIVE]
    return [*told, DOC_ID, SOURCES, STEP, P_FALSE_NEGATIVE, score_column(judge or ""), rank_column(rank_by or "")]


def _read(
    collection: Collection,
    decisions: CandidatesTable,
    queries: Ints,
    select: Callable[[pa.Table, Ints], tuple[Ints, Ints]],
    words: Words,
    *,
    epoch: int = 1,
) -> Picked:
    """Read block by block; `select` gives the rows of positives and of negatives, by owner, best first.

    A query that a rule dropped as a whole gives nothing, not even its positives: they are what was in doubt.
    """
    judge = decisions.artefact.plan["judge_by"]
    rank_by = decisions.artefact.plan["rank_by"]
    doubts = [rule for rule in DOUBTS if rule in decisions.artefact.plan["rules"]]
    wanted = [*columns_read(judge, rank_by), *([REASON] if doubts else [])]
    columns = [name for name in decisions.column_names if name in wanted]
    counts: dict[bool, list[Ints]] = {True: [], False: []}
    kept: dict[bool, list[Texts]] = {True: [], False: []}
    waiting: dict[bool, list[pa.Table]] = {True: [], False: []}

    def look_up(is_positive: bool) -> None:
        # Many documents at a time: each look-up reads all ids of the collection.
        table = pa.concat_tables(waiting[is_positive])
        kept[is_positive].append(_texts(collection, table, words, judge=judge, rank_by=rank_by))
        waiting[is_positive] = []

    for block in decisions.pieces(queries, READ_ROWS):
        table = decisions.read(block, columns, coded=True)
        owner = np.repeat(np.arange(len(block)), np.diff(decisions.offsets(block)))
        doubtful = np.zeros(len(block), np.bool_)
        if REASON in columns:
            doubtful[owner[among(table[REASON], *doubts)]] = True
        positive, negative = (rows[~doubtful[owner[rows]]] for rows in select(table, owner))
        for is_positive, rows in ((True, positive), (False, negative)):
            counts[is_positive].append(np.bincount(owner[rows], minlength=len(block)))
            waiting[is_positive].append(table.take(pa.array(rows)))
            if sum(len(part) for part in waiting[is_positive]) >= LOOKED_UP:
                look_up(is_positive)
    for is_positive, left in waiting.items():
        if left:
            look_up(is_positive)
    ids = decisions.query_ids.take(pa.array(queries))
    rows_found = rows_in_order(collection.query_ids, ids)
    return Picked(
        query_rows=rows_found,
        epochs=np.full(len(rows_found), epoch),
        query_ids=ids,
        chosen=Chosen(positive_offsets=_offsets(counts[True]), negative_offsets=_offsets(counts[False])),
        positives=Texts.joined(kept[True]),
        negatives=Texts.joined(kept[False]),
        words=words,
        decisions=decisions.artefact.fingerprint,
    )


def _texts(collection: Collection, table: pa.Table, words: Words, *, judge: str | None, rank_by: str | None) -> Texts:
    """The documents of the rows of a table of decisions."""
    size = table.num_rows
    return Texts(
        rows=rows_of(collection.doc_ids, table[DOC_ID]),
        score=(floats(table, judge) if judge else np.full(size, np.nan)).astype(np.float32),
        rank=(ranks(table, rank_by) if rank_by else np.zeros(size)).astype(np.int32),
        weight=_weights(table).astype(np.float32),
        sources=words.codes(pc.binary_join(table[SOURCES].cast(pa.list_(pa.string())), _BETWEEN)),
        step=words.codes(table[STEP]),
    )


def _weights(table: pa.Table) -> npt.NDArray[np.float64]:
    """1 for a positive, else 1 - p_false_negative; NaN where decisions of another making say nothing about it."""
    estimate = np.full(table.num_rows, np.nan)
    if P_FALSE_NEGATIVE in table.column_names:
        estimate = np.asarray(table[P_FALSE_NEGATIVE].to_numpy(zero_copy_only=False), np.float64)
    return np.where(among(table[VERDICT], Verdict.POSITIVE), 1.0, 1.0 - estimate)


def _first(owner: Ints, rows: Ints, most: int | None) -> Ints:
    """The first `most` of the rows of each owner; all of them if None."""
    if most is None:
        return rows
    owners = owner[rows]
    return rows[np.arange(len(rows)) - np.searchsorted(owners, owners, side="left") < most]


def _offsets(counts: list[Ints]) -> Ints:
    return np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)


def _at(places: Ints, positives: npt.NDArray[Any], negatives: npt.NDArray[Any]) -> npt.NDArray[Any]:
    result = np.empty(len(places), positives.dtype)
    is_positive = places >= 0
    result[is_positive] = positives[places[is_positive]]
    result[~is_positive] = negatives[-1 - places[~is_positive]]
    return result
