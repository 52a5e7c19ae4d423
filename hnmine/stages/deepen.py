"""`mine --deepen-from`: search deeper for the queries that starved, and take over the rows of all others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.errors import UsageError
from hnmine.files.artefact import Artefact, Json
from hnmine.files.candidates import CandidatesTable, ScoreInfo, query_offsets
from hnmine.files.collection import Collection, rows_of
from hnmine.files.tables import read_table
from hnmine.schema import IS_POSITIVE, QUERY_ID, RELEVANCE, SOURCES, VERDICT, Verdict, score_column

Rows = npt.NDArray[np.int64]


class Deepening:
    """Decisions whose candidates are mined again where a query got fewer negatives than were asked for.

    `query_rows` are the collection's rows of its queries, ascending; position i of any other array is that query.
    """

    def __init__(self, decisions: Artefact, collection: Collection, min_relevance: int) -> None:
        self.artefact = decisions
        self._table = CandidatesTable(decisions)
        self._min_relevance = min_relevance
        self.query_rows = rows_of(collection.query_ids, pa.array(self._table.query_ids, pa.string()))
        self.wanted: int = decisions.plan["options"]["num_negatives"]
        self.is_starved = self._starved()

    def _starved(self) -> npt.NDArray[np.bool_]:
        counts = [np.zeros(0, np.int64)]
        for part in self.artefact.files():
            table = read_table([part], [QUERY_ID, VERDICT])
            starts = query_offsets(table[QUERY_ID])[:-1]
            if len(starts):
                picked = pc.equal(table[VERDICT], Verdict.NEGATIVE.value).to_numpy()
                counts.append(np.add.reduceat(picked.astype(np.int64), starts))
        return np.concatenate(counts) < self.wanted

    def check(self, scores: Sequence[ScoreInfo], rank_by: str | None) -> None:
        """Raise `UsageError` unless new rows would have the scores and the order of the old ones."""
        problems = []
        old, new = [s.to_plan() for s in self._table.scores], [s.to_plan() for s in scores]
        if sorted(old, key=str) != sorted(new, key=str):
            was, now = (", ".join(s["name"] for s in found) or "none" for found in (old, new))
            problems.append(f"--deepen-from: its rows have the scores {was}, and this would mine {now}")
        elif self.artefact.plan["rank_by"] != rank_by:
            problems.append(
                f"--deepen-from: its rows are ranked by {self.artefact.plan['rank_by']}, these by {rank_by}"
            )
        if problems:
            raise UsageError(
                "\n".join(problems),
                expected="the same indexes, runs, names and --rank-by, and decisions made before hnmine score",
            )

    def mined(self, start: int, stop: int, mine: Callable[[Rows], tuple[pa.Table, Json]]) -> tuple[pa.Table, Json]:
        """The rows of queries `start` to `stop` (exclusive): those that starved from `mine`, the others as they were.

        Returns the table, queries in order, and its counts.
        """
        positions = np.arange(start, stop)
        starved = self.is_starved[start:stop]
        fresh, counts = mine(self.query_rows[positions[starved]])
        old = self._table.read(positions[~starved])
        missing = [name for name in fresh.column_names if name not in old.column_names]
        if missing:
            raise UsageError(f"--deepen-from: its rows have no {', '.join(missing)}", remedy="mine them all again")
        old = old.select(fresh.column_names).cast(fresh.schema)
        self._check_positives(old)
        both = pa.concat_tables([fresh, old])
        owner = np.concatenate([_owners(fresh, positions[starved]), _owners(old, positions[~starved])])
        table = both.take(pa.array(np.argsort(owner, kind="stable"))).combine_chunks()
        return table, {**_counts(table, len(positions), counts), "deepened": int(starved.sum())}

    def _check_positives(self, table: pa.Table) -> None:
        grade = table[RELEVANCE].fill_null(self._min_relevance - 1).to_numpy()
        if not np.array_equal(grade >= self._min_relevance, table[IS_POSITIVE].to_numpy()):
            raise UsageError(f"--deepen-from was mined with another --min-relevance than {self._min_relevance}")


def _owners(table: pa.Table, positions: Rows) -> Rows:
    return np.repeat(positions, np.diff(query_offsets(table[QUERY_ID])))


def _counts(table: pa.Table, queries: int, fresh: Mapping[str, Json]) -> Json:
    """The counts of `mine`, counted anew over old and new rows."""
    tokens = Counter(token for row in table[SOURCES].to_pylist() for token in row)
    return {
        "queries": queries,
        "candidates": table.num_rows,
        "positives": int(table[IS_POSITIVE].to_numpy().sum()),
        "brought": {name: tokens[name] + tokens[f"run:{name}"] for name in fresh["brought"]},
        "null_scores": {name: table[score_column(name)].null_count for name in fresh["null_scores"]},
    }
