"""`mine --deepen-from`: search deeper for the queries that starved, and take over the rows of all others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.errors import UsageError
from hnmine.files.artefact import Artefact, Json
from hnmine.files.candidates import CandidatesTable, ScoreInfo, query_offsets
from hnmine.files.collection import Collection, rows_of
from hnmine.files.tables import read_table
from hnmine.schema import IS_POSITIVE, PREVIOUS, QUERY_ID, SOURCES, VERDICT, Verdict, score_column
from hnmine.stages.indexes import TOP_K

Rows = npt.NDArray[np.int64]

_SETTINGS = ("--random", "--random-near", "--min-relevance", "--clusters", "--where")
_SEED = ("--seed",)
_INDEX = "index:"
_DEEPER = 4
"""How many times as deep to search when nobody says."""


class Deepening:
    """Decisions whose candidates are mined again where a query got fewer negatives than were asked for.

    `query_rows` are the collection's rows of its queries, ascending; position i of any other array is that query.
    """

    def __init__(self, decisions: Artefact, collection: Collection) -> None:
        self.artefact = decisions
        self._table = CandidatesTable(decisions)
        self.query_rows = rows_of(collection.query_ids, pa.array(self._table.query_ids, pa.string()))
        asked = decisions.plan["options"]
        self.wanted: int = asked["num_negatives"] * asked["epochs"]
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

    def check(self, scores: Sequence[ScoreInfo], rank_by: str | None, now: Json) -> None:
        """Raise `UsageError` unless new rows would have the scores and the order of the old ones, and were mined alike.

        `now` are the `settings` of the new mine.
        """
        problems = []
        old, new = [s.to_plan() for s in self._table.scores], [s.to_plan() for s in scores]
        if sorted(old, key=str) != sorted(new, key=str):
            was, now_named = (", ".join(s["name"] for s in found) or "none" for found in (old, new))
            problems.append(f"--deepen-from: its rows have the scores {was}, and this would mine {now_named}")
        elif self.artefact.plan["rank_by"] != rank_by:
            problems.append(
                f"--deepen-from: its rows are ranked by {self.artefact.plan['rank_by']}, these by {rank_by}"
            )
        if problems:
            raise UsageError(
                "\n".join(problems),
                expected="the same indexes, runs, names and --rank-by, and decisions made before hnmine score",
            )
        then = self._mined()
        is_drawn = any(found[name] for found in (then, now) for name in ("random", "random_near"))
        for flag in (*_SETTINGS, *(_SEED if is_drawn else ())):
            before, after = (found[flag.removeprefix("--").replace("-", "_")] for found in (then, now))
            if before != after:
                problems.append(
                    f"--deepen-from was mined with {_shown(flag, before)}, and this with {_shown(flag, after)}"
                )
        if then.get(PREVIOUS) != now[PREVIOUS]:
            problems.append("--deepen-from was mined with another --previous, or one of the two without any")
        if "excluded" in then:
            lists = " and ".join(f"--exclude-{side}" for side in then["excluded"])
            problems.append(f"--deepen-from was mined with {lists}, which a deeper search would bring back")
        for kind in ("indexes", "run"):
            for name in sorted(then[kind].keys() & now[kind].keys()):
                if then[kind][name] != now[kind][name]:
                    problems.append(f"--deepen-from was mined with another {name}: its content differs")
        if problems:
            raise UsageError("\n".join(problems), expected="the settings of the earlier mine, its --top-k aside")

    def _mined(self) -> Json:
        mined: Json | None = self.artefact.plan.get("mined")
        if mined is None:
            raise UsageError(
                f"--deepen-from {self.artefact.path}: it does not say how its candidates were mined",
                remedy="filter them again, with this version of hnmine",
            )
        return mined

    def depth(self, asked: int | None, documents: int) -> int:
        """How deep to search: as `asked`, else four times as deep as before; `UsageError` if that is not deeper."""
        before: int = self._mined()["top_k"]
        if asked is not None and asked <= before:
            raise UsageError(
                f"--top-k {asked}: --deepen-from was mined with --top-k {before} already",
                expected=f"more than {before}; {min(_DEEPER * before, documents)} without --top-k",
            )
        if before >= documents:
            raise UsageError(
                f"--deepen-from was mined with --top-k {before}, and there are {documents} documents",
                expected="a corpus that a search can go deeper into",
                remedy="loosen the rules",
            )
        return min(_DEEPER * before or TOP_K, documents) if asked is None else asked

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
        both = pa.concat_tables([fresh, old])
        owner = np.concatenate([_owners(fresh, positions[starved]), _owners(old, positions[~starved])])
        table = both.take(pa.array(np.argsort(owner, kind="stable"))).combine_chunks()
        return table, {**_counts(table, len(positions), counts), "deepened": int(starved.sum())}


def mined_with(plan: Mapping[str, Any]) -> Json | None:
    """The settings in the plan of candidates that deepening must find again; None if it is not a plan of `mine`."""
    if "top_k" not in plan["options"]:
        return None
    excluded = {"excluded": plan["excluded"]} if "excluded" in plan else {}
    return {**settings(plan["options"], plan["inputs"]), **excluded}


def settings(options: Mapping[str, Any], inputs: Mapping[str, str]) -> Json:
    """What of the options and inputs (fingerprints by name) in a plan of `mine` decides the rows of a query."""
    kept = ("top_k", "random", "random_near", "seed", "min_relevance", "clusters", "where", "run")
    indexes = {name.removeprefix(_INDEX): digest for name, digest in inputs.items() if name.startswith(_INDEX)}
    return {**{name: options.get(name) for name in kept}, "indexes": indexes, PREVIOUS: inputs.get(PREVIOUS)}


def _shown(flag: str, value: object) -> str:
    return f"no {flag}" if value is None else f"{flag} {value}"


def _owners(table: pa.Table, positions: Rows) -> Rows:
    return np.repeat(positions, np.diff(query_offsets(table[QUERY_ID])))


def _counts(table: pa.Table, queries: int, fresh: Mapping[str, Json]) -> Json:
    """The counts of `mine`, counted anew over old and new rows."""
    tokens = Counter(token for row in table[SOURCES].to_pylist() for token in row)
    found: Json = {
        "queries": queries,
        "candidates": table.num_rows,
        "positives": int(table[IS_POSITIVE].to_numpy().sum()),
        "brought": {name: tokens[name] + tokens[f"run:{name}"] for name in fresh["brought"]},
        "null_scores": {name: table[score_column(name)].null_count for name in fresh["null_scores"]},
    }
    if "queries_without_candidates" in fresh:
        others = table[QUERY_ID].filter(pc.invert(table[IS_POSITIVE]))
        found["queries_without_candidates"] = queries - len(pc.unique(others))
    return found
