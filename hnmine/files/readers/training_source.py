"""Training examples as a source: what a training file says of its queries becomes a collection.

A query or document has its id if the format has ids, else one made from its text. With corpus or queries files each is
looked up there, by id, else by `text_key`. The examples are passed over once for each of pairs, documents and queries,
and once more for the look-up; what was seen is remembered as ids and hashes, never as texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.errors import ProblemLog
from hnmine.files.readers.examples import OF_PAIRS, Example, Passage
from hnmine.files.readers.fields import BadRecord, checked_id, checked_text, take_metadata
from hnmine.files.readers.identity import digest16, hashed_id
from hnmine.files.readers.margins import Margins
from hnmine.files.readers.records import Document, Judgment, Query
from hnmine.files.readers.source import Findings, Source, digest_files
from hnmine.files.readers.streams import InputFile
from hnmine.files.readers.texts import TextFile, open_text_file, read_documents, read_queries
from hnmine.files.tables import chunks
from hnmine.hashing import keyed_hashes_of_rows, text_key
from hnmine.schema import DOC_ID, GRADE, IS_POSITIVE, QUERY_ID, SCORE, Scale, Side

Examples = Callable[[ProblemLog], Iterator[Example]]
"""Gives the examples as often as it is called; what is none goes to the log."""

_LARGEST = float(np.finfo(np.float32).max)
_PAIRS = 65_536
"""Pairs that are Python objects at a time."""


@dataclass(frozen=True, slots=True)
class _Named:
    """A query or document as an example names it: its id and its text, None for what it lacks."""

    identity: str | None
    text: str | None

    @property
    def key(self) -> int | None:
        """The key of the text; None of an empty one. Computed anew each time, since mostly nobody asks."""
        return text_key(self.text) if self.text is not None and self.text.strip() else None


class TrainingSource(Source):
    """A training file of any format. Its positives have grade 1; its negatives are nobody's judgments.

    Equal queries are one query with the positives and negatives of all its rows. A document that the corpus files do
    not have is added to theirs.
    """

    kind = "training"

    def __init__(
        self,
        examples: Examples,
        *,
        form: str,
        files: Sequence[InputFile],
        scale: Scale,
        corpus: Sequence[InputFile] = (),
        queries: Sequence[InputFile] = (),
    ) -> None:
        """Raises `InputError` for a corpus or queries file without the columns of one."""
        self._examples = examples
        self._form = form
        self._files = {"training": files, "corpus": corpus, "queries": queries}
        self._scale = scale
        findings = Findings()
        self._parts: dict[Side, list[TextFile]] = {Side.DOCUMENT: [], Side.QUERY: []}
        for side, named in ((Side.DOCUMENT, corpus), (Side.QUERY, queries)):
            for file in named:
                with findings.collect():
                    self._parts[side].append(open_text_file(file, side))
        findings.raise_if_any()
        self._known: dict[Side, _Known] | None = None
        self._learned: tuple[ProblemLog, pa.Table] | None = None
        self._margins = Margins()
        self._notes: dict[str, str] = {}

    @property
    def has_queries(self) -> bool:
        """Always: an example has a query."""
        return True

    @property
    def score_scale(self) -> Scale:
        """The scale of the file's scores, whether it has any or not."""
        return self._scale

    def describe(self) -> dict[str, object]:
        """Kind, format, and the names of the files."""
        files = [file.name for own in self._files.values() for file in own]
        return {"kind": self.kind, "format": self._form, "files": files}

    def fingerprint(self) -> dict[str, str]:
        """SHA-256 of the training files, and of corpus and queries files."""
        return {name: digest_files(files) for name, files in self._files.items() if files}

    def reads(self) -> Iterator[Path]:
        """The training, corpus and queries files."""
        yield from (file.path for files in self._files.values() for file in files)

    def notes(self) -> dict[str, str]:
        """What the corpus lacked, what contradicts itself, and how many pairs have scores, once all was read."""
        return dict(self._notes)

    def documents(self, problems: ProblemLog) -> Iterator[Document]:
        """Each document of the corpus files, then each of the examples that is not there, in order of appearance."""
        self._pairs(problems)
        for part in self._parts[Side.DOCUMENT]:
            yield from read_documents(part, problems)
        for example, passage, doc_id in self._new(Side.DOCUMENT, "added to the corpus"):
            file, line = _place(example)
            yield Document(
                doc_id=doc_id, title=passage.title or "", text=passage.text or "", metadata={}, file=file, line=line
            )

    def queries(self, problems: ProblemLog) -> Iterator[Query]:
        """Each query of the queries files, then each of the examples that is not there, with what else they say."""
        self._pairs(problems)
        for part in self._parts[Side.QUERY]:
            yield from read_queries(part, problems)
        for example, _, query_id in self._new(Side.QUERY, "added to the queries"):
            file, line = _place(example)
            said = {} if example.instruction is None else {"instruction": example.instruction}
            yield Query(
                query_id=query_id,
                text=example.query or "",
                metadata=take_metadata({**said, **example.extra}, OF_PAIRS),
                file=file,
                line=line,
            )

    def qrels(self, problems: ProblemLog) -> Iterator[Judgment]:
        """Each (query, positive) once, with its score: its grade, which is 1 if the file has none; and what it judged
        not relevant.
        """
        pairs = self._pairs(problems)
        return _judgments(pairs.filter(pairs[GRADE].is_valid()))

    def negatives(self, problems: ProblemLog) -> Iterator[Judgment]:
        """Each (query, negative) once, with its score."""
        pairs = self._pairs(problems)
        return _judgments(pairs.filter(pc.invert(pairs[IS_POSITIVE])))

    def _new(self, side: Side, note: str) -> Iterator[tuple[Example, Passage, str]]:
        """What the examples have and the files of a side have not, once, with its id; afterwards the note is known."""
        seen: set[bytes] = set()
        known = self._known_records()[side]
        for example in self._examples(ProblemLog()):
            passages = _passages(example) if side is Side.DOCUMENT else [Passage(text=example.query)]
            for passage in passages:
                named = _document(passage) if side is Side.DOCUMENT else _query(example)
                try:
                    identity = known.identify(named)
                except BadRecord:
                    continue
                digest = digest16(identity)
                if identity not in known.ids and digest not in seen:
                    seen.add(digest)
                    yield example, passage, identity
        if self._parts[side]:
            self._notes[note] = f"{len(seen):,} that its files do not have"

    def _known_records(self) -> dict[Side, _Known]:
        """Of the corpus and queries files, the ids and texts that the examples name."""
        if self._known is None:
            known = {side: _Known(side, has_files=bool(parts)) for side, parts in self._parts.items()}
            if any(self._parts.values()):
                for example in self._examples(ProblemLog()):
                    known[Side.QUERY].want(_query(example))
                    for passage in _passages(example):
                        known[Side.DOCUMENT].want(_document(passage))
            for part in self._parts[Side.DOCUMENT]:
                for record in read_documents(part, ProblemLog()):
                    known[Side.DOCUMENT].learn(record.doc_id, record.title, record.text)
            for part in self._parts[Side.QUERY]:
                for asked in read_queries(part, ProblemLog()):
                    known[Side.QUERY].learn(asked.query_id, "", asked.text)
            self._known = known
        return self._known

    def _pairs(self, problems: ProblemLog) -> pa.Table:
        """Every (query, document) of the examples once among positives, once among negatives, in file order.

        The first pass that anybody asks for, and the one that reports.
        """
        if self._learned is None or self._learned[0] is not problems:
            known = self._known_records()
            self._margins = Margins()
            parts = [_table([]), *map(_table, chunks(self._resolved(known, problems), _PAIRS))]
            self._learned = problems, self._distinct(pa.concat_tables(parts).unify_dictionaries())
        return self._learned[1]

    def _resolved(self, known: dict[Side, _Known], problems: ProblemLog) -> Iterator[tuple[Any, ...]]:
        """(query id, document id, is positive, grade, score, file, line) of every passage that can be identified."""
        texts = {side: _OneText() for side in Side}
        for example in self._examples(problems):
            try:
                if "document" in example.extra:
                    raise BadRecord("a score that does not tell positives from negatives", example.query)
                query = _query(example)
                query_id = known[Side.QUERY].identify(query)
                if query_id not in known[Side.QUERY].ids:
                    texts[Side.QUERY].check(query, query_id)
            except BadRecord as bad:
                problems.add(bad.kind, example.where, bad.value)
                continue
            file, line = _place(example)
            identified: list[str | None] = []
            for place, passage in enumerate(_passages(example)):
                identified.append(None)
                try:
                    document = _document(passage)
                    doc_id = known[Side.DOCUMENT].identify(document)
                    if doc_id not in known[Side.DOCUMENT].ids:
                        texts[Side.DOCUMENT].check(document, doc_id)
                    score = passage.score
                    if score is not None and not abs(score) <= _LARGEST:
                        raise BadRecord("score not a finite number of 32 bits", score)
                except BadRecord as bad:
                    problems.add(bad.kind, example.where, bad.value)
                    continue
                identified[-1] = doc_id
                is_positive = place < len(example.positives)
                yield query_id, doc_id, is_positive, _grade(example, passage, is_positive), score, file, line
            for positive, negative, margin in _margins(example, identified):
                self._margins.add(query_id, positive, negative, margin)

    def _distinct(self, pairs: pa.Table) -> pa.Table:
        """Each pair's first row among positives and among negatives, with its first score."""
        hashes = np.asarray(pairs["hash"].to_numpy(), np.uint64)
        positive = np.asarray(pairs[IS_POSITIVE].to_numpy(), np.bool_)
        scores = np.array(pairs[SCORE].to_numpy(), np.float32)
        kept, differing = [], 0
        for chosen in (np.flatnonzero(positive), np.flatnonzero(~positive)):
            _, first, group = np.unique(hashes[chosen], return_index=True, return_inverse=True)
            scored = chosen[np.isfinite(scores[chosen])][::-1]
            groups = group[np.isfinite(scores[chosen])][::-1]
            found = np.full(len(first), np.nan, np.float32)
            found[groups] = scores[scored]
            differing += len(np.unique(groups[scores[scored] != found[groups]]))
            if self._margins:
                own = [self._margins.score(one) for one in hashes[chosen[first]].tolist()]
                found = np.where(np.isfinite(found), found, np.array(own, np.float32))
            scores[chosen[first]] = found
            kept.append(chosen[first])
        both = np.intersect1d(hashes[kept[0]], hashes[kept[1]])
        grades = pairs[GRADE]
        if len(both):
            contradicted = np.isin(hashes, both) & ~positive
            grades = pc.if_else(pa.array(contradicted), None, grades)
            self._notes["both positive and negative"] = f"{len(both):,} pairs, which are taken for positives"
        if differing:
            self._notes["several scores"] = f"of {differing:,} pairs, of which the first is taken"
        rows = np.sort(np.concatenate(kept))
        missing = ~np.isfinite(scores[rows])
        if 0 < missing.sum() < len(rows):
            self._notes["without a score"] = f"{int(missing.sum()):,} of {len(rows):,} pairs"
        taken = pairs.drop_columns(["hash", SCORE, GRADE]).append_column(GRADE, grades).take(pa.array(rows))
        return taken.append_column(SCORE, pa.array(scores[rows], pa.float32(), mask=missing))


class _Known:
    """The records of the files of one side that examples name: the keys of their texts by id, and ids by key."""

    def __init__(self, side: Side, *, has_files: bool) -> None:
        self.ids: dict[str, tuple[int, int]] = {}
        self._by_key: dict[int, str] = {}
        self._wanted_ids: set[str] = set()
        self._wanted_keys: set[int] = set()
        self._side = side
        self._has_files = has_files

    def want(self, named: _Named) -> None:
        """Remember what is to be looked for."""
        if named.identity is not None:
            self._wanted_ids.add(named.identity)
        if (key := named.key) is not None:
            self._wanted_keys.add(key)

    def learn(self, identity: str, title: str, text: str) -> None:
        """Hear of a record of the files; of several with one text the first counts."""
        keys = text_key(f"{title}\n{text}"), text_key(text)
        if identity in self._wanted_ids:
            self.ids.setdefault(identity, keys)
        for key in keys:
            if key in self._wanted_keys:
                self.ids.setdefault(self._by_key.setdefault(key, identity), keys)

    def identify(self, named: _Named) -> str:
        """The id under which the collection has it: that of the files, else its own, else one made from its text.

        Raises `BadRecord` for what cannot be found, and for what the files have with another text.
        """
        files, what = ("corpus", "document") if self._side is Side.DOCUMENT else ("queries", "query")
        identity, text = named.identity, named.text
        if identity is not None and identity in self.ids:
            if (key := named.key) is not None and key not in self.ids[identity]:
                raise BadRecord(f"another text than the {files} files have", f"{identity}: {text}")
            return identity
        if text is None and identity is None:
            raise BadRecord(f"{what} without text and id")
        if text is None:
            reason = f"not in the {files} files" if self._has_files else f"its text is nowhere; give --{files} FILE"
            raise BadRecord(f"{what} unknown ({reason})", identity)
        checked_text(text, owner=what if identity is None else f"{what} {identity}")
        if self._has_files and (key := named.key) in self._by_key:
            return self._by_key[key]
        prefix = "d-" if self._side is Side.DOCUMENT else "q-"
        return checked_id(identity) if identity is not None else hashed_id(prefix, text)


class _OneText:
    """Notices an id that comes with a second text."""

    def __init__(self) -> None:
        self._texts: dict[bytes, bytes] = {}

    def check(self, named: _Named, identity: str) -> None:
        """Raise `BadRecord` if the id, given by the file itself, came with another text before."""
        if named.identity == identity and named.text is not None:
            now = digest16(named.text)
            if self._texts.setdefault(digest16(identity), now) != now:
                raise BadRecord("one id, two texts", f"{identity}: {named.text}")


def _query(example: Example) -> _Named:
    return _Named(example.query_id or None, example.query)


def _document(passage: Passage) -> _Named:
    text = passage.text
    return _Named(passage.doc_id or None, f"{passage.title}\n{text or ''}" if passage.title else text)


def _passages(example: Example) -> Iterable[Passage]:
    return chain(example.positives, example.negatives)


def _grade(example: Example, passage: Passage, is_positive: bool) -> int | None:
    """What the file says of the relevance: of a positive at least 1, of a negative nothing unless it was judged.

    A format that says 0 of all negatives (`grades` of an example) judges none; a grade below 0 it did not make up.
    """
    known = passage.extra.get("relevance")
    if known is None:
        said = example.extra.get("grades", {}).get(passage.doc_id, 1 if is_positive else 0)
        known = said or None
    if not isinstance(known, int):
        return 1 if is_positive else None
    return max(known, 1) if is_positive else min(known, 0)


def _margins(example: Example, identified: Sequence[str | None]) -> Iterator[tuple[str, str, float]]:
    """(positive, negative, margin) for each of the margins of an example; it then has one positive."""
    given = example.extra.get("margins", [example.extra["margin"]] if "margin" in example.extra else [])
    if len(example.positives) == 1 and len(given) == len(example.negatives):
        for negative, margin in zip(identified[1:], given, strict=True):
            if identified[0] is not None and negative is not None:
                yield identified[0], negative, margin


def _place(example: Example) -> tuple[str, int]:
    file, _, line = example.where.rpartition(":")
    return file, int(line)


def _table(pairs: Sequence[tuple[Any, ...]]) -> pa.Table:
    query_ids, doc_ids, positive, grades, scores, files, lines = zip(*pairs, strict=True) if pairs else ((),) * 7
    hashes = keyed_hashes_of_rows(0, rows=zip(query_ids, doc_ids, strict=True))
    return pa.table(
        {
            QUERY_ID: pa.array(query_ids, pa.string()),
            DOC_ID: pa.array(doc_ids, pa.string()),
            IS_POSITIVE: pa.array(positive, pa.bool_()),
            GRADE: pa.array(grades, pa.int32()),
            SCORE: pa.array(scores, pa.float32()),
            "file": pa.array(files, pa.dictionary(pa.int32(), pa.string())),
            "line": pa.array(lines, pa.int64()),
            "hash": pa.array(hashes, pa.uint64()),
        }
    )


def _judgments(pairs: pa.Table) -> Iterator[Judgment]:
    chosen = pairs.drop_columns([IS_POSITIVE])
    for start in range(0, len(chosen), _PAIRS):
        for row in chosen.slice(start, _PAIRS).to_pylist():
            yield Judgment(**{**row, GRADE: row[GRADE] or 0})
