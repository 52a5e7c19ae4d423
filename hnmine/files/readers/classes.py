"""Reads class-labelled texts as a collection: another text of the class is the positive, texts of others are negatives.

As NV-Embed trains on classification and clustering data (Lee et al. 2024, arXiv 2405.17428, example-based labels). Each
text is a document and a query; its positives are the next texts of its class in a keyed order that goes round, so each
is a positive as often as any other. The file is read once for the classes and once each for documents and queries;
texts are remembered as 16-byte hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from hnmine.errors import InputError, ProblemLog, UsageError
from hnmine.files.readers.fields import BadRecord, Place, checked_text, take_id, take_metadata, take_text
from hnmine.files.readers.identity import digest16, hashed_id
from hnmine.files.readers.records import Document, Judgment, Query
from hnmine.files.readers.source import Findings, Source, digest_files
from hnmine.files.readers.streams import InputFile
from hnmine.files.readers.tables import Row, columns, read_rows
from hnmine.files.readers.texts import ID_COLUMNS
from hnmine.hashing import keyed_hashes
from hnmine.options import InputOptions
from hnmine.schema import DOC_ID, QUERY_ID, TEXT, TEXT_KEY, TITLE, Side
from hnmine.spelling import nearest

_RESERVED = {"documents": (DOC_ID, TITLE, TEXT, TEXT_KEY), "queries": (QUERY_ID, TEXT, TEXT_KEY)}


class _Labelled(NamedTuple):
    identity: str  # without the prefix that tells a made id of a query from that of a document
    label: str
    line: int


class ClassesSource(Source):
    """A file of texts and classes: JSONL, CSV, TSV or Parquet. The class is kept as text, as metadata on both sides.

    A text that comes again in its class is left out; one that comes in two classes is a problem.
    """

    kind = "classes"

    def __init__(self, file: InputFile, options: InputOptions) -> None:
        """Check the columns; raises `InputError` or `UsageError` with every problem of the file as a whole."""
        assert options.class_column is not None
        self.file = file
        self.on_close: Callable[[], object] | None = None
        self._text, self._class, self._positives = options.text_column, options.class_column, options.class_positives
        findings = Findings()
        self._names: list[str] = []
        with findings.collect():
            self._names = columns(file)
            _check_columns(self._names, file.shown, options)
        for name in ("corpus", "queries", "qrels", "split"):
            if (value := getattr(options, name)) is not None:
                findings.add(UsageError(f"--{name} {value}: {file.shown} has classes", remedy=f"leave --{name} out"))
        if self._positives < 1:
            findings.add(UsageError(f"--class-positives {self._positives}: at least 1"))
        findings.raise_if_any()
        self._id = next((name for name in ID_COLUMNS[Side.DOCUMENT] if name in self._names), None)
        if self._id in (self._text, self._class):
            self._id = None
        self._problems = ProblemLog()
        self._told: ProblemLog | None = None
        self._texts: dict[bytes, _Labelled | None] | None = None

    @property
    def has_queries(self) -> bool:
        """Always: each text is one."""
        return True

    @property
    def negatives_where(self) -> str:
        """Texts of other classes, all of them."""
        document, query = (_column(self._class, side) for side in ("documents", "queries"))
        return f"document[{document!r}] != query[{query!r}]"

    def column_names(self, table: Literal["documents", "queries"]) -> list[str]:
        """The class and the other columns; JSONL may have more of them further down."""
        own = list(_RESERVED[table])
        return [*own, *(_column(name, table) for name in self._names if name not in (self._text, self._id))]

    def notes(self) -> dict[str, str]:
        """How many classes there are, and how many texts have no other text of their class."""
        sizes = [len(members) for members in self._members().values()]
        alone = sum(size == 1 for size in sizes)
        found = {"classes": f"{len(sizes):,}"}
        return found | ({"no positive": f"{alone:,} texts, each the only one of its class"} if alone else {})

    def describe(self) -> dict[str, object]:
        """Kind, name of the file, and what decides the positives."""
        return {
            "kind": self.kind,
            "files": [self.file.name],
            "text_column": self._text,
            "class_column": self._class,
            "class_positives": self._positives,
        }

    def fingerprint(self) -> dict[str, str]:
        """SHA-256 of `classes`."""
        return {"classes": digest_files([self.file])}

    def documents(self, problems: ProblemLog) -> Iterator[Document]:
        """Each text, where it stands first."""
        for line, found, text, metadata in self._rows(problems, "documents"):
            yield Document(
                doc_id=self._named("d-", found), title="", text=text, metadata=metadata, file=self.file.shown, line=line
            )

    def queries(self, problems: ProblemLog) -> Iterator[Query]:
        """Each text, where it stands first; also the only one of its class, which nothing judges."""
        for line, found, text, metadata in self._rows(problems, "queries"):
            yield Query(
                query_id=self._named("q-", found), text=text, metadata=metadata, file=self.file.shown, line=line
            )

    def qrels(self, problems: ProblemLog) -> Iterator[Judgment]:
        """The positives of each text, grade 1: the next `--class-positives` of its class in a keyed order."""
        self._tell(problems)
        for members in self._members().values():
            keys = keyed_hashes(0, "class-positive", last=(found.identity for found in members))
            ring = [found for _, found in sorted(zip(keys, members, strict=True))]
            for place, found in enumerate(ring):
                for step in range(1, min(self._positives, len(ring) - 1) + 1):
                    other = ring[(place + step) % len(ring)]
                    yield Judgment(
                        query_id=self._named("q-", found),
                        doc_id=self._named("d-", other),
                        grade=1,
                        file=self.file.shown,
                        line=found.line,
                    )

    def close(self) -> None:
        """Remove the copy of standard input, if there is one."""
        if self.on_close is not None:
            self.on_close()

    def _named(self, prefix: str, found: _Labelled) -> str:
        return found.identity if self._id else prefix + found.identity

    def _tell(self, problems: ProblemLog) -> None:
        """Pass on what is wrong with the rows, once to each log."""
        self._known()
        if self._told is not problems:
            self._told = problems
            problems.take_over(self._problems)

    def _members(self) -> dict[str, list[_Labelled]]:
        classes: dict[str, list[_Labelled]] = {}
        for found in self._known().values():
            if found is not None:
                classes.setdefault(found.label, []).append(found)
        return classes

    def _rows(
        self, problems: ProblemLog, table: Literal["documents", "queries"]
    ) -> Iterator[tuple[int, _Labelled, str, dict[str, object]]]:
        self._tell(problems)
        known, taken = self._known(), {self._text, self._class, self._id or self._text}
        for line, row in read_rows(self.file, ProblemLog()):
            try:
                text = take_text(row, self._text)
            except BadRecord:
                continue
            found = known.get(digest16(text))
            if found is not None and found.line == line:
                yield line, found, text, {self._class: found.label, **take_metadata(row, taken)}

    def _known(self) -> dict[bytes, _Labelled | None]:
        """What each text is, by the hash of it; None for a text of two classes."""
        if self._texts is None:
            log = self._problems
            texts: dict[bytes, _Labelled | None] = {}
            ids: dict[str, int] = {}
            first: dict[bytes, _Labelled] = {}
            columns_read = [name for name in (self._text, self._class, self._id) if name is not None]
            for line, row in read_rows(self.file, log, columns_read):
                try:
                    text = take_text(row, self._text)
                    label = _label(row, self._class)
                    identity = take_id(row, self._id) if self._id else hashed_id("", text)
                    key = digest16(text)
                    earlier = first.get(key)
                    if earlier is not None:
                        if earlier.label != label:
                            texts[key] = None
                            shown = f"{label!r}, and {earlier.label!r} at {self.file.shown}:{earlier.line}: {text[:60]}"
                            raise BadRecord("one text, two classes", shown)
                        continue
                    if self._id and identity in ids:
                        raise BadRecord("one id, two texts", f"{identity}: another text at line {ids[identity]}")
                except BadRecord as bad:
                    Place(self.file, line).report(log, bad)
                    continue
                if self._id:
                    ids[identity] = line
                first[key] = texts[key] = _Labelled(identity, label, line)
            self._texts = texts
        return self._texts


def _check_columns(names: list[str], shown: str, options: InputOptions) -> None:
    """Raise for a column that the file does not have: `UsageError` if a flag named it."""
    default = InputOptions().text_column
    missing, proposed = [], []
    for flag, name in (("--text-column", options.text_column), ("--class-column", options.class_column or "")):
        if names and name not in names:
            missing.append(repr(name))
            proposed.append(f"{flag} {nearest(name, names) or 'COLUMN'}")
    if missing:
        is_mistyped = options.class_column not in names or options.text_column != default
        raise (UsageError if is_mistyped else InputError)(
            f"{shown}: no column {' and no column '.join(missing)}",
            expected=f"columns of this file: {', '.join(names)}",
            remedy=" ".join(proposed),
        )
    if options.text_column == options.class_column:
        raise UsageError(f"--text-column and --class-column are both {options.text_column!r}", expected="two columns")


def _label(row: Row, column: str) -> str:
    """The class as text; raises `BadRecord` unless it is a text, a whole number or a truth value."""
    value = row.get(column)
    if value is None or value == "":
        raise BadRecord("missing class", f"no {column}")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    try:
        return checked_text(take_text(row, column), owner=column)
    except BadRecord as bad:
        raise BadRecord(
            "class not a text or whole number" if bad.kind == "text not a string" else bad.kind, bad.value
        ) from None


def _column(name: str, table: str) -> str:
    """What `ingest` calls a metadata column."""
    return f"{name}_" if name in _RESERVED[table] else name
