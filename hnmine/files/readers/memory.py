"""Pairs that are in memory already, seen as a source like any other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hnmine.errors import ProblemLog
from hnmine.files.readers.identity import hashed_id
from hnmine.files.readers.records import Document, Judgment, Query
from hnmine.files.readers.source import Source
from hnmine.hashing import digest_texts


class MemorySource(Source):
    """(anchor, positive) pairs, and further texts of the corpus; ids are hashes of the texts.

    Equal anchors are one query, equal documents one document: first the corpus, then the positives.
    """

    kind = "memory"

    def __init__(self, anchors: Sequence[str], positives: Sequence[str], corpus: Sequence[str] = ()) -> None:
        self._pairs = list(dict.fromkeys(zip(anchors, positives, strict=True)))
        self._anchors = list(dict.fromkeys(anchors))
        self._documents = list(dict.fromkeys([*corpus, *positives]))

    @property
    def has_queries(self) -> bool:
        """Always: a pair brings its query."""
        return True

    def describe(self) -> dict[str, object]:
        """The kind: there are no files."""
        return {"kind": self.kind}

    def fingerprint(self) -> dict[str, str]:
        """SHA-256 of the texts."""
        anchors, positives = zip(*self._pairs, strict=True) if self._pairs else ((), ())
        return {
            "anchors": digest_texts(anchors),
            "positives": digest_texts(positives),
            "corpus": digest_texts(self._documents),
        }

    def documents(self, problems: ProblemLog) -> Iterator[Document]:
        """Each distinct document, in order."""
        for line, text in enumerate(self._documents, start=1):
            doc_id = hashed_id("d-", text)
            yield Document(doc_id=doc_id, title="", text=text, metadata={}, file="corpus", line=line)

    def queries(self, problems: ProblemLog) -> Iterator[Query]:
        """Each distinct anchor, in order."""
        for line, text in enumerate(self._anchors, start=1):
            yield Query(query_id=hashed_id("q-", text), text=text, metadata={}, file="anchors", line=line)

    def qrels(self, problems: ProblemLog) -> Iterator[Judgment]:
        """Each distinct pair, grade 1."""
        for line, (anchor, positive) in enumerate(self._pairs, start=1):
            query_id, doc_id = hashed_id("q-", anchor), hashed_id("d-", positive)
            yield Judgment(query_id=query_id, doc_id=doc_id, grade=1, file="pairs", line=line)
