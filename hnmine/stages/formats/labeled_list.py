"""`labeled-list`: query, documents, labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from hnmine.core.layout import Chosen, Keys, Layout, row_per_pair
from hnmine.errors import ProblemLog
from hnmine.files.readers.examples import Example, Passage
from hnmine.stages.formats.base import Rows, TrainingFormat
from hnmine.stages.formats.text_columns import SENTENCE_TRANSFORMERS, BadRow, TextColumns, numbers, text, texts


class LabeledList(TrainingFormat):
    """A row for each (query, positive): the positive, then the query's negatives.

    With scores `scores` and no `labels`; with weights a list of `weights`.
    """

    has_free_columns = True

    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None, pad: bool = False) -> tuple[Layout, int]:
        """A row for each pair whose query has a negative."""
        return row_per_pair(chosen, keys)

    def table(self, rows: Rows, *, width: int) -> pa.Table:
        """query, documents (list), labels or scores (list)[, weights (list)]."""
        name, values = rows.label
        columns = {"query": rows.queries, "documents": rows.lists(rows.documents), f"{name}s": rows.lists(values)}
        if rows.weights is not None:
            columns["weights"] = rows.lists(rows.weights)
        return pa.table(columns)

    def examples(self, place: Path, problems: ProblemLog) -> Iterator[Example]:
        """A row for each list: positives are the documents with a label above 0.5; with scores, the first one.

        Grades other than 0 and 1 are `extra["labels"]`, in the file's order. To `problems`: values that are no texts,
        labels that are no finite numbers or not as many as documents, lists without a document.
        """
        expected = "query, documents, labels or scores"
        columns = TextColumns(place, SENTENCE_TRANSFORMERS, expected=expected, fewest=2, most=2, needs_label=True)
        name = str(columns.label)
        for row in columns.rows(problems):
            try:
                query = text(row.inputs[0], columns.inputs[0])
                documents = texts(row.inputs[1], columns.inputs[1])
                values = numbers(row.label, name)
                if len(values) != len(documents):
                    raise BadRow("labels of another length", f"{len(values)} {name} for {len(documents)} documents")
            except BadRow as bad:
                problems.add(bad.kind, row.where, bad.value)
                continue
            labels = [1.0] + [0.0] * (len(values) - 1) if columns.is_score else values
            scores = values if columns.is_score else [None] * len(values)
            passages = [Passage(text=one, score=score) for one, score in zip(documents, scores, strict=True)]
            yield Example(
                where=row.where,
                query=query,
                positives=[one for one, label in zip(passages, labels, strict=True) if label > 0.5],
                negatives=[one for one, label in zip(passages, labels, strict=True) if label <= 0.5],
                extra={**row.extra, **({} if set(labels) <= {0, 1} else {"labels": labels})},
            )
