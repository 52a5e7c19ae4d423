"""Reads MS MARCO files with the classes of `ir_datasets` that read MS MARCO's own: documents, queries, qrels, triples.

Every triple of ids is joined with the texts, and compared with the line of `triples.train.small.tsv` that stands at its
place.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from _proof import CannotRun, Cell, Settings, check, main

EXPORTS = ("msmarco",)


class File:
    """A file on disk as `ir_datasets` wants one."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def stream(self):  # type: ignore[no-untyped-def]
        return self._path.open("rb")

    def path(self, force: bool = True) -> str:
        return str(self._path)


def prove(export: str, place: Path, args: Settings) -> Iterator[Cell]:
    """Read the five files."""
    try:
        from ir_datasets.formats import TrecQrels, TsvDocPairs, TsvDocs, TsvQueries
    except ImportError as error:
        raise CannotRun(f"ir_datasets is not installed ({error})") from None
    documents = {d.doc_id: d.text for d in TsvDocs(File(place / "collection.tsv")).docs_iter()}
    queries = {q.query_id: q.text for q in TsvQueries(File(place / "queries.train.tsv")).queries_iter()}
    grades = {0: "not relevant", 1: "relevant"}
    qrels = {
        (r.query_id, r.doc_id): r.relevance for r in TrecQrels(File(place / "qrels.train.tsv"), grades).qrels_iter()
    }
    pairs = list(TsvDocPairs(File(place / "triples.train.ids.tsv")).docpairs_iter())
    texts = (place / "triples.train.small.tsv").read_text(encoding="utf-8").split("\n")
    check(texts.pop() == "" and len(texts) == len(pairs), "the two files of triples have different numbers of lines")
    for number, (pair, line) in enumerate(zip(pairs, texts, strict=True)):
        joined = (queries[pair.query_id], documents[pair.doc_id_a], documents[pair.doc_id_b])
        check(joined == tuple(line.split("\t")), f"triple {number}: {joined} against {line}"[:300])
        check(qrels.get((pair.query_id, pair.doc_id_a), 0) > 0, f"triple {number}: the positive in the qrels")
        check((pair.query_id, pair.doc_id_b) not in qrels, f"triple {number}: the negative in the qrels")
    yield Cell(
        trainer="ir_datasets: TsvDocs, TsvQueries, TrecQrels, TsvDocPairs",
        version=f"ir_datasets {version('ir_datasets')}",
        rows_out=len(pairs),
        note=f"readers alone: {len(documents):,} documents, {len(queries):,} queries, {len(qrels):,} qrels",
    )


if __name__ == "__main__":
    main(prove)
