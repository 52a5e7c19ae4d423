"""`ids`: query_id, document_ids and labels, with the texts beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from hnmine.core.layout import Chosen, Keys, Layout, row_per_pair
from hnmine.errors import ProblemLog
from hnmine.files.encodings import Parquet
from hnmine.files.readers.examples import Example, Passage
from hnmine.stages.formats.base import DocumentsFile, QueriesFile, Rows, TrainingFormat
from hnmine.stages.formats.by_id import Joined, Lookup
from hnmine.stages.formats.text_columns import BadRow, numbers

_CONFIG = "- config_name: {0}\n  data_files:\n"
_SPLIT = "  - split: {0}\n    path: {1}.parquet\n"


class Ids(TrainingFormat):
    """A row for each (query, positive), all of the same width: the positive's id, then the negatives'.

    The shape that sentence-transformers' `resolve_ids` joins: each text is stored once, however many rows it is in.
    With scores `scores` and no `labels`; with weights a list of `weights`.
    """

    is_fixed = True
    beside = (
        QueriesFile(
            name="queries.parquet",
            encoding=Parquet(),
            table=lambda queries: pa.table({"query_id": queries.ids, "text": queries.texts}),
        ),
        DocumentsFile(
            name="documents.parquet",
            encoding=Parquet(),
            table=lambda documents: pa.table({"document_id": documents.ids, "text": documents.texts}),
        ),
    )
    takes_margins: ClassVar[bool] = True
    """Whether a row may have one number less than documents: the margins to the positive."""

    def fixed(self, splits: Sequence[str], decisions: str) -> Mapping[str, str]:
        """A card that lets `load_dataset(DIR, "queries", split="train")` tell the files apart."""
        rows = _CONFIG.format("train") + "".join(_SPLIT.format(split, split) for split in splits)
        texts = "".join(_CONFIG.format(name) + _SPLIT.format("train", name) for name in ("queries", "documents"))
        return {"README.md": f"---\nconfigs:\n{rows}{texts}---\n"}

    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None, pad: bool = False) -> tuple[Layout, int]:
        """A row for each pair whose query has at least `width` negatives; with `pad`, at least one."""
        return row_per_pair(chosen, keys, width=width, pad=pad)

    def table(self, rows: Rows, *, width: int) -> pa.Table:
        """query_id, document_ids (list), labels or scores (list)[, weights (list)]."""
        name, values = rows.label
        columns = {"query_id": rows.query_ids, "document_ids": rows.lists(rows.doc_ids), f"{name}s": rows.lists(values)}
        if rows.weights is not None:
            columns["weights"] = rows.lists(rows.weights)
        return pa.table(columns)

    def lookups(self, folder: Path, problems: ProblemLog) -> tuple[Lookup, Lookup]:
        """The texts of the queries and of the documents, by id: the one column `id` or `..._id`, and the other one."""
        return Lookup(folder, "queries", problems), Lookup(folder, "documents", problems)

    def examples(self, place: Path, problems: ProblemLog) -> Iterator[Example]:
        """The rows, joined with the texts, which are held in memory.

        To `problems`: an id without a text, an id with two texts, rows of different lengths, scores of another length
        than the documents.
        """
        joined = Joined(place, problems, self.lookups)
        length: int | None = None
        for where, row in joined.rows():
            try:
                query_id, query = joined.query(row)
                ids, texts = joined.documents(row)
                if length is not None and len(ids) != length:
                    raise BadRow("rows of different lengths", f"{len(ids)} documents; the first row has {length}")
                known = self._numbers(row, len(ids))
            except BadRow as bad:
                problems.add(bad.kind, where, bad.value)
                continue
            length = len(ids)
            scores = known.get("scores")
            passages = [
                Passage(doc_id=str(one), text=text, score=scores[number] if scores else None)
                for number, (one, text) in enumerate(zip(ids, texts, strict=True))
            ]
            labels = known.get("labels") or [1.0] + [0.0] * (len(ids) - 1)
            yield Example(
                where=where,
                query_id=str(query_id),
                query=query,
                positives=[one for one, label in zip(passages, labels, strict=True) if label > 0.5],
                negatives=[one for one, label in zip(passages, labels, strict=True) if label <= 0.5],
                extra={name: known[name] for name in ("margins", "weights") if name in known},
            )

    def _numbers(self, row: Any, documents: int) -> dict[str, list[float]]:
        """What numbers a row has: of scores, margins, labels and weights those that are there."""
        named = [name for name in ("labels", "label", "scores", "score") if row.get(name) is not None]
        if len(named) > 1:
            raise BadRow("several label columns", f"{', '.join(named)}: the trainer keeps them all and reads the first")
        found: dict[str, list[float]] = {}
        for name in named:
            values = numbers(row[name], name)
            is_margin = name.startswith("score") and self.takes_margins and len(values) == documents - 1
            if len(values) != documents and not is_margin:
                raise BadRow("labels of another length", f"{len(values)} {name} for {documents} documents")
            found["margins" if is_margin else f"{name.removesuffix('s')}s"] = values
        if row.get("weights") is not None:
            found["weights"] = numbers(row["weights"], "weights")
        return found
