"""`flagembedding`: query, pos, neg. FlagEmbedding 1.4, embedders and rerankers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hnmine.core.layout import Chosen, Keys, Layout, row_per_query
from hnmine.errors import InputError, ProblemLog
from hnmine.files.encodings import JsonLines
from hnmine.files.readers.examples import Example, Passage
from hnmine.files.readers.fields import BadRecord
from hnmine.files.readers.rows import TrainingRows
from hnmine.stages.formats.base import Rows, TrainingFormat
from hnmine.stages.formats.reading import (
    SameKeys,
    optional_text_in,
    parsed,
    require_columns,
    scores_in,
    text_in,
    texts_in,
)

_SIDES = {"pos": True, "neg": False}
_SCORES = tuple(f"{name}_scores" for name in _SIDES)
_TEXTS = ("prompt", "query_prompt", "passage_prompt", "type")
_SIZES = ("batch_size", "train_group_size")


class _Lines(JsonLines):
    suffixes = (".jsonl", ".json")  # the trainer passes over files of any other name


class FlagEmbedding(TrainingFormat):
    """A row for each query: its positives, of which the trainer draws one, and its negatives.

    With scores `pos_scores` and `neg_scores`, which it distils; with an instruction `prompt`, which embedders read, and
    `query_prompt`, which rerankers read. A `type` only where the task is no retrieval: texts with classes, and files
    that had one when they were imported.
    """

    encoding = _Lines()
    has_instruction = True
    takes_weights = False

    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None, pad: bool = False) -> tuple[Layout, int]:
        """A row for each query that has a positive and a negative."""
        return row_per_query(chosen, keys)

    def table(self, rows: Rows, *, width: int) -> pa.Table:
        """query, pos (list), neg (list)[, pos_scores, neg_scores (lists)][, prompt, query_prompt][, type]."""
        columns = {"query": rows.queries}
        for name, is_positive in _SIDES.items():
            columns[name] = rows.lists_of(rows.documents, positive=is_positive)
        if rows.scores is not None:
            for name, is_positive in zip(_SCORES, _SIDES.values(), strict=True):
                columns[name] = rows.lists_of(rows.scores, positive=is_positive)
        if rows.instructions is not None:  # in every row: a null is put before the query as "None"
            columns["prompt"] = columns["query_prompt"] = pc.fill_null(rows.instructions, "")
        if rows.of_queries.task is not None:
            columns["type"] = pa.repeat(rows.of_queries.task, len(rows.queries))
        return pa.table(columns)

    def examples(self, place: Path, problems: ProblemLog) -> Iterator[Example]:
        """One for each row of a file, or of the files of a directory. What only some rows have is a problem."""
        rows = TrainingRows(place, self.encoding.suffixes)
        for file in rows.files:
            if not file.path.name.endswith(self.encoding.suffixes):
                raise InputError(
                    f"{file.shown}: FlagEmbedding passes over files of this name",
                    expected=f"a name that ends in {' or '.join(self.encoding.suffixes)}",
                )
        require_columns(rows, "query", *_SIDES)
        same = SameKeys(*_TEXTS, *_SIZES, *_SCORES)
        types: dict[str, Any] = {}
        kinds: set[type] = set()

        def parse(where: str, row: Mapping[str, Any]) -> Example:
            same.check(row)
            example = _example(where, row)
            kinds.update(type(score) for name in _SCORES for score in row.get(name) or ())
            own, known = row.get("type"), types.setdefault(where.rpartition(":")[0], row.get("type"))
            if own != known:
                raise BadRecord("another type than in the first row", f"{own!r}, not {known!r}")
            return example

        yield from parsed(rows.read(problems), problems, parse)
        if kinds == {int}:  # PyTorch has no softmax of integers
            problems.add("scores are whole numbers, all of them", rows.files[0].shown, "write 1.0 for 1")


def _example(where: str, row: Mapping[str, Any]) -> Example:
    query, *sides = text_in(row, "query"), *(texts_in(row, name) for name in _SIDES)
    scores = [scores_in(row, name, len(own)) for name, own in zip(_SCORES, sides, strict=True)]
    if (scores[0] is None) != (scores[1] is None):
        raise BadRecord("scores of one side only", _SCORES[scores[0] is None])
    positives, negatives = (
        [Passage(text=text, score=own[place] if own else None) for place, text in enumerate(texts)]
        for texts, own in zip(sides, scores, strict=True)
    )
    more: dict[str, Any] = {name: text for name in _TEXTS if (text := optional_text_in(row, name)) is not None}
    for name in _SIZES:
        size = row.get(name)
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise BadRecord("not a whole number above 0", f"{name}: {size!r}")
        more |= {} if size is None else {name: size}
    return Example(
        where=where,
        query=query,
        positives=positives,
        negatives=negatives,
        instruction=more.pop("prompt", None),
        extra=more,
    )
