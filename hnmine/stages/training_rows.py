"""The tables of an export: rows as the trainer reads them, and the ids, scores and sources of the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.core.decide import STEP_REPEATED
from hnmine.core.layout import Layout, repeated
from hnmine.files.collection import Collection, once_each
from hnmine.files.tables import flat, trimmed
from hnmine.options import Format
from hnmine.schema import BATCH_ID, DIFFICULTY, EPOCH, QUERY_ID, SOURCES
from hnmine.stages.formats import FORMATS, Rows
from hnmine.stages.picked import Picked
from hnmine.stages.prompts import Prompts


def training_table(
    collection: Collection,
    picked: Picked,
    layout: Layout,
    form: Format,
    *,
    width: int,
    scores: bool,
    weight: bool = False,
    difficulty: bool = False,
    prompts: Prompts | None = None,
) -> pa.Table:
    """The rows of `layout` as the trainer reads them: texts in its order, then at most one label column.

    The labels are 1 for a positive and 0 for a negative, or the judge's scores where `scores` asks for them. `weight`
    and `difficulty` ask for one more column, behind the others; `prompts` says what stands before texts. Columns of
    texts are dictionaries, each of its own texts.
    """
    rows = Rows(collection, picked, layout, scores=scores, weight=weight, prompts=prompts)
    table = FORMATS[form].table(rows, width=width)
    if difficulty:
        table = table.append_column(DIFFICULTY, rows.difficulty)
    return trimmed(table)


def provenance_table(
    collection: Collection, picked: Picked, layout: Layout, batches: npt.NDArray[np.int32] | None = None
) -> pa.Table:
    """Ids, epochs, difficulties, labels, scores, ranks, sources, steps of rows of `layout`; lists follow the texts.

    The step of a negative that stands in its row once more is `repeated`. `batches` are the rows' batches, if planned.
    Columns of words are dictionaries.
    """
    score, rank = picked.scores(layout.places), picked.ranks(layout.places)
    steps, is_again = picked.steps(layout.places), repeated(layout)
    if is_again.any():
        steps = pc.if_else(pa.array(is_again), STEP_REPEATED, steps.cast(pa.string())).dictionary_encode()
    columns: dict[str, Any] = {
        "doc_ids": once_each(picked.documents(layout.places), lambda own: flat(collection.doc_ids.take(pa.array(own)))),
        "labels": pa.array((layout.places >= 0).astype(np.int8)),
        "scores": pa.array(score, mask=np.isnan(score)),
        "ranks": pa.array(rank, mask=rank == 0),
        SOURCES: picked.sources(layout.places),
        "steps": steps,
    }
    offsets = pa.array(layout.offsets, pa.int32())
    lists = {name: pa.ListArray.from_arrays(offsets, flat(values)) for name, values in columns.items()}
    query_ids = once_each(layout.query, lambda own: picked.query_ids.take(pa.array(own)))
    epochs = pa.array(picked.epochs[layout.query], pa.int32())
    hard = picked.difficulties(layout)
    planned = {} if batches is None else {BATCH_ID: pa.array(batches)}
    difficulty = {DIFFICULTY: pa.array(hard, mask=np.isnan(hard))}
    return pa.table({QUERY_ID: query_ids, EPOCH: epochs, **planned, **difficulty, **lists})


def missing_scores(picked: Picked, layout: Layout) -> int:
    """How many texts of `layout` the judge gave no score."""
    missing: npt.NDArray[np.bool_] = np.isnan(picked.scores(layout.places))
    return int(missing.sum())


def missing_weights(picked: Picked, layout: Layout) -> int:
    """How many negatives of `layout` have no estimate of being a false one."""
    missing: npt.NDArray[np.bool_] = np.isnan(picked.weights(layout.places))
    return int(missing.sum())
