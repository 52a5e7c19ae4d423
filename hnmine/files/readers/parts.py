"""A collection that lies in separate parts: corpus, queries, qrels. BEIR, MS MARCO and a lone corpus are read by it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hnmine.errors import ArtefactError, InputError, ProblemLog
from hnmine.files.artefact import Artefact
from hnmine.files.readers.qrels import read_qrels
from hnmine.files.readers.records import Document, Judgment, Query
from hnmine.files.readers.source import Findings, Source, digest_files
from hnmine.files.readers.streams import InputFile, read_head, refuse_other_than_text
from hnmine.files.readers.texts import TextFile, open_text_file, read_documents, read_queries
from hnmine.schema import Kind, Side

_NAMES = {"queries": "queries.jsonl", "qrels": "qrels/train.tsv (query, document, grade; tabs between)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The files of a collection. A part may be several files; without queries and qrels it is a corpus alone."""

    corpus: tuple[InputFile, ...]
    queries: tuple[InputFile, ...] = ()
    qrels: InputFile | None = None
    split: str | None = None


class PartsSource(Source):
    """Documents, queries and judgments, each from files of their own."""

    def __init__(self, kind: str, parts: Parts, findings: Findings) -> None:
        """Open every part; raises what `findings` holds together with what is wrong with the files."""
        self.kind = kind
        self.parts = parts
        self._corpus = _open_all(parts.corpus, Side.DOCUMENT, findings)
        self._queries = _open_all(parts.queries, Side.QUERY, findings)
        if parts.qrels is not None:
            with findings.collect():
                refuse_other_than_text(parts.qrels, read_head(parts.qrels))
        if not findings and bool(parts.queries) != (parts.qrels is not None):
            there, missing = ("queries", "qrels") if parts.queries else ("qrels", "queries")
            found = parts.qrels or parts.queries[0]
            findings.add(
                InputError(
                    f"there are {there} ({found.shown}) but no {missing}",
                    expected=f"{_NAMES[missing]} too",
                    remedy=f"name the file with --{missing}",
                )
            )
        findings.raise_if_any()

    @property
    def has_queries(self) -> bool:
        """Whether there are queries and qrels."""
        return bool(self._queries)

    def describe(self) -> dict[str, object]:
        """Kind, split and names of the files."""
        found: dict[str, object] = {"kind": self.kind}
        if self.parts.split is not None:
            found["split"] = self.parts.split
        qrels = (self.parts.qrels,) if self.parts.qrels else ()
        found["files"] = [file.name for file in (*self.parts.corpus, *self.parts.queries, *qrels)]
        return found

    def fingerprint(self) -> dict[str, str]:
        """SHA-256 of `corpus`, and of `queries` and `qrels` where they are."""
        found = {"corpus": digest_files(self.parts.corpus)}
        if self.parts.queries:
            found["queries"] = digest_files(self.parts.queries)
        if self.parts.qrels:
            found["qrels"] = digest_files([self.parts.qrels])
        return found

    def notes(self) -> dict[str, str]:
        """That this is a small corpus, and of how many documents, where `downsample` wrote it."""
        try:
            counts = Artefact.open(self.parts.corpus[0].path.parent, Kind.DOWNSAMPLED, verify=False).counts
        except ArtefactError:  # of anywhere else, or changed since
            return {}
        return {"a small corpus": f"{counts['documents']:,} of {counts['documents_of']:,} documents, by downsample"}

    def documents(self, problems: ProblemLog) -> Iterator[Document]:
        """Each document, files in order of their names."""
        for part in self._corpus:
            yield from read_documents(part, problems)

    def queries(self, problems: ProblemLog) -> Iterator[Query]:
        """Each query, those without a judgment included."""
        for part in self._queries:
            yield from read_queries(part, problems)

    def qrels(self, problems: ProblemLog) -> Iterator[Judgment]:
        """Each judgment of the split."""
        if self.parts.qrels is not None:
            yield from read_qrels(self.parts.qrels, problems)


def _open_all(files: tuple[InputFile, ...], side: Side, findings: Findings) -> list[TextFile]:
    opened = []
    for file in files:
        with findings.collect():
            opened.append(open_text_file(file, side))
    return opened
