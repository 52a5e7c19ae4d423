"""`gpl`: the directory of generated data that GPL trains from (Wang et al. 2022, arXiv 2112.07577).

`gpl.train(path_to_generated_data=DIR, ...)` finds queries, qrels, hard negatives and margins there, and goes on to
training: it neither generates, mines nor labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from hnmine.core.layout import Chosen, Keys, Layout, apart, row_per_negative, row_per_query
from hnmine.errors import ProblemLog
from hnmine.files.encodings import Encoding, JsonLines, Separated
from hnmine.files.readers.examples import Example
from hnmine.files.readers.fields import BadRecord
from hnmine.stages.formats.base import (
    DocumentsFile,
    FurtherFile,
    QueriesFile,
    Rows,
    RowsFile,
    TrainingFormat,
)
from hnmine.stages.formats.beir import (
    IDS_WITHOUT,
    QRELS,
    documents,
    known_documents,
    known_queries,
    qrels,
    queries,
    read_qrels,
)
from hnmine.stages.formats.reading import (
    Known,
    directory_of,
    file_of,
    id_in,
    list_in,
    number_of,
    optional_file,
    parsed,
    separated_rows,
    table_rows,
    take,
)

_JUDGED = "judged"
"""Stands for the retriever of a negative that none of them found: the user's qrels call it not relevant."""
_HARD_NEGATIVES = "hard-negatives.jsonl"


def _hard_negatives(rows: Rows) -> pa.Table:
    """qid, pos, neg: ids by retriever, in the order of the pick; a document of two retrievers is in both lists."""
    listed = [names or [_JUDGED] for names in rows.sources.to_pylist()]
    is_negative = pc.equal(rows.labels, 0).to_pylist()
    found: list[dict[str, list[str]]] = [{} for _ in range(len(rows.layout))]
    for owner, doc_id, names, kept in zip(
        rows.owners.tolist(), rows.doc_ids.to_pylist(), listed, is_negative, strict=True
    ):
        for name in names if kept else ():
            found[owner].setdefault(name, []).append(doc_id)
    names = sorted({name for own in found for name in own})
    kind = pa.struct([(name, pa.list_(pa.string())) for name in names])
    return pa.table(
        {
            "qid": rows.query_ids,
            "pos": rows.lists_of(rows.doc_ids, positive=True),
            "neg": pa.array(found, kind),
        }
    )


def _positives(chosen: Chosen, width: int, keys: Keys | None) -> Layout:
    return apart(row_per_query(chosen, None)[0], positives_only=True)


class Gpl(TrainingFormat):
    """A row for each (query, positive, negative), with the margin of the judge's scores, shuffled: GPL does not."""

    encoding: ClassVar[Encoding] = Separated()
    name = "gpl-training-data.tsv"
    beside: ClassVar[tuple[FurtherFile, ...]] = (
        RowsFile(
            name=_HARD_NEGATIVES,
            encoding=JsonLines(),
            lay_out=lambda chosen, width, keys: row_per_query(chosen, None)[0],
            table=_hard_negatives,
        ),
        DocumentsFile(name="corpus.jsonl", encoding=JsonLines(), table=documents),
        QueriesFile(name="qgen-queries.jsonl", encoding=JsonLines(), table=queries),
        RowsFile(name="qgen-qrels/train.tsv", encoding=QRELS, lay_out=_positives, table=qrels),
    )
    needs_scores = True
    takes_weights = False
    takes_epochs = False
    ids_without = IDS_WITHOUT

    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None, pad: bool = False) -> tuple[Layout, int]:
        """A row for each (query, positive, negative)."""
        return row_per_negative(chosen, keys)

    def table(self, rows: Rows, *, width: int) -> pa.Table:
        """Query id, positive id, negative id, margin: the positive's score less the negative's."""
        scores = rows.known_scores.cast(pa.float64())
        margins = pc.subtract(rows.at(0, scores), rows.at(1, scores))
        ids = {"qid": rows.query_ids, "pos": rows.at(0, rows.doc_ids), "neg": rows.at(1, rows.doc_ids)}
        return pa.table({**ids, "margin": margins})

    def examples(self, place: Path, problems: ProblemLog) -> Iterator[Example]:
        """An example for each line of margins; without that file (GPL makes it then), for each of hard negatives.

        `extra` holds the `margin`, and in `sources` the retrievers of each negative.
        """
        folder = directory_of(place, self.name)
        labelled = optional_file(folder, self.name)
        mined = _mined(folder, problems)
        rows = list(separated_rows(labelled, problems, 4)) if labelled else []
        judged = read_qrels(file_of(folder, "qgen-qrels/train.tsv"), problems)
        wanted = {row[0] for _, row in rows} | mined.keys() | {one.query_id for one in judged}
        doc_ids = {row[place] for _, row in rows for place in (1, 2)} | {one.doc_id for one in judged}
        doc_ids |= {doc_id for example in mined.values() for doc_id in (*example.positives, *example.sources)}
        known = known_documents(file_of(folder, "corpus.jsonl"), doc_ids, problems)
        asked = known_queries(file_of(folder, "qgen-queries.jsonl"), wanted, problems)

        def triple(where: str, row: list[str]) -> Example:
            query_id, positive, negative, margin = row
            sources = mined[query_id].sources.get(negative) if query_id in mined else None
            return Example(
                where=where,
                query_id=query_id,
                query=asked.text(query_id),
                positives=[known.passage(positive)],
                negatives=[known.passage(negative, extra={"sources": sources} if sources else {})],
                extra={"margin": number_of(margin)},
            )

        for one in judged:
            _must_know(problems, one.where, asked, one.query_id)
            _must_know(problems, one.where, known, one.doc_id)
        pools = parsed(((own.where, own) for own in mined.values()), problems, lambda w, own: own.example(asked, known))
        if labelled is None:
            yield from pools
            return
        for _ in pools:
            pass  # for its problems
        yield from parsed(iter(rows), problems, triple)


class _Mined:
    """A line of hard negatives."""

    def __init__(self, where: str, row: Any) -> None:
        self.where = where
        self.query_id = id_in(row, "qid")
        self.positives = [id_in({"pos": one}, "pos") for one in list_in(row, "pos")]
        negatives = take(row, "neg")
        if not isinstance(negatives, dict):
            raise BadRecord("neg not an object of lists", repr(negatives)[:120])
        self.sources: dict[str, list[str]] = {}
        for name in negatives:
            for one in list_in(negatives, name, empty=True):
                self.sources.setdefault(id_in({name: one}, name), []).append(name)
        if not self.sources:
            raise BadRecord("no document in neg")

    def example(self, asked: Known, known: Known) -> Example:
        """It as an example, with the texts."""
        return Example(
            where=self.where,
            query_id=self.query_id,
            query=asked.text(self.query_id),
            positives=[known.passage(one) for one in self.positives],
            negatives=[known.passage(one, extra={"sources": names}) for one, names in self.sources.items()],
        )


def _mined(folder: Path, problems: ProblemLog) -> dict[str, _Mined]:
    found: dict[str, _Mined] = {}
    for where, row in table_rows([file_of(folder, _HARD_NEGATIVES)], problems):
        try:
            own = _Mined(where, row)
        except BadRecord as bad:
            problems.add(bad.kind, where, bad.value)
            continue
        if own.query_id in found:
            problems.add("query id twice", where, own.query_id)
        found[own.query_id] = own
    return found


def _must_know(problems: ProblemLog, where: str, known: Known, identity: str) -> None:
    try:
        known.passage(identity)
    except BadRecord as bad:
        problems.add(bad.kind, where, bad.value)
