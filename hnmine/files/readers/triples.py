"""Reads a knowledge graph as a collection: which entity stands in a relation to this one?

The layout in which KG-BERT's authors keep FB15k-237 and WN18RR: `train.tsv` and other splits with lines of head,
relation, tail, and `entity2text.txt`, `relation2text.txt` with lines of id and text, none with a header. A document is
an entity; a query is the text of a head and of a relation, and its positives are the tails (LEMON, arXiv 2203.04703).
Triples of the other splits are true as well, so they are judged: grade 2 for the split that is read, 1 for the others,
and `mine` takes the first alone for positives and the second neither for positives nor for negatives. What no file says
is taken for false (the local closed-world assumption of link prediction): the similarity of texts hardly tells whether
a relation holds, so it is no ground for doubt unless a rule is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hnmine.errors import InputError, ProblemLog, UsageError
from hnmine.files.readers.fields import BadRecord, Place, checked_id
from hnmine.files.readers.identity import digest16
from hnmine.files.readers.layout import choose_split, files_under, named_files
from hnmine.files.readers.records import Document, Judgment, Query
from hnmine.files.readers.source import Findings, Source, digest_files
from hnmine.files.readers.streams import InputFile, text_lines
from hnmine.files.readers.texts import TextFile, open_text_file, read_documents
from hnmine.options import InputOptions
from hnmine.schema import QUERY_ID, TEXT, TEXT_KEY, Side

SEPARATOR = ": "
"""Between the texts of entity and relation in a query."""
INVERSE = "^"
"""Stands before a relation that is asked for backwards, as in SPARQL."""
INVERSE_TEXT = "inverse of "

_ENTITIES = re.compile(r"entity2text\.(?:txt|tsv)", re.IGNORECASE)
_RELATIONS = re.compile(r"relation2text\.(?:txt|tsv)", re.IGNORECASE)
_SPLITS = re.compile(r"(train|valid|validation|dev|test)\.(?:txt|tsv)", re.IGNORECASE)
_NO_WORD = re.compile(r"[\W_]+")

TRUE, HELD_OUT = 2, 1
"""Grades: a triple of the split that is read, and one that is known to be true but is not trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Triples:
    """The files of a graph: texts of entities and (perhaps none) of relations, the split's triples and the others'."""

    entities: tuple[InputFile, ...]
    relations: InputFile | None
    split: str
    triples: InputFile
    held_out: tuple[InputFile, ...]


@dataclass(frozen=True, slots=True)
class _Question:
    """An entity and a relation that are asked about, and one answer."""

    line: int
    entity: str
    relation: str
    answer: str
    is_inverse: bool

    @property
    def query_id(self) -> str:
        return f"{self.entity}|{INVERSE if self.is_inverse else ''}{self.relation}"


def open_triples(directory: Path, shown: str, options: InputOptions) -> TriplesSource | None:
    """The graph in a directory, told by its `entity2text` file; None if there is none.

    Raises `InputError` or `UsageError` with everything that is missing or does not apply.
    """
    found = files_under(directory, shown)
    entities = tuple(file for file in found if _ENTITIES.fullmatch(file.plain_name))
    if not entities:
        return None
    relations = [file for file in found if _RELATIONS.fullmatch(file.plain_name)]
    splits: dict[str, InputFile] = {}
    findings = Findings()
    for file in found:
        if match := _SPLITS.fullmatch(file.plain_name):
            if match[1] in splits:
                findings.add(InputError(f"{splits[match[1]].shown} and {file.shown} are the same part"))
            splits[match[1]] = file
    if len(entities) + len(relations) > 2:
        names = ", ".join(file.shown for file in (*entities, *relations))
        findings.add(InputError(f"which of {names} is meant?", expected="one file of each"))
    with findings.collect():
        entities = named_files(options.corpus) if options.corpus else entities
    with findings.collect():
        if not splits:
            raise InputError(f"{shown}: no triples beside {entities[0].name}", expected="train.tsv (or .txt)")
        split = choose_split(splits, options.split, shown)
    for name in ("queries", "qrels", "class_column"):
        if (value := getattr(options, name)) is not None:
            flag = f"--{name.replace('_', '-')}"
            findings.add(UsageError(f"{flag} {value}: {shown} has triples", remedy=f"leave {flag} out"))
    findings.raise_if_any()
    held_out = tuple(file for name, file in splits.items() if name != split)
    triples = Triples(
        entities=entities,
        relations=relations[0] if relations else None,
        split=split,
        triples=splits[split],
        held_out=held_out,
    )
    return TriplesSource(triples, title_separator=options.title_separator, inverse=options.inverse)


class TriplesSource(Source):
    """A knowledge graph. The texts of all entities are in memory while queries are made, triples as 16-byte hashes."""

    kind = "triples"
    min_relevance = TRUE
    closed_world = True

    def __init__(self, parts: Triples, *, title_separator: str = " ", inverse: bool = False) -> None:
        """Open the texts; raises `InputError` for a file that has none."""
        self.parts = parts
        self._title_separator = title_separator
        self._inverse = inverse
        self._entities = [_open_texts(file) for file in parts.entities]
        self._told: ProblemLog | None = None

    @property
    def has_queries(self) -> bool:
        """Always: triples ask."""
        return True

    def column_names(self, table: Literal["documents", "queries"]) -> list[str] | None:
        """Queries have the ids of their entity and relation; what entities have, their file tells."""
        return None if table == "documents" else [QUERY_ID, TEXT, "entity", "relation", "inverse", TEXT_KEY]

    def notes(self) -> dict[str, str]:
        """Which triples are masked."""
        held_out = ", ".join(file.name for file in self.parts.held_out)
        return {"true, neither positives nor negatives": f"the triples of {held_out}"} if held_out else {}

    def describe(self) -> dict[str, object]:
        """Kind, split and names of the files."""
        parts = self.parts
        relations = (parts.relations,) if parts.relations else ()
        files = (*parts.entities, *relations, parts.triples, *parts.held_out)
        return {
            "kind": self.kind,
            "split": parts.split,
            "files": [file.name for file in files],
            "inverse": self._inverse,
        }

    def fingerprint(self) -> dict[str, str]:
        """SHA-256 of `corpus` and `triples`, and of `relations` and `held_out` where they are."""
        parts = self.parts
        found = {"corpus": digest_files(parts.entities), "triples": digest_files([parts.triples])}
        if parts.relations:
            found["relations"] = digest_files([parts.relations])
        if parts.held_out:
            found["held_out"] = digest_files(parts.held_out)
        return found

    def documents(self, problems: ProblemLog) -> Iterator[Document]:
        """Each entity."""
        for part in self._entities:
            yield from read_documents(part, problems)

    def queries(self, problems: ProblemLog) -> Iterator[Query]:
        """Each (head, relation) in order of its first triple; with `--inverse` each (tail, inverse relation) too."""
        texts = {
            document.doc_id: self._title_separator.join(part for part in (document.title, document.text) if part)
            for document in self.documents(ProblemLog())
        }
        relations = self._relation_texts(problems)
        seen: set[bytes] = set()
        for asked in self._questions([self.parts.triples], self._once(problems)):
            key = digest16(asked.query_id)
            if asked.entity not in texts or key in seen:
                continue  # a triple of an unknown entity is told as a judgment
            seen.add(key)
            relation = relations.get(asked.relation) or _NO_WORD.sub(" ", asked.relation).strip() or asked.relation
            relation = f"{INVERSE_TEXT}{relation}" if asked.is_inverse else relation
            yield Query(
                query_id=asked.query_id,
                text=f"{texts[asked.entity]}{SEPARATOR}{relation}",
                metadata={"entity": asked.entity, "relation": asked.relation, "inverse": asked.is_inverse},
                file=self.parts.triples.shown,
                line=asked.line,
            )

    def qrels(self, problems: ProblemLog) -> Iterator[Judgment]:
        """Each triple once: grade 2 in the split, grade 1 in the others, of these only what answers a query."""
        asked: set[bytes] = set()
        seen: set[bytes] = set()
        for grade, files in ((TRUE, [self.parts.triples]), (HELD_OUT, self.parts.held_out)):
            known = None if grade == TRUE else self._entity_hashes()
            for file in files:
                for one in self._questions([file], self._once(problems) if grade == TRUE else problems):
                    query, both = digest16(one.query_id), digest16(f"{len(one.query_id)} {one.query_id}{one.answer}")
                    if grade == TRUE:
                        asked.add(query)
                    elif query not in asked or (known is not None and digest16(one.answer) not in known):
                        continue  # who has no text can become no negative
                    if both not in seen:
                        seen.add(both)
                        yield Judgment(
                            query_id=one.query_id, doc_id=one.answer, grade=grade, file=file.shown, line=one.line
                        )

    def _once(self, problems: ProblemLog) -> ProblemLog:
        """The log itself for the pass that comes first, which tells what is wrong with the triples."""
        first = self._told is None or self._told is not problems
        self._told = problems
        return problems if first else ProblemLog()

    def _entity_hashes(self) -> set[bytes]:
        return {digest16(document.doc_id) for document in self.documents(ProblemLog())}

    def _relation_texts(self, problems: ProblemLog) -> dict[str, str]:
        if self.parts.relations is None:
            return {}
        part = TextFile(file=self.parts.relations, id_column=None, text_column="")
        return {document.doc_id: document.text for document in read_documents(part, problems)}

    def _questions(self, files: Sequence[InputFile], problems: ProblemLog) -> Iterator[_Question]:
        for file in files:
            for line, content in text_lines(file, problems):
                if not content.strip():
                    continue
                try:
                    fields = content.split("\t")
                    if len(fields) != 3:
                        what = f"{len(fields)} instead of head, relation and tail: {content[:80]}"
                        raise BadRecord("wrong number of columns", what)
                    head, relation, tail = (checked_id(field) for field in fields)
                except BadRecord as bad:
                    Place(file, line).report(problems, bad)
                    continue
                yield _Question(line, head, relation, tail, is_inverse=False)
                if self._inverse:
                    yield _Question(line, tail, relation, head, is_inverse=True)


def _open_texts(file: InputFile) -> TextFile:
    """`id<TAB>text` lines without a header, unless the name says that it is another table."""
    if file.plain_name.endswith(".txt"):
        return TextFile(file=file, id_column=None, text_column="")
    return open_text_file(file, Side.DOCUMENT)
