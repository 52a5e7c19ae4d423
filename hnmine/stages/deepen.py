"""`mine --deepen-from DECISIONS`: whom to search deeper for, and what to take over for the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.core.decide import STEP_NONE
from hnmine.errors import ArtefactError, UsageError
from hnmine.files.artefact import Artefact, Json
from hnmine.files.candidates import CandidatesTable
from hnmine.files.collection import Collection
from hnmine.files.tables import read_table
from hnmine.schema import QUERY_ID, STEP, VERDICT, Kind, Verdict
from hnmine.stages.places import open_artefact
from hnmine.stages.stage import require_made_from


class Deepening:
    """Decisions and the candidates as they were mined, before any reranking.

    A query *starved* if it got fewer negatives than were asked for, rows that `--short` filled in not counted.
    """

    def __init__(self, path: Path, collection: Collection) -> None:
        """Raises `ArtefactError` if these are no decisions, or about another collection."""
        self.decisions = open_artefact(path, Kind.DECISIONS)
        require_made_from(collection.artefact, self.decisions)
        candidates = self.decisions.input("candidates", Kind.CANDIDATES)
        while "reranker" in candidates.plan:
            candidates = candidates.input("candidates", Kind.CANDIDATES)
        self.candidates = candidates
        self.table = CandidatesTable(candidates)
        self.depth: int = candidates.plan["options"]["top_k"]
        self.shallowest: int = candidates.plan.get("shallowest", self.depth)
        self._place = {query_id: place for place, query_id in enumerate(self.table.query_ids)}
        self.starved = frozenset(_starved(self.decisions))

    def check(self, plan: Json, query_ids: list[str], depth: int) -> None:
        """Raise `UsageError` with every way in which a plan differs from that of the candidates but for its depth."""
        theirs = self.candidates.plan
        problems = []
        if depth <= self.depth:
            problems.append(f"--top-k {depth}: not deeper than the {self.depth} of {self.candidates.path}")
        ours, known = _sources(plan), _sources(theirs)
        for name in sorted({*ours, *known}):
            if ours.get(name) != known.get(name):
                problems.append(f"{name} is {_shown(ours, name)} here and was {_shown(known, name)} there")
        if not problems and query_ids != self.table.query_ids:
            problems.append("the queries are others")
        if problems:
            raise UsageError(
                "--deepen-from: this is not the same search\n  " + "\n  ".join(problems),
                expected=f"the sources and options that {self.candidates.path} was mined with, and a larger --top-k",
            )

    def is_starved(self, query_ids: list[str]) -> npt.NDArray[np.bool_]:
        """Which of the queries starved."""
        return np.array([query_id in self.starved for query_id in query_ids], np.bool_)

    def taken_over(self, query_ids: list[str]) -> pa.Table:
        """The rows of the given queries (in the collection's order), as they were."""
        return self.table.read(np.array([self._place[query_id] for query_id in query_ids], np.int64))


def interleave(deep: pa.Table, old: pa.Table, query_ids: list[str]) -> pa.Table:
    """The rows of both tables by the order of `query_ids`, rows of a query in their own order.

    Raises `ArtefactError` if the tables have other columns: an older hnmine wrote one of them.
    """
    if not old.schema.equals(deep.schema):
        raise ArtefactError(
            "--deepen-from: the candidates have other columns than this hnmine writes", remedy="mine them again"
        )
    both = pa.concat_tables([deep, old])
    places = pc.index_in(both[QUERY_ID], value_set=pa.array(query_ids, pa.string())).to_numpy()
    return both.take(pa.array(np.argsort(places, kind="stable"))).combine_chunks()


def _starved(decisions: Artefact) -> list[str]:
    """The ids of the queries with fewer negatives than asked for that no `--short` step filled in."""
    options = decisions.plan["options"]
    wanted = options["num_negatives"] * options["epochs"]
    found: list[str] = []
    for path in decisions.files():
        table = read_table([path], [QUERY_ID, VERDICT, STEP])
        good = pc.and_(pc.equal(table[VERDICT], Verdict.NEGATIVE.value), pc.equal(table[STEP], STEP_NONE))
        counts = table.append_column("good", good.cast(pa.int64())).group_by(QUERY_ID).aggregate([("good", "sum")])
        found += counts.filter(pc.less(counts["good_sum"], wanted))[QUERY_ID].to_pylist()
    return found


def _sources(plan: Json) -> dict[str, Any]:
    """What must be equal for the rows of two searches to stand in one table, by the name a person knows."""
    options = {f"--{k.replace('_', '-')}": v for k, v in plan["options"].items() if k not in ("top_k", "existing")}
    inputs = {name: value for name, value in plan["inputs"].items() if name.startswith("index:")}
    return {**options, **inputs, "scores": plan["scores"], "arithmetic": plan["arithmetic"]}


def _shown(values: dict[str, Any], name: str) -> str:
    return str(values[name])[:80] if name in values else "absent"
