"""`inspect`: look into artefacts: counts and provenance, one query's candidates, a few triplets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hnmine.core.guard import Signals, contributions, terms_of
from hnmine.core.rules.guard import MaxFnProbability
from hnmine.errors import InputError, UsageError
from hnmine.files.artefact import Artefact, Json
from hnmine.files.candidates import CandidatesTable, floats, keyed_draws, names_of, query_offsets, similarities
from hnmine.files.collection import rows_of
from hnmine.schema import (
    CALLED_BY,
    DOC_ID,
    FUSED,
    GRADES,
    IS_POSITIVE,
    OF_THE_DOUBTFUL,
    P_FALSE_NEGATIVE,
    PICK_RANK,
    PREVIOUS,
    QUERY_ID,
    REASON,
    VERDICT,
    Kind,
    Verdict,
    grade_column,
    rank_column,
    score_column,
)
from hnmine.spelling import nearest
from hnmine.stages.places import artefacts_of, collection_of, is_artefact, open_artefact
from hnmine.stages.text_layout import excerpt, plain, table, wrap


def overview(path: Path) -> Json:
    """What an artefact (or every artefact of a run directory) is, holds and was made from."""
    if is_artefact(path):
        return _describe(Artefact.open(path))
    return {"run": str(path), "artefacts": [_describe(Artefact.open(p)) for p in artefacts_of(path)]}


def _describe(artefact: Artefact) -> Json:
    schema: dict[str, dict[str, str]] = {}
    for name in artefact.manifest["files"]:
        table = name if name.startswith("..") else name.rpartition("/")[0] or "."
        if name.endswith(".parquet") and table not in schema:
            arrow = pq.read_schema(artefact.path / name)
            schema[table] = {field.name: str(field.type) for field in arrow}
    record = artefact.run_record()
    return {
        "kind": str(artefact.kind),
        "path": str(artefact.path),
        "fingerprint": artefact.fingerprint,
        "counts": artefact.counts,
        "schema": schema,
        "plan": {key: value for key, value in artefact.plan.items() if key != "blocks"},
        "made": {key: record[key] for key in ("finished", "seconds", "host", "hnmine") if key in record},
    }


def query(path: Path, query_id: str) -> Json:
    """One query with its candidates in rank-by order; with verdicts and reasons if they were decided."""
    artefact = open_artefact(path, Kind.DECISIONS, Kind.CANDIDATES)
    table = CandidatesTable(artefact)
    position = pc.index(table.query_ids, query_id).as_py()
    if position < 0:
        guess = nearest(query_id, table.query_ids.to_pylist())
        raise UsageError(
            f"{artefact.path} has no query {query_id!r}" + (f"; did you mean {guess!r}?" if guess else ""),
            expected="the id of a query that has a positive",
        )
    rows = table.read(np.array([position]))
    collection = collection_of(artefact, None)
    text = collection.query_texts(rows_of(collection.query_ids, rows[QUERY_ID].slice(0, 1)))[0]
    texts = collection.document_texts(rows_of(collection.doc_ids, rows[DOC_ID]))
    candidates = [{**row, TEXT_COLUMN: t} for row, t in zip(rows.to_pylist(), texts, strict=True)]
    for row, why in zip(candidates, _why(artefact, table, rows), strict=True):
        row[WHY] = why
        if not _is_estimated(artefact) and P_FALSE_NEGATIVE in row:
            row[P_FALSE_NEGATIVE] = None
    return {"query_id": query_id, "query": text, "candidates": candidates}


TEXT_COLUMN = "text"
WHY = "p_false_negative_because"
"""What each signal adds to the logit of `p_false_negative`; 0 is the table's average candidate."""


def _guard(artefact: Artefact) -> Json:
    """What the guard learned of the table; empty where nothing was decided."""
    state: Json = artefact.plan.get("fitted", {}).get(MaxFnProbability.reason, {})
    return state


def _is_estimated(artefact: Artefact) -> bool:
    """Whether there were queries enough for `p_false_negative` to mean something for a single row."""
    return bool(_guard(artefact).get("estimated"))


def _why(artefact: Artefact, table: CandidatesTable, rows: pa.Table) -> list[dict[str, float]]:
    """For each row of a query, the signals that drove its estimate, strongest first; empty where there is none."""
    state = _guard(artefact)
    if not _is_estimated(artefact) or P_FALSE_NEGATIVE not in rows.column_names:
        return [{} for _ in range(rows.num_rows)]
    positive = np.asarray(rows[IS_POSITIVE].to_numpy(zero_copy_only=False), np.bool_)
    nobody = np.zeros(rows.num_rows, np.bool_)
    signals = Signals(
        offsets=query_offsets(rows[QUERY_ID]),
        scores={
            s.name: floats(rows, s.name) for s in table.scores if not s.is_partial and s.origin not in OF_THE_DOUBTFUL
        },
        ranked=frozenset(names_of(rows, "rank_")),
        sim_positive=similarities(rows, "sim_positive_"),
        is_positive=positive,
        is_certain=nobody,
        is_random=nobody,
    )
    parts = contributions(terms_of(signals), state)
    estimated = rows[P_FALSE_NEGATIVE].fill_null(0).to_numpy() > 0
    ordered = [
        sorted(((name, round(float(values[i]), 2)) for name, values in parts.items()), key=lambda item: -abs(item[1]))
        for i in range(rows.num_rows)
    ]
    return [dict(found) if known else {} for found, known in zip(ordered, estimated, strict=True)]


def sample(path: Path, count: int, seed: int) -> Json:
    """`count` triplets of a keyed sample of queries: query, one positive, its first negative, with their ids."""
    if count < 1:
        raise UsageError(f"--sample {count}: at least 1")
    artefact = open_artefact(path, Kind.DECISIONS)
    table = CandidatesTable(artefact)
    collection = collection_of(artefact, None)
    order = np.argsort(keyed_draws(table.query_ids, seed, "sample"), kind="stable")
    triplets: list[Json] = []
    for position in order.tolist():
        rows = table.read(np.array([position]))
        positive = rows.filter(pc.equal(rows[VERDICT], Verdict.POSITIVE.value))
        negative = rows.filter(pc.equal(rows[VERDICT], Verdict.NEGATIVE.value)).sort_by(PICK_RANK)
        if not positive.num_rows or not negative.num_rows:
            continue
        judge = artefact.plan["judge_by"]
        chosen = {"positive": positive.slice(0, 1), "negative": negative.slice(0, 1)}
        triplet: Json = {
            "query_id": table.query_ids[position].as_py(),
            "query": collection.query_texts(rows_of(collection.query_ids, rows[QUERY_ID].slice(0, 1)))[0],
        }
        for name, row in chosen.items():
            triplet[f"{name}_id"] = row[DOC_ID][0].as_py()
            triplet[name] = collection.document_texts(rows_of(collection.doc_ids, row[DOC_ID]))[0]
            if judge:
                triplet[f"{name}_score"] = row[f"score_{judge}"][0].as_py()
        if P_FALSE_NEGATIVE in rows.column_names and _is_estimated(artefact):
            triplet[f"negative_{P_FALSE_NEGATIVE}"] = negative[P_FALSE_NEGATIVE][0].as_py()
        triplets.append(triplet)
        if len(triplets) == count:
            break
    if not triplets:
        raise InputError(f"{artefact.path} has no query with a positive and a negative")
    return {"triplets": triplets, "judge_by": artefact.plan["judge_by"]}


def render(found: Json, width: int) -> Iterator[str]:
    """What `overview`, `query` and `sample` found, as lines of text for a terminal `width` columns wide."""
    if "triplets" in found:
        yield from _render_triplets(found, width)
    elif "candidates" in found:
        yield from _render_query(found, width)
    elif "artefacts" in found:
        for artefact in found["artefacts"]:
            yield from _render_artefact(artefact, width)
            yield ""
    else:
        yield from _render_artefact(found, width)


_LABEL = 26
"""Columns of the names of counters."""


def _render_artefact(found: Json, width: int) -> Iterator[str]:
    yield f"{found['kind']}  {found['path']}"
    facts = {"fingerprint": found["fingerprint"][:16], **found["made"], **found["counts"]}
    for key, value in facts.items():
        if value in ("", {}):
            continue
        if isinstance(value, dict) and all(isinstance(one, dict) for one in value.values()):
            yield f"  {key}"
            names = sorted({name for one in value.values() for name in one}, key=_place)
            rows = [["   ", key, *(_plain(one.get(name, "")) for name in names), ""] for key, one in value.items()]
            yield from table(["   ", "", *names, ""], rows, width)
        else:
            yield from wrap(f"  {key:<{_LABEL - 3}} {_plain(value)}", width, hanging=_LABEL)
    for name, columns in found["schema"].items():
        label = "columns" if name == "." else f"columns of {Path(name).name if name.startswith('..') else name}"
        listed = ", ".join(f"{column} {kind}" for column, kind in columns.items())
        yield from wrap(f"  {label}: {listed}", width, hanging=4)


def _place(name: str) -> tuple[int, str]:
    """Quantiles in their order (`p5` before `p25`), behind everything else."""
    return (int(name[1:]) + 1, name) if name[:1] == "p" and name[1:].isdecimal() else (0, name)


def _plain(value: Any) -> str:
    """A count, or nested counts, without the marks of a programming language."""
    if not isinstance(value, dict):
        return f"{value:,}" if isinstance(value, (int, float)) else str(value)
    inner = (f"{k} ({_plain(v)})" if isinstance(v, dict) else f"{k} {_plain(v)}" for k, v in value.items())
    return ", ".join(inner)


def _render_triplets(found: Json, width: int) -> Iterator[str]:
    for number, triplet in enumerate(found["triplets"], 1):
        yield f"--- {number} of {len(found['triplets'])} ---"
        for name in ("query", "positive", "negative"):
            score = triplet.get(f"{name}_score")
            note = f" {found['judge_by']} {score:.3f}" if score is not None else ""
            estimate = triplet.get(f"{name}_{P_FALSE_NEGATIVE}")
            note += f", false negative {estimate:.0%}" if estimate is not None else ""
            yield f"{name} [{plain(triplet[f'{name}_id'])}]{note}"
            yield from _indented(triplet[name], width, 5)


def _render_query(found: Json, width: int) -> Iterator[str]:
    yield f"query [{plain(found['query_id'])}]"
    yield from _indented(found["query"], width, 6)
    for row in found["candidates"]:
        yield from wrap(plain(" ".join(filter(None, _facts(row)))), width, hanging=12)
        yield from _indented(" ".join(row[TEXT_COLUMN].split()), width, 1)


def _indented(text: str, width: int, most: int) -> Iterator[str]:
    yield from (f"    {line}" for line in excerpt(text, max(width - 4, 20), most))


def _facts(row: dict[str, Any]) -> Iterator[str]:
    if VERDICT in row:
        verdict = row[VERDICT] + (f" {row[PICK_RANK]}" if row[PICK_RANK] else "")
        yield f"{verdict:<11} {row[REASON]:<22}" + (f" by {row[CALLED_BY]}" if row.get(CALLED_BY) else "")
    else:
        yield "positive   " if row["is_positive"] else "candidate  "
    yield f"[{row[DOC_ID]}]"
    for name in (key.removeprefix("score_") for key in row if key.startswith("score_")):
        score, rank = row[f"score_{name}"], row.get(f"rank_{name}")
        yield f"{name} {'-' if score is None else f'{score:.3f}'}" + (f" #{rank}" if rank else "")
    if row.get(rank_column(FUSED)) is not None and score_column(FUSED) not in row:
        yield f"{FUSED} #{row[rank_column(FUSED)]}"
    for name in (
        key.removeprefix("grade_") for key, grade in row.items() if key.startswith("grade_") and grade is not None
    ):
        yield f"{name}: {GRADES[row[grade_column(name)]]}"
    if row.get(PREVIOUS) is not None:
        yield f"before: {row[PREVIOUS]}"
    if row.get(P_FALSE_NEGATIVE) is not None:
        why = ", ".join(f"{name} {value:+.1f}" for name, value in row.get(WHY, {}).items())
        yield f"false negative {row[P_FALSE_NEGATIVE]:.0%}" + (f" ({why})" if why else "")
