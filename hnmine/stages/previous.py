"""`mine --previous`: what an earlier round decided, as evidence of the next one, mined with a newer checkpoint.

The negatives and the reserve of the earlier round are candidates again, whoever finds them now, so that the newer model
scores them beside what it finds itself: a negative that became easy falls behind, and one of the reserve or a new one
takes its place (ANCE, arXiv 2007.00808; Conan-embedding takes the next in line the same way). What was made a positive
then stays one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnmine.core.pool import Pairs, Pool, unite
from hnmine.errors import UsageError
from hnmine.files.artefact import Artefact, Json
from hnmine.files.candidates import CandidatesTable, Sources, among
from hnmine.files.collection import Collection, rows_in_order, rows_of
from hnmine.files.remote import as_path
from hnmine.schema import (
    DOC_ID,
    RANDOM_SOURCE,
    RELEVANCE,
    SOURCES,
    VERDICT,
    Kind,
    Verdict,
)
from hnmine.stages.places import open_artefact
from hnmine.stages.stage import require_made_from

Rows = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_VERDICTS = [verdict.value for verdict in Verdict]
_COLUMNS = (DOC_ID, VERDICT, RELEVANCE, SOURCES)


class Previous:
    """The decisions of an earlier round over the same collection."""

    def __init__(self, artefact: Artefact, collection: Collection) -> None:
        """Raises `ArtefactError` for decisions of another collection, `UsageError` for those of no query."""
        require_made_from(collection.artefact, artefact)
        self.artefact = artefact
        self._collection = collection
        self._table = CandidatesTable(artefact)
        if not len(self._table.query_ids):
            raise UsageError(f"--previous {artefact.path}: it decided about no query")

    @classmethod
    def open(cls, place: str, collection: Collection) -> Previous:
        """The decisions at a place, or those of the run directory there."""
        return cls(open_artefact(as_path(place), Kind.DECISIONS), collection)

    @cached_property
    def _query_rows(self) -> Rows:
        """The collection's row of each query, ascending."""
        return rows_in_order(self._collection.query_ids, pa.array(self._table.query_ids, pa.string()))

    @property
    def _min_relevance(self) -> int:
        """The lowest grade of a positive in the earlier round."""
        mined: Json = self.artefact.plan.get("mined") or {}
        return int(mined.get("min_relevance", self._collection.min_relevance))

    def check(self, query_rows: Rows) -> None:
        """Raise `UsageError` if the earlier round knew none of the queries that are mined now."""
        if len(query_rows) and not np.isin(query_rows, self._query_rows).any():
            raise UsageError(
                f"--previous {self.artefact.path}: none of the queries that are mined here was mined there",
                expected="an earlier round over the same queries",
                remedy="the same --limit and --seed in both rounds, or none",
            )

    def of(self, query_rows: Rows, excluded: Bools | None) -> Round:
        """What was decided about some queries, ascending; a query's place among them is its owner.

        `excluded` says which documents may not be used; they are left out.
        """
        places = np.minimum(np.searchsorted(self._query_rows, query_rows), len(self._query_rows) - 1)
        owner = np.flatnonzero(self._query_rows[places] == query_rows)
        table = self._table.read(places[owner], _COLUMNS, coded=True)
        offsets = self._table.offsets(places[owner])
        verdicts = table[VERDICT].combine_chunks()
        codes = np.array([_VERDICTS.index(word) for word in verdicts.dictionary.to_pylist()], np.int8)
        chosen = among(table[VERDICT], Verdict.NEGATIVE.value, Verdict.RESERVE.value)
        rows = rows_of(self._collection.doc_ids, table[DOC_ID])
        keep = np.arange(len(rows)) if excluded is None else np.flatnonzero(~excluded[rows])
        # Random rows fill up what is short, and are drawn anew.
        is_brought = chosen & ~Sources(table[SOURCES]).are(RANDOM_SOURCE)
        known = table[RELEVANCE].fill_null(self._min_relevance - 1).to_numpy() >= self._min_relevance
        is_made = among(table[VERDICT], Verdict.POSITIVE.value) & ~known
        return Round(
            pairs=Pairs(owner=np.repeat(owner, np.diff(offsets))[keep], rows=rows[keep]),
            verdict=codes[verdicts.indices.to_numpy()][keep],
            is_brought=is_brought[keep],
            is_made_positive=is_made[keep],
            queries=len(owner),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What an earlier round decided about a block of queries: one entry a row of its table."""

    pairs: Pairs
    verdict: npt.NDArray[np.int8]
    is_brought: Bools
    """Negatives and reserve, which are candidates again."""
    is_made_positive: Bools
    """Positives that the collection's judgments do not name."""
    queries: int

    def brought(self) -> Pairs:
        """The pairs that are in the table again: its negatives, its reserve, and what it made positives."""
        return self._take(self.is_brought | self.is_made_positive)

    def positives(self, known: Pairs, documents: int) -> Pairs:
        """The known positives and what the round made positives, by owner."""
        pool = unite({"known": known, "made": self._take(self.is_made_positive)}, 0, documents)
        return Pairs(owner=pool.owner, rows=pool.rows)

    def _take(self, mask: Bools) -> Pairs:
        return Pairs(owner=self.pairs.owner[mask], rows=self.pairs.rows[mask])

    def look_up(self, pool: Pool) -> pa.Array:
        """The verdict of each row of a pool; null for rows that the round did not have."""
        places = pool.places(self.pairs)
        codes = np.append(self.verdict, np.int8(0))[places]  # the last, which is masked, where there is none
        indices = pa.array(codes, pa.int8(), mask=places < 0)
        return pa.DictionaryArray.from_arrays(indices, pa.array(_VERDICTS)).cast(pa.string())

    def counts(self, pool: Pool, others: Sequence[str]) -> Json:
        """Queries that the round had, its negatives in a pool, and how many of them one of the others found again."""
        was = pool.places(self._take(self.verdict == _VERDICTS.index(Verdict.NEGATIVE.value))) >= 0
        by_others = np.zeros(len(was), np.bool_)
        for name in others:
            by_others |= pool.brought(name)
        return {"queries": self.queries, "negatives": int(was.sum()), "found_again": int((was & by_others).sum())}
