"""`ms-swift` and `ms-swift-reranker`: the messages of ms-swift's embedding and reranker trainers.

Two formats, since no file serves both: the reranker joins query and document to one conversation and takes the
document from the assistant's turn (as the user's it would run into the query); the embedding trainer encodes each side
by itself, as a user's turn, and reads no more than the first positive.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from hnmine.core.layout import Chosen, Keys, Layout, row_per_pair, row_per_query
from hnmine.errors import ProblemLog
from hnmine.files.encodings import Encoding, JsonLines
from hnmine.files.readers.examples import Example, Passage
from hnmine.files.readers.fields import BadRecord
from hnmine.files.readers.rows import shards
from hnmine.stages.formats.base import Rows, TrainingFormat
from hnmine.stages.formats.reading import list_in, parsed, table_rows, text_in


class MsSwift(TrainingFormat):
    """A row for each (query, positive), documents as user's turns: the embedding trainer's."""

    encoding: ClassVar[Encoding] = JsonLines()
    has_instruction = True
    takes_scores = False
    takes_weights = False
    role: ClassVar[str] = "user"

    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None, pad: bool = False) -> tuple[Layout, int]:
        """A row for each pair whose query has a negative."""
        return row_per_pair(chosen, keys)

    def table(self, rows: Rows, *, width: int) -> pa.Table:
        """messages ([system: the instruction,] user: the query), positive_messages, negative_messages."""
        documents = _conversations(_messages(self.role, rows.documents))
        return pa.table(
            {
                "messages": _asked(rows),
                "positive_messages": rows.lists_of(documents, positive=True),
                "negative_messages": rows.lists_of(documents, positive=False),
            }
        )

    def examples(self, place: Path, problems: ProblemLog) -> Iterator[Example]:
        """A user's message with one positive (a reranker's: at least one) and at least one negative."""
        return parsed(table_rows(shards(place, self.encoding.suffixes), problems), problems, self._example)

    def _example(self, where: str, row: Any) -> Example:
        messages = list_in(row, "messages")
        system = messages.pop(0) if messages and _role(messages[0]) == "system" else None
        if [_role(message) for message in messages] != ["user"]:
            raise BadRecord("not one user's message", str(row["messages"])[:120])
        positives, negatives = (
            [self._passage(one) for one in list_in(row, f"{name}_messages")] for name in ("positive", "negative")
        )
        self._check(positives)
        return Example(
            where=where,
            query=_content(messages[0]),
            positives=positives,
            negatives=negatives,
            instruction=_content(system) if system is not None else None,
        )

    def _check(self, positives: list[Passage]) -> None:
        if len(positives) > 1:
            raise BadRecord("more than one positive, of which the embedding trainer reads the first", len(positives))

    def _passage(self, messages: Any) -> Passage:
        if not isinstance(messages, list) or [_role(message) for message in messages] != [self.role]:
            raise BadRecord(f"not one {self.role}'s message", str(messages)[:120])
        return Passage(text=_content(messages[0]))


class MsSwiftReranker(MsSwift):
    """A row for each query with all its positives, documents as assistant's turns: the reranker trainer's."""

    role = "assistant"

    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None, pad: bool = False) -> tuple[Layout, int]:
        """A row for each query with a positive and a negative."""
        return row_per_query(chosen, keys)

    def _check(self, positives: list[Passage]) -> None:
        pass


def _messages(role: str, texts: pa.Array) -> pa.StructArray:
    return pa.StructArray.from_arrays(
        [pa.repeat(pa.scalar(role), len(texts)), texts.cast(pa.string())], names=["role", "content"]
    )


def _conversations(messages: pa.StructArray) -> pa.ListArray:
    """Each message as a conversation of its own."""
    return pa.ListArray.from_arrays(pa.array(np.arange(len(messages) + 1), pa.int32()), messages)


def _asked(rows: Rows) -> pa.ListArray:
    """The conversation of each row's query; a system's message for the instruction of those that have one."""
    asked = _messages("user", rows.queries)
    if rows.instructions is None:
        return _conversations(asked)
    said = _messages("system", rows.instructions)
    has = np.asarray(rows.instructions.is_valid())
    size = len(asked)
    order = np.stack([np.arange(size), np.arange(size) + size], axis=1)  # the system's message, then the user's
    kept = np.stack([has, np.ones(size, np.bool_)], axis=1)
    messages = pa.concat_arrays([said, asked]).take(pa.array(order[kept]))
    offsets = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), messages)


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, dict) else None


def _content(message: Any) -> str:
    return text_in(message, "content")
