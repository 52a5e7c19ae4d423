"""The triplets that a person looks at: texts of some queries with their positives, negatives and nearest rejects."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.files.artefact import Json
from hnmine.files.candidates import CandidatesTable
from hnmine.files.collection import Collection, rows_of
from hnmine.schema import (
    CALLED_BY,
    DOC_ID,
    GRADES,
    P_FALSE_NEGATIVE,
    PICK_RANK,
    QUERY_ID,
    REASON,
    SOURCES,
    STEP,
    VERDICT,
    WRITTEN_BY,
    WRITTEN_FROM,
    Verdict,
    grade_column,
    rank_column,
    score_column,
)

MOST_CHARACTERS = 1_200
MOST_POSITIVES, MOST_CALLED, MOST_REJECTS = 3, 8, 5
_CALLED = 1
_ORDER = {Verdict.POSITIVE.value: 0, Verdict.NEGATIVE.value: 2, Verdict.DROPPED.value: 3}


def triplets(collection: Collection, table: CandidatesTable, queries: np.ndarray) -> Json:
    """JSON values for the page: documents once each, and for each query the rows that are shown.

    Of a query: its first positives, the best-placed rows that somebody called relevant, every negative in the order of
    picking, and the best-placed rows that a rule dropped. Texts are cut at 1,200 characters.
    """
    scores = [s.name for s in table.scores if score_column(s.name) in table.column_names]
    ranked = [n.removeprefix("rank_") for n in table.column_names if n.startswith("rank_")]
    asked = [QUERY_ID, DOC_ID, VERDICT, REASON, PICK_RANK, STEP, SOURCES, P_FALSE_NEGATIVE, CALLED_BY]
    asked += [score_column(name) for name in scores] + [rank_column(name) for name in ranked]
    judges = [judge.name for judge in table.judges]
    asked += [grade_column(name) for name in judges]
    rows = table.read(queries, [name for name in asked if name in table.column_names])
    rows = rows.filter(pc.not_equal(rows[VERDICT].cast(pa.string()), Verdict.RESERVE.value))
    rank_by = table.artefact.plan["rank_by"]
    shown = _shown(rows, rank_by)
    places = rows_of(collection.doc_ids, shown[DOC_ID])
    once, document = np.unique(places, return_inverse=True)
    texts = [_cut(text) for text in collection.document_texts(once)]
    ids = collection.doc_ids.take(pa.array(once)).to_pylist()
    is_written = WRITTEN_BY in collection.column_names("documents")
    written = [
        collection.column("documents", name).take(pa.array(once)).to_pylist() if is_written else [None] * len(once)
        for name in (WRITTEN_BY, WRITTEN_FROM)
    ]
    found: dict[str, Json] = {}
    retrievers = {*ranked, *scores}
    for row, number in zip(shown.to_pylist(), document.tolist(), strict=True):
        entry = found.setdefault(row[QUERY_ID], {"id": row[QUERY_ID], "rows": []})
        entry["rows"].append(
            {
                "d": number,
                "v": row[VERDICT],
                "r": row[REASON],
                "s": [_rounded(row[score_column(name)]) for name in scores],
                "k": [row[rank_column(name)] for name in ranked],
                "p": _rounded(row.get(P_FALSE_NEGATIVE)),
                "f": row[STEP] if row[STEP] not in (None, "none") else None,
                "o": [name for name in row[SOURCES] or () if name not in retrievers],
                "c": row.get(CALLED_BY),
                "w": written[0][number],
                "b": written[1][number],
                "g": [row[grade_column(name)] for name in judges],
            }
        )
    queries_of = rows_of(collection.query_ids, pa.array(list(found), pa.string()))
    for entry, text in zip(found.values(), collection.query_texts(queries_of), strict=True):
        entry["text"] = _cut(text)
    return {
        "scores": scores,
        "ranks": ranked,
        "judges": judges,
        "grades": GRADES,
        "judge": table.artefact.plan["judge_by"],
        "documents": [[name, text] for name, text in zip(ids, texts, strict=True)],
        "queries": list(found.values()),
    }


def _shown(rows: pa.Table, rank_by: str | None) -> pa.Table:
    """The rows that are shown of each query: positives, what was called relevant, negatives, rejects."""
    query = rows[QUERY_ID].combine_chunks().dictionary_encode().indices.to_numpy()
    kind = np.array([_ORDER[v] for v in rows[VERDICT].to_pylist()], np.int64)
    if CALLED_BY in rows.column_names:
        kind[rows[CALLED_BY].is_valid().to_numpy()] = _CALLED
    pick = rows[PICK_RANK].fill_null(0).to_numpy().astype(np.int64)
    place = np.arange(len(pick))
    if rank_by is not None and rank_column(rank_by) in rows.column_names:
        rank = rows[rank_column(rank_by)].fill_null(2**31 - 1).to_numpy().astype(np.int64)
        place = np.where((kind == _CALLED) | (kind == _ORDER[Verdict.DROPPED.value]), rank, place)
    order = np.lexsort((place, pick, kind, query))
    most = np.array([MOST_POSITIVES, MOST_CALLED, 2**31 - 1, MOST_REJECTS])
    group = query[order] * len(most) + kind[order]
    start = np.searchsorted(group, group, side="left")
    within = np.arange(len(order)) - start
    return rows.take(pa.array(order[within < most[kind[order]]]))


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + " …"


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")
