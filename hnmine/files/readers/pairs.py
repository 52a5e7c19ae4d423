"""Reads a file of (anchor, positive) pairs as a collection: JSONL, CSV, TSV or Parquet.

Equal anchors are one query with several positives, equal positives one document; a list of positives is a pair for
each. The file is passed over once for each of documents, queries and qrels; what was seen is remembered as 16-byte
hashes, never as texts.
"""

from __future__ import annotations

import fnmatch
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from hnmine.errors import InputError, ProblemLog, UsageError
from hnmine.files.readers.fields import BadRecord, Place, take_id, take_metadata, take_text, take_texts
from hnmine.files.readers.identity import Seen, digest16, hashed_id
from hnmine.files.readers.records import Document, Judgment, Query
from hnmine.files.readers.source import Findings, Source, digest_files
from hnmine.files.readers.streams import InputFile
from hnmine.files.readers.tables import Row, TableFormat, columns, read_rows, table_format
from hnmine.files.readers.texts import open_text_file, read_documents
from hnmine.options import InputOptions
from hnmine.schema import DOC_ID, QUERY_ID, TEXT, TEXT_KEY, TITLE, Side
from hnmine.spelling import nearest

LIKELY_COLUMNS = (
    ("anchor", "query", "question"),
    ("positive", "answer", "passage", "document", "pos"),
)
"""Names that other pairs files use; they are proposed in the error, never taken unasked."""
LIKELY_CLASSES = ("label", "class", "category", "intent", "topic")
"""As these, of the column with classes in files that are no pairs at all."""


_LIKE_A_NEGATIVE = re.compile(r"(hard[_ -]?)?neg(ative)?s?[_ -]?\d*", re.IGNORECASE)


def _stem(name: str) -> str:
    """The name with its numbers taken out: `negative_1` and `negative_2` have one."""
    return re.sub(r"\d+", "#", name)


@dataclass(slots=True)
class _FirstReport(ProblemLog):
    """Passes on one problem a row, the first time any pass comes to the row."""

    target: ProblemLog = field(default_factory=ProblemLog)
    reported: int = 0

    def add(self, kind: str, where: str, value: object = "") -> None:
        line = int(where.rpartition(":")[2])
        if line > self.reported:
            self.reported = line
            self.target.add(kind, where, value)


@dataclass(frozen=True, slots=True)
class _Pair:
    line: int
    anchor: str
    query_id: str
    positive: str  # "" where only its id is given
    doc_id: str
    metadata: dict[str, object]
    negatives: tuple[str, ...]


def check_columns(names: list[str], shown: str, options: InputOptions) -> None:
    """Raise for every column the options name and the file does not have: `UsageError` if a flag named it.

    A column is never replaced by another; the nearest or likely ones are proposed.
    """
    defaults = InputOptions()
    missing: list[str] = []
    proposed: list[str] = []
    is_header = all(len(name.split()) < 3 for name in names)
    mistyped = False
    for likely, flag, default in (
        (LIKELY_COLUMNS[0], "anchor_column", defaults.anchor_column),
        (LIKELY_COLUMNS[1], "positive_column", defaults.positive_column),
        ((), "anchor_id_column", None),
        ((), "positive_id_column", None),
    ):
        name = getattr(options, flag)
        by_id_alone = flag == "positive_column" and options.corpus and options.positive_id_column
        if name is None or name in names or by_id_alone:
            continue
        missing.append(repr(name))
        mistyped = mistyped or name != default
        if name == default:
            others = [n for n in names if n not in (defaults.anchor_column, defaults.positive_column)]
            only_two = (
                others[0 if flag == "anchor_column" else -1] if len(names) == 2 and others and is_header else None
            )
            guess = _likely(likely, others) or only_two
        else:
            guess = nearest(name, names) or _likely(likely, names)
        proposed += ["--" + flag.replace("_", "-"), shlex.quote(guess or "COLUMN")]
    for pattern in options.negative_columns:
        if not fnmatch.filter(names, pattern):
            missing.append(repr(pattern))
            mistyped = True
            proposed += ["--negative-columns", shlex.quote(nearest(pattern, names) or "COLUMN")]
    if missing and not is_header and not mistyped:
        proposed += ["(if the first line is a pair and no header, put one above it)"]
    label = next((name for name in LIKELY_CLASSES if name in names), None)
    if defaults.text_column in names and label and not mistyped:
        proposed += ["(pairs), or --class-column", label, "(texts of classes)"]
    if missing:
        shown_names = ", ".join(name if name == name.strip() else repr(name) for name in names)
        raise (UsageError if mistyped else InputError)(
            f"{shown}: no column {' and no column '.join(missing)}",
            expected=f"columns of this file: {shown_names}",
            remedy=" ".join(proposed),
        )


def _likely(words: Sequence[str], names: Sequence[str]) -> str | None:
    """The column that is called one of `words`, or has one in its name."""
    named = [name for word in words for name in names if name == word]
    return next(iter([*named, *(name for word in words for name in names if word in name.casefold())]), None)


class PairsSource(Source):
    """A pairs file; with `--corpus`, its positives are looked up there and added where they are missing."""

    kind = "pairs"

    def __init__(
        self,
        file: InputFile,
        options: InputOptions,
        corpus: tuple[InputFile, ...] = (),
    ) -> None:
        """Check the columns; raises `InputError` or `UsageError` with every problem of the file as a whole."""
        self.file = file
        self.options = options
        self._corpus_files = corpus
        self.on_close: Callable[[], object] | None = None
        self._reports: _FirstReport | None = None
        self._ids_by_text: dict[bytes, str] | None = None
        self._by_id_alone = bool(corpus and options.positive_id_column)
        self._added = 0
        self._negative_columns: list[str] = []
        self._names: list[str] = []
        findings = Findings()
        with findings.collect():
            self._names = names = columns(file)
            if names:
                check_columns(names, file.shown, options)
                matches = [name for pattern in options.negative_columns for name in fnmatch.filter(names, pattern)]
                self._negative_columns = list(dict.fromkeys(matches))
        for name, value in (("queries", options.queries), ("qrels", options.qrels), ("split", options.split)):
            if value is not None:
                findings.add(
                    UsageError(f"--{name} {value}: {file.shown} is a pairs file", remedy=f"leave --{name} out")
                )
        self._corpus = []
        for part in corpus:
            with findings.collect():
                self._corpus.append(open_text_file(part, Side.DOCUMENT, made_ids=not options.positive_id_column))
        findings.raise_if_any()

    @property
    def has_queries(self) -> bool:
        """Always: a pair brings its query."""
        return True

    def column_names(self, table: Literal["documents", "queries"]) -> list[str] | None:
        """The other columns are the queries'; JSONL may have more of them further down."""
        if table == "documents":
            return None if self._corpus else [DOC_ID, TITLE, TEXT, TEXT_KEY]
        if table_format(self.file) is TableFormat.JSONL:
            return None
        own = [QUERY_ID, TEXT, TEXT_KEY]
        taken = self._taken()
        return [*own, *(f"{name}_" if name in own else name for name in columns(self.file) if name not in taken)]

    def notes(self) -> dict[str, str]:
        """What the corpus file lacked, and the columns that look like negatives and were not named as such."""
        added = {"added to the corpus": f"{self._added:,} texts that it lacks"} if self._corpus and self._added else {}
        taken, named = self._taken(), {_stem(name) for name in self._negative_columns}
        found = [n for n in self._names if n not in taken and (_stem(n) in named or _LIKE_A_NEGATIVE.fullmatch(n))]
        if not found:
            return added
        shown = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
        patterns = list(dict.fromkeys(_stem(name).replace("#", "*") for name in found))
        named_too = [n for n in self.options.negative_columns if not any(fnmatch.fnmatch(n, p) for p in patterns)]
        flags = " ".join(f"--negative-columns {shlex.quote(name)}" for name in [*named_too, *patterns])
        return added | {"not read as negatives": f"{shown} (metadata of the queries; to read them: {flags})"}

    def describe(self) -> dict[str, object]:
        """Kind, names of the files and the columns that were read."""
        options = self.options
        found: dict[str, object] = {
            "kind": self.kind,
            "files": [file.name for file in (self.file, *self._corpus_files)],
            "anchor_column": options.anchor_column,
            "positive_column": None if self._by_id_alone else options.positive_column,
        }
        for name in ("anchor_id_column", "positive_id_column"):
            if getattr(options, name) is not None:
                found[name] = getattr(options, name)
        if self._negative_columns:
            found["negative_columns"] = self._negative_columns
        return found

    def fingerprint(self) -> dict[str, str]:
        """SHA-256 of `pairs`, and of `corpus` where it is a file of its own."""
        found = {"pairs": digest_files([self.file])}
        if self._corpus_files:
            found["corpus"] = digest_files(self._corpus_files)
        return found

    def documents(self, problems: ProblemLog) -> Iterator[Document]:
        """Each document of the corpus file, then each positive not seen before, in order of its first pair."""
        self._added = 0
        for part in self._corpus:
            yield from read_documents(part, problems)
        seen = Seen(checked=self.options.positive_id_column is not None)
        known = self._known_texts()
        for pair in self._pairs(self._first_report(problems)):
            texts = [] if self._by_id_alone else [(pair.doc_id, pair.positive)]
            texts += [(hashed_id("d-", text), text) for text in pair.negatives]
            for doc_id, text in texts:
                if known and digest16(text) in known:
                    continue
                if seen.first(doc_id, text, pair.line, self.file, problems):
                    self._added += 1
                    yield Document(
                        doc_id=doc_id, title="", text=text, metadata={}, file=self.file.shown, line=pair.line
                    )

    def queries(self, problems: ProblemLog) -> Iterator[Query]:
        """Each query in order of its first pair, whose other columns are its metadata."""
        seen = Seen(checked=self.options.anchor_id_column is not None)
        for pair in self._pairs(self._first_report(problems), metadata=True):
            if seen.first(pair.query_id, pair.anchor, pair.line, self.file, problems):
                yield Query(
                    query_id=pair.query_id,
                    text=pair.anchor,
                    metadata=pair.metadata,
                    file=self.file.shown,
                    line=pair.line,
                )

    def qrels(self, problems: ProblemLog) -> Iterator[Judgment]:
        """Each pair once, grade 1. Pairs that give an id a second text are left out."""
        seen: set[bytes] = set()
        queries, documents = Seen(checked=True), Seen(checked=True)
        known = self._known_texts()
        muted = ProblemLog()
        for pair in self._pairs(self._first_report(problems)):
            doc_id = pair.doc_id
            if self._corpus and not self._by_id_alone:
                doc_id = known.get(digest16(pair.positive), doc_id)
            elif self.options.positive_id_column and not self._by_id_alone:
                documents.first(doc_id, pair.positive, pair.line, self.file, muted)
            if self.options.anchor_id_column:
                queries.first(pair.query_id, pair.anchor, pair.line, self.file, muted)
            if queries.clash or documents.clash:
                continue
            both = digest16(f"{len(pair.query_id)} {pair.query_id}{doc_id}")
            if both not in seen:
                seen.add(both)
                yield Judgment(query_id=pair.query_id, doc_id=doc_id, grade=1, file=self.file.shown, line=pair.line)

    def negatives(self, problems: ProblemLog) -> Iterator[Judgment]:
        """Each (query, negative) of the columns that `--negative-columns` names, once, in file order."""
        if not self._negative_columns:
            return
        known = self._known_texts()
        seen: set[bytes] = set()
        for pair in self._pairs(self._first_report(problems)):
            for text in pair.negatives:
                doc_id = known.get(digest16(text), hashed_id("d-", text))
                both = digest16(f"{len(pair.query_id)} {pair.query_id}{doc_id}")
                if both not in seen:
                    seen.add(both)
                    yield Judgment(query_id=pair.query_id, doc_id=doc_id, grade=0, file=self.file.shown, line=pair.line)

    def close(self) -> None:
        """Remove the copy of standard input, if there is one."""
        if self.on_close is not None:
            self.on_close()

    def _first_report(self, problems: ProblemLog) -> ProblemLog:
        if self._reports is None or self._reports.target is not problems:
            self._reports = _FirstReport(target=problems)
        return self._reports

    def _taken(self) -> set[str]:
        """The columns that are no metadata."""
        options = self.options
        named = [options.anchor_column, options.positive_column, options.anchor_id_column, options.positive_id_column]
        return {name for name in (*named, *self._negative_columns) if name is not None}

    def _pairs(self, reports: ProblemLog, *, metadata: bool = False) -> Iterator[_Pair]:
        options = self.options
        taken = self._taken()
        wanted = None if metadata else sorted(taken - ({options.positive_column} if self._by_id_alone else set()))
        for line, row in read_rows(self.file, reports, wanted):
            try:
                anchor = take_text(row, options.anchor_column)
                query_id = take_id(row, options.anchor_id_column) if options.anchor_id_column else ""
                positives = [""] if self._by_id_alone else self._positives(row)
                doc_id = take_id(row, options.positive_id_column) if options.positive_id_column else ""
                negatives = tuple(t for name in self._negative_columns for t in take_texts(row, name))
            except BadRecord as bad:
                Place(self.file, line).report(reports, bad)
                continue
            for positive in positives:
                yield _Pair(
                    line,
                    anchor,
                    query_id or hashed_id("q-", anchor),
                    positive,
                    doc_id or hashed_id("d-", positive),
                    take_metadata(row, taken) if metadata else {},
                    negatives,
                )

    def _positives(self, row: Row) -> list[str]:
        """The row's positives: a text, or a list of texts, each of which is a pair. Raises `BadRecord`."""
        column = self.options.positive_column
        items = row.get(column)
        if not isinstance(items, (list, tuple)):
            return [take_text(row, column)]
        if not items:
            raise BadRecord("missing text", f"nothing in {column}")
        if len(items) > 1 and self.options.positive_id_column:
            raise BadRecord("several positives with one id", f"{column}: {len(items)} texts")
        return [take_text({column: item}, column) for item in items]

    def _known_texts(self) -> dict[bytes, str]:
        """The id in the corpus file of each positive's and negative's text (the first document with the text)."""
        if self._ids_by_text is None:
            found: dict[bytes, str] = {}
            if self._corpus and not (self._by_id_alone and not self._negative_columns):
                wanted = {
                    digest16(text)
                    for pair in self._pairs(ProblemLog())
                    for text in (*([] if self._by_id_alone else [pair.positive]), *pair.negatives)
                }
                for part in self._corpus:
                    for document in read_documents(part, ProblemLog()):
                        key = digest16(document.text)
                        if key in wanted:
                            found.setdefault(key, document.doc_id)
            self._ids_by_text = found
        return self._ids_by_text
