"""Who writes texts that no corpus holds: negatives for a query, queries for a document."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from hnmine.core.cloze import cloze
from hnmine.core.perturb import CHANGES
from hnmine.engines.analysis import detect_language, normalise_language
from hnmine.errors import UsageError
from hnmine.files.artefact import Json
from hnmine.files.collection import Collection
from hnmine.hashing import keyed_hash
from hnmine.options import GenerateOptions
from hnmine.spelling import nearest
from hnmine.stages.index_bm25 import sample_texts

COMPUTED = 4_096
"""Queries, or documents, a block of a writer that asks nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A document as a writer sees it."""

    doc_id: str
    title: str
    text: str

    def whole(self, separator: str) -> str:
        """Title, separator and text; just the one that is there when the other is empty."""
        return separator.join(part for part in (self.title, self.text) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A query for which negatives are written, and its positives, the first ones to write from."""

    query_id: str
    query: str
    positives: Sequence[Passage]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A negative: its title and text, how it was made, and from which document, if from one."""

    title: str
    text: str
    how: str
    source: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """Queries for one document, and its text without what is asked for; None if that stays as it is."""

    queries: Sequence[str]
    rest: str | None = None


class Writer(ABC):
    """What all writers tell of themselves."""

    block: ClassVar[int]
    """Queries, or documents, a block."""

    @abstractmethod
    def facts(self) -> Json:
        """All that decides what is written beside the options, for the plan."""

    def counts(self) -> Json:
        """What the last `write` came to beside its texts, for the manifest."""
        return {}

    def costs(self, asked: Sequence[Any], scale: float) -> Json:
        """What it takes to write for `scale` times as many as these, for `--dry-run`."""
        return {}

    def notes(self) -> Json:
        """What a person should be told."""
        return {}


class NegativeWriter(Writer):
    """Writes negatives. The caller refuses what is none, and takes as many as it wants."""

    @abstractmethod
    def write(self, asked: Sequence[Asked], share: float) -> Iterator[Iterator[Written] | None]:
        """For each query texts in the order in which they are to be taken; None where nobody was asked.

        `share` is the part of all queries that these are, and of a budget that they may use.
        """


class QueryWriter(Writer):
    """Writes queries that a document answers."""

    @abstractmethod
    def write(self, passages: Sequence[Passage], share: float) -> Iterator[Questions | None]:
        """For each document its queries; None where nobody was asked. `share` as for `NegativeWriter`."""


class Perturber(NegativeWriter):
    """Changes a positive a little, so that it says something else: `core.perturb`."""

    block = COMPUTED

    def __init__(self, collection: Collection, options: GenerateOptions) -> None:
        unknown = [name for name in options.change if name not in CHANGES]
        if unknown:
            guess = nearest(unknown[0], list(CHANGES))
            raise UsageError(
                f"--change {unknown[0]}: no such change" + (f"; did you mean {guess!r}?" if guess else ""),
                expected=f"one of {', '.join(CHANGES)}",
            )
        self.changes = tuple(options.change) or tuple(CHANGES)
        self.seed = options.seed
        self.language = (
            detect_language(sample_texts(collection))
            if options.language == "auto"
            else normalise_language(options.language)
        )

    def facts(self) -> Json:
        """Changes in their order, and the language of the negation."""
        return {"changes": list(self.changes), "language": self.language}

    def write(self, asked: Sequence[Asked], share: float) -> Iterator[Iterator[Written]]:
        """Each change of the first positive, then of the next."""
        return map(self._texts, asked)

    def _texts(self, one: Asked) -> Iterator[Written]:
        for passage in one.positives:
            for name in self.changes:
                draw = partial(keyed_hash, self.seed, "perturb", one.query_id, passage.doc_id, name)
                title, text = passage.title, passage.text
                if text:
                    text = CHANGES[name](text, draw, self.language)
                else:
                    title = CHANGES[name](title, draw, self.language)
                yield Written(title=title, text=text, how=name, source=passage.doc_id)


class Cloze(QueryWriter):
    """A sentence of the document is the query, and leaves it: `core.cloze`."""

    block = COMPUTED

    def __init__(self, seed: int, number: int) -> None:
        self.seed = seed
        self.number = number

    def facts(self) -> Json:
        """Nothing but the options decides."""
        return {}

    def write(self, passages: Sequence[Passage], share: float) -> Iterator[Questions]:
        """Keyed draws of each document's sentences."""
        for one in passages:
            queries, rest = cloze(one.text, self.number, partial(keyed_hash, self.seed, "ict", one.doc_id))
            yield Questions(queries=queries, rest=rest if rest != one.text else None)
