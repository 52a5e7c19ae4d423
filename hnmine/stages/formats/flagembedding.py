"""`flagembedding`: query, pos, neg. FlagEmbedding 1.4, embedders and rerankers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from hnmine.core.layout import Chosen, Keys, Layout, row_per_query
from hnmine.errors import InputError, ProblemLog
from hnmine.files.encodings import JsonLines
from hnmine.files.readers.examples import Example, Passage
from hnmine.files.readers.fields import BadRecord, take_text
from hnmine.files.readers.rows import TrainingRows
from hnmine.files.readers.strict import SameKeys, take_numbers, take_text_list, take_whole_number
from hnmine.stages.formats.base import Rows, TrainingFormat

_TEXTS = ("prompt", "query_prompt", "passage_prompt", "type")
_SIDES = {"pos": True, "neg": False}
_SIZES = ("batch_size", "train_group_size")


class _Lines(JsonLines):
    suffixes = (".jsonl", ".json")  # the trainer passes over files of any other name


class FlagEmbedding(TrainingFormat):
    """A row for each query: its positives, of which the trainer draws one, and its negatives.

    With scores `pos_scores` and `neg_scores`, which it distils; with an instruction `prompt`, which embedders read, and
    `query_prompt`, which rerankers read. No `type`: every value of it is for other tasks than retrieval.
    """

    encoding = _Lines()
    has_instruction = True
    takes_weights: ClassVar[bool] = False

    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None, pad: bool = False) -> tuple[Layout, int]:
        """A row for each query that has a positive and a negative."""
        return row_per_query(chosen, keys)

    def table(self, rows: Rows, *, width: int) -> pa.Table:
        """query, pos (list), neg (list)[, pos_scores, neg_scores (lists)][, prompt, query_prompt]."""
        columns = {"query": rows.queries}
        for name, is_positive in _SIDES.items():
            columns[name] = rows.lists_of(rows.documents, positive=is_positive)
        if rows.scores is not None:
            for name, is_positive in _SIDES.items():
                columns[f"{name}_scores"] = rows.lists_of(rows.scores, positive=is_positive)
        if rows.instructions is not None:  # in every row: a null is put before the query as "None"
            columns["prompt"] = columns["query_prompt"] = pc.fill_null(rows.instructions, "")
        return pa.table(columns)

    def examples(self, place: Path, problems: ProblemLog) -> Iterator[Example]:
        """One for each row of a file, or of the files of a directory as the trainer lists them."""
        rows = TrainingRows(place, self.encoding.suffixes)
        for file in rows.files:
            if not file.path.name.endswith(self.encoding.suffixes):
                raise InputError(
                    f"{file.shown}: FlagEmbedding passes over files of this name",
                    expected=f"a name that ends in {' or '.join(self.encoding.suffixes)}",
                )
        missing = [name for name in ("query", *_SIDES) if name not in rows.columns]
        if missing:
            raise InputError(
                f"{rows.files[0].shown}: no {' or '.join(missing)} among its keys: {', '.join(rows.columns) or 'none'}",
                expected="query, pos and neg in every row",
            )
        same = SameKeys((*_TEXTS, *_SIZES, *(f"{name}_scores" for name in _SIDES)))
        types: dict[str, object] = {}
        for where, row in rows.read(problems):
            try:
                same.check(row)
                example = _example(where, row)
                known = types.setdefault(where.rpartition(":")[0], row.get("type"))
                if row.get("type") != known:
                    raise BadRecord("another type than in the first row", f"{row.get('type')!r}, not {known!r}")
            except BadRecord as bad:
                problems.add(bad.kind, where, bad.value)
                continue
            yield example


def _example(where: str, row: Mapping[str, object]) -> Example:
    query = take_text(row, "query", may_be_empty=True)
    sides = {name: take_text_list(row, name) for name in _SIDES}
    scores = {name: take_numbers(row, f"{name}_scores", len(own)) for name, own in sides.items()}
    if len({own is None for own in scores.values()}) == 2:
        raise BadRecord("scores of one side only", next(f"{name}_scores" for name, own in scores.items() if own))
    texts = {name: take_text(row, name, may_be_empty=True) for name in _TEXTS if row.get(name) is not None}
    sizes = {name: size for name in _SIZES if (size := take_whole_number(row, name)) is not None}
    prompt = texts.pop("prompt", None)
    return Example(
        where=where,
        query=query,
        positives=_passages(sides["pos"], scores["pos"]),
        negatives=_passages(sides["neg"], scores["neg"]),
        instruction=prompt,
        extra={**texts, **sizes},
    )


def _passages(texts: list[str], scores: list[float] | None) -> list[Passage]:
    return [Passage(text=text, score=scores[place] if scores else None) for place, text in enumerate(texts)]
