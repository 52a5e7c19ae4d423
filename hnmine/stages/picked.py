"""What decisions picked: each query's positives and negatives, as ids and numbers; the texts stay on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.core.layout import Chosen
from hnmine.core.rules.consistency import Inconsistent
from hnmine.files.candidates import CandidatesTable, floats, ranks
from hnmine.files.collection import Collection, rows_of
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
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Documents in a list: their rows in the collection, and the table of what is known about them.

    `about` has doc_id, sources, step, score (the judge's; NaN where missing), rank (0 where missing) and weight (1 for
    a positive, for others 1 - p_false_negative; NaN where that is unknown).
    """

    rows: Ints
    about: pa.Table

    def column(self, name: str) -> npt.NDArray[Any]:
        """One column of numbers."""
        return np.asarray(self.about[name].to_numpy())

    def take(self, places: Ints) -> Texts:
        """The documents at the given places of the list."""
        return Texts(rows=self.rows[places], about=self.about.take(pa.array(places)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """The positives and negatives of the chosen queries; `chosen` says which query owns which.

    A query stands once for each of the epochs asked for, with that epoch's negatives; `epochs` says which it is.
    """

    query_rows: Ints
    epochs: Ints
    query_ids: list[str]
    chosen: Chosen
    positives: Texts
    negatives: Texts

    def documents(self, places: Ints) -> Ints:
        """The document row at each place of a layout."""
        return _at(places, self.positives.rows, self.negatives.rows)

    def scores(self, places: Ints) -> npt.NDArray[np.float64]:
        """The judge's score at each place of a layout; NaN where it is missing."""
        return _at(places, self.positives.column("score"), self.negatives.column("score"))

    def weights(self, places: Ints) -> npt.NDArray[np.float64]:
        """The weight at each place of a layout; NaN where nothing was estimated."""
        return _at(places, self.positives.column("weight"), self.negatives.column("weight"))

    def about(self, places: Ints) -> pa.Table:
        """What is known about the document at each place of a layout."""
        both = pa.concat_tables([self.positives.about, self.negatives.about])
        position = np.where(places >= 0, places, -1 - places + len(self.positives.rows))
        return both.take(pa.array(position)).combine_chunks()


def read_picked(
    collection: Collection,
    decisions: CandidatesTable,
    queries: Ints,
    *,
    max_positives: int | None = None,
    negatives: int | None = None,
    by_rank: bool = False,
    epoch: int | None = None,
) -> Picked:
    """The picked rows of the given queries: positives by rank, negatives in the order in which they were picked.

    `max_positives` and `negatives` keep the first so many of each query; `by_rank` puts the negatives in rank order,
    which is another one if they were drawn at random; `epoch` takes the negatives of that epoch alone.
    """

    def select(table: pa.Table, owner: Ints) -> tuple[Ints, Ints]:
        positive, negative = _with(table, Verdict.POSITIVE), _with(table, Verdict.NEGATIVE)
        if epoch is not None:
            negative = negative[table[EPOCH].fill_null(0).to_numpy()[negative] == epoch]
        if not by_rank:
            pick = table[PICK_RANK].fill_null(0).to_numpy()
            negative = negative[np.lexsort((pick[negative], owner[negative]))]
        return _first(owner, positive, max_positives), _first(owner, negative, negatives)

    return _read(collection, decisions, queries, select, epoch=epoch or 1)


def join(parts: Sequence[Picked]) -> Picked:
    """Several as one, in order."""

    def offsets(all_offsets: list[Ints]) -> Ints:
        return _offsets([np.diff(own) for own in all_offsets])

    def texts(lists: list[Texts]) -> Texts:
        about = pa.concat_tables([own.about for own in lists]).combine_chunks()
        return Texts(rows=np.concatenate([own.rows for own in lists]), about=about)

    return Picked(
        query_rows=np.concatenate([part.query_rows for part in parts]),
        epochs=np.concatenate([part.epochs for part in parts]),
        query_ids=[query_id for part in parts for query_id in part.query_ids],
        chosen=Chosen(
            positive_offsets=offsets([part.chosen.positive_offsets for part in parts]),
            negative_offsets=offsets([part.chosen.negative_offsets for part in parts]),
        ),
        positives=texts([part.positives for part in parts]),
        negatives=texts([part.negatives for part in parts]),
    )


def read_ranking(collection: Collection, decisions: CandidatesTable, queries: Ints, *, length: int) -> Picked:
    """The first `length` rows of each query that no rule dropped, positives among them, in place of the negatives."""

    def select(table: pa.Table, owner: Ints) -> tuple[Ints, Ints]:
        listed = _with(table, Verdict.POSITIVE, Verdict.NEGATIVE, Verdict.RESERVE)
        return _with(table, Verdict.POSITIVE), _first(owner, listed, length)

    return _read(collection, decisions, queries, select)


def _read(
    collection: Collection,
    decisions: CandidatesTable,
    queries: Ints,
    select: Callable[[pa.Table, Ints], tuple[Ints, Ints]],
    *,
    epoch: int = 1,
) -> Picked:
    """Read block by block; `select` gives the rows of positives and of negatives, by owner, best first.

    A query that `--consistency-top` dropped gives nothing, not even its positives: they are what was in doubt.
    """
    judge = decisions.artefact.plan["judge_by"]
    rank_by = decisions.artefact.plan["rank_by"]
    is_doubted = Inconsistent.reason in decisions.artefact.plan["rules"]
    told = [VERDICT, PICK_RANK, EPOCH, IS_POSITIVE, *([REASON] if is_doubted else [])]
    known = [DOC_ID, SOURCES, STEP, P_FALSE_NEGATIVE, score_column(judge or ""), rank_column(rank_by or "")]
    columns = [name for name in decisions.column_names if name in (*told, *known)]
    counts: dict[bool, list[Ints]] = {True: [], False: []}
    kept: dict[bool, list[pa.Table]] = {True: [], False: []}
    for block in decisions.pieces(queries, READ_ROWS):
        table = decisions.read(block, columns)
        owner = np.repeat(np.arange(len(block)), np.diff(decisions.offsets(block)))
        doubtful = np.zeros(len(block), np.bool_)
        if is_doubted:
            doubtful[owner[pc.equal(table[REASON], Inconsistent.reason).to_numpy()]] = True
        positive, negative = (rows[~doubtful[owner[rows]]] for rows in select(table, owner))
        for is_positive, rows in ((True, positive), (False, negative)):
            counts[is_positive].append(np.bincount(owner[rows], minlength=len(block)))
            kept[is_positive].append(_about(table.take(pa.array(rows)), judge=judge, rank_by=rank_by))
    ids = pa.array([decisions.query_ids[query] for query in queries.tolist()], pa.string())
    rows_found = rows_of(collection.query_ids, ids)
    texts = {}
    for is_positive, tables in kept.items():
        joined = pa.concat_tables(tables).combine_chunks()
        texts[is_positive] = Texts(rows=rows_of(collection.doc_ids, joined[DOC_ID]), about=joined)
    return Picked(
        query_rows=rows_found,
        epochs=np.full(len(rows_found), epoch),
        query_ids=ids.to_pylist(),
        chosen=Chosen(positive_offsets=_offsets(counts[True]), negative_offsets=_offsets(counts[False])),
        positives=texts[True],
        negatives=texts[False],
    )


def _about(table: pa.Table, *, judge: str | None, rank_by: str | None) -> pa.Table:
    """The columns of `Texts.about` for the rows of a table of decisions."""
    size = table.num_rows
    return (
        table.select([DOC_ID, SOURCES, STEP])
        .append_column("score", pa.array(floats(table, judge) if judge else np.full(size, np.nan)))
        .append_column("rank", pa.array(ranks(table, rank_by) if rank_by else np.zeros(size, np.int64)))
        .append_column("weight", pa.array(_weights(table)))
    )


def _weights(table: pa.Table) -> npt.NDArray[np.float64]:
    """1 for a positive, else 1 - p_false_negative; NaN where decisions of another making say nothing about it."""
    estimate = np.full(table.num_rows, np.nan)
    if P_FALSE_NEGATIVE in table.column_names:
        estimate = np.asarray(table[P_FALSE_NEGATIVE].to_numpy(zero_copy_only=False), np.float64)
    is_positive = np.asarray(table[IS_POSITIVE].to_numpy(zero_copy_only=False), np.bool_)
    return np.where(is_positive, 1.0, 1.0 - estimate)


def _with(table: pa.Table, *verdicts: Verdict) -> Ints:
    """The rows with one of the verdicts, in order."""
    wanted = pa.array([verdict.value for verdict in verdicts])
    return np.flatnonzero(pc.is_in(table[VERDICT], value_set=wanted).to_numpy())


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
