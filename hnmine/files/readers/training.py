"""Reads training files of any tool: a query with texts that teach it to be near to some and far from others.

Layouts, told by the columns: pairs or tuples (`anchor, positive, negative` or `negative_1 ...`), lists (`query, pos,
neg` of FlagEmbedding; `documents, labels` of sentence-transformers) and labeled pairs (`query, document, label`).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hnmine.errors import InputError, ProblemLog
from hnmine.files.readers.examples import Example, Passage
from hnmine.files.readers.fields import BadRecord
from hnmine.files.readers.streams import InputFile
from hnmine.files.readers.tables import columns, read_rows
from hnmine.hashing import text_key
from hnmine.spelling import nearest

ANCHORS = ("anchor", "query", "question", "query_text")
POSITIVES = ("positive", "pos", "positives", "answer", "positive_passages")
NEGATIVES = ("negative", "neg", "negatives", "hard_negatives", "negative_passages")
DOCUMENTS = ("documents", "document", "passage", "docs", "text")
LABELS = ("labels", "label")
SCORES = ("scores", "score")
ANCHOR_IDS = ("query_id", "anchor_id", "qid")
POSITIVE_IDS = ("positive_ids", "positive_id", "pos_ids", "pos_id")
NEGATIVE_IDS = ("negative_ids", "negative_id", "neg_ids", "neg_id")
POSITIVE_SCORES, NEGATIVE_SCORES = ("pos_scores", "positive_scores"), ("neg_scores", "negative_scores")
_NUMBERED = re.compile(r"neg(?:ative)?_?(\d+)")

NO_HASH = 0
"""Stands for "not known" where a hash is expected."""


@dataclass(frozen=True, slots=True)
class Item:
    """One text of a row. `key` is its `text_key`, `id_hash` the hash of its id; `NO_HASH` where there is none."""

    key: int
    id_hash: int
    score: float | None
    shown: str
    is_empty: bool = False


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One row: the query, and the texts it is near to and far from. `where` is `file:row`."""

    where: str
    anchor: Item
    positives: Sequence[Item]
    negatives: Sequence[Item]
    has_scores: bool


def id_hash(identity: str) -> int:
    """64 bits that stand for an id, never `NO_HASH`."""
    return int.from_bytes(hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=8).digest()) or 1


def item(text: object, identity: object = None, score: object = None) -> Item:
    """A text of a row, hashed; a mapping as of Tevatron has its own `text` and `docid`."""
    if isinstance(text, Mapping):
        identity = (
            identity if identity is not None else next((text[k] for k in ("docid", "id", "_id") if k in text), None)
        )
        text = "\n".join(str(text[part]) for part in ("title", "text") if text.get(part))
    words = "" if text is None else str(text)
    return Item(
        key=text_key(words) or 1 if words.strip() else NO_HASH,
        id_hash=id_hash(str(identity)) if identity is not None else NO_HASH,
        score=_number(score) if isinstance(score, (int, float)) else None,
        shown=" ".join(words[:200].split()) if words else str(identity),
        is_empty=text is not None and not words.strip(),
    )


def _number(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # JSON has whole numbers of any length
        return math.inf


def training_row(example: Example) -> TrainingRow:
    """An example as an audit looks at it. If any of its texts has a score, all should have one."""
    positives, negatives = ([_of_passage(one) for one in side] for side in (example.positives, example.negatives))
    return TrainingRow(
        where=example.where,
        anchor=item(example.query, example.query_id),
        positives=positives,
        negatives=negatives,
        has_scores=any(one.score is not None for one in (*positives, *negatives)),
    )


def _of_passage(passage: Passage) -> Item:
    title, text = passage.title, passage.text
    return item(f"{title}\n{text or ''}" if title else text, passage.doc_id, passage.score)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    anchor: str | None
    anchor_id: str | None
    positive: str | None
    negatives: tuple[str, ...]
    documents: str | None
    labels: str | None
    scores: str | None
    positive_ids: str | None
    negative_ids: str | None
    positive_scores: str | None
    negative_scores: str | None


class TrainingFile:
    """A training file, and the file of ids beside it (`X.ids.parquet`) if it has one, read in step."""

    def __init__(self, file: InputFile, ids: InputFile | None = None) -> None:
        """Find the columns once; `InputError` with the columns there are when these are no training rows."""
        self.file = file
        self.ids = ids
        names = columns(file)
        self._layout = _find(file, names, has_ids=ids is not None)

    def rows(self, problems: ProblemLog) -> Iterator[TrainingRow]:
        """Each row in file order; rows that cannot be read go to `problems`."""
        ids = None if self.ids is None else read_rows(self.ids, problems)
        for line, row in read_rows(self.file, problems):
            known = {} if ids is None else next((own for number, own in ids if number == line), None)
            if known is None:
                raise self._out_of_step()
            where = f"{self.file.shown}:{line}"
            try:
                yield self._row(where, row, known)
            except BadRecord as bad:
                problems.add(bad.kind, where, bad.value)
        if ids is not None and not problems and next(ids, None) is not None:
            raise self._out_of_step()

    def _out_of_step(self) -> InputError:
        return InputError(
            f"{self.file.shown} and {self.ids.shown if self.ids else 'its ids'} have different numbers of rows",
            remedy="export again: both are written together",
        )

    def _row(self, where: str, row: Mapping[str, Any], known: Mapping[str, Any]) -> TrainingRow:
        layout = self._layout
        anchor_id = known.get("query_id", row.get(layout.anchor_id) if layout.anchor_id else None)
        anchor = item(row.get(layout.anchor) if layout.anchor else None, anchor_id)
        if layout.documents is not None or layout.labels is not None:
            texts = _listed(row.get(layout.documents or layout.positive or ""))
            labels = _listed(row.get(layout.labels)) if layout.labels else list(known.get("labels") or [])
            if not labels:  # scores alone: the positive's comes first
                labels = [1] + [0] * (len(texts) - 1)
            is_positive = [isinstance(label, (int, float)) and label > 0.5 for label in labels]
            if len(labels) > len(texts):
                raise BadRecord("more labels than documents", f"{len(labels)} for {len(texts)}")
            is_positive += [False] * (len(texts) - len(is_positive))
        else:
            positives = _listed(row.get(layout.positive)) if layout.positive else []
            negatives = [text for name in layout.negatives for text in _listed(row.get(name))]
            texts = [*positives, *negatives]
            is_positive = [True] * len(positives) + [False] * len(negatives)
        ids = list(known.get("doc_ids") or [])
        if not ids and (layout.positive_ids or layout.negative_ids):
            ids = [i for name in (layout.positive_ids, layout.negative_ids) for i in _listed(row.get(name or ""))]
        if not texts and ids:
            own = len(_listed(row.get(layout.positive_ids or "")))
            texts, is_positive = [None] * len(ids), [place < own for place in range(len(ids))]
        scores: list[Any] = list(known.get("scores") or [])
        if layout.scores:
            scores = _listed(row.get(layout.scores))
        elif layout.positive_scores or layout.negative_scores:
            names = (layout.positive_scores, layout.negative_scores)
            scores = [s for name in names for s in _listed(row.get(name or ""))]
        items = [
            item(text, ids[i] if len(ids) == len(texts) else None, scores[i] if len(scores) == len(texts) else None)
            for i, text in enumerate(texts)
        ]
        return TrainingRow(
            where=where,
            anchor=anchor,
            positives=[one for one, positive in zip(items, is_positive, strict=True) if positive],
            negatives=[one for one, positive in zip(items, is_positive, strict=True) if not positive],
            has_scores=bool(scores) and len(scores) == len(texts),
        )


def _listed(value: object) -> list[Any]:
    """A value or a list of values; nothing for None."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _find(file: InputFile, names: list[str], *, has_ids: bool) -> _Layout:
    def first(wanted: Sequence[str]) -> str | None:
        return next((name for name in wanted if name in names), None)

    numbered = sorted((int(m[1]), name) for name in names if (m := _NUMBERED.fullmatch(name)))
    plain = first(NEGATIVES)
    negatives = tuple(([plain] if plain else []) + [name for _, name in numbered])
    anchor, positive, labels = first(ANCHORS), first(POSITIVES), first(LABELS)
    layout = _Layout(
        anchor=anchor,
        anchor_id=first(ANCHOR_IDS),
        positive=positive,
        negatives=negatives,
        documents=first(DOCUMENTS) if positive is None and not negatives else None,
        labels=labels if not negatives else None,
        scores=first(SCORES),
        positive_ids=first(POSITIVE_IDS),
        negative_ids=first(NEGATIVE_IDS),
        positive_scores=first(POSITIVE_SCORES),
        negative_scores=first(NEGATIVE_SCORES),
    )
    by_id = layout.anchor_id is not None and layout.negative_ids is not None
    by_text = anchor is not None and bool(negatives or labels or (layout.documents and (has_ids or layout.scores)))
    if names and not (by_id or by_text):
        known = [*ANCHORS, *POSITIVES, *NEGATIVES, *DOCUMENTS, *LABELS]
        guesses = [
            f"{name!r} looks like {guess!r}" for name in names if (guess := nearest(name, known)) and guess != name
        ]
        raise InputError(
            f"{file.shown}: no training rows in columns {', '.join(names)}",
            expected="anchor, positive and negative (or negative_1, ...); query, pos and neg; query, document(s) and"
            " label(s); or query_id, positive_id(s) and negative_id(s)",
            remedy=(
                f"a file of pairs has no negatives yet: hnmine run {file.shown} -o triplets.parquet"
                if anchor is not None and positive is not None and not negatives
                else "rename the columns" + (f" ({'; '.join(guesses)})" if guesses else "")
            ),
        )
    return layout
