"""Prompts of a training file: what stands before the query of each row, and before its documents."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from hnmine.errors import UsageError
from hnmine.files.collection import Collection, Rows
from hnmine.stages.rule_inputs import HasColumns, check_columns

COLUMN = "query."
"""Begins the name of a metadata column of the queries where a text could stand too."""


def check_instruction(data: HasColumns, instruction: str | None) -> None:
    """Raise `UsageError` if an instruction names a column that the queries are known not to have."""
    if _column_of(instruction) is not None:
        check_columns(data, [str(instruction)])


def _column_of(instruction: str | None) -> str | None:
    """The column of the queries that an instruction names, if it does."""
    name = (instruction or "").removeprefix(COLUMN)
    return name if name.isidentifier() and instruction == f"{COLUMN}{name}" else None


@dataclass(frozen=True)
class Prompts:
    """An instruction for queries, None, a text or `query.COLUMN`, and one for documents, None or a text.

    With `in_field` the file has a field for a query's instruction, and the text of the query is without it. Raises
    `UsageError` for a column that is not there, or holds no texts.
    """

    collection: Collection
    query: str | None = None
    document: str | None = None
    in_field: bool = False

    def __post_init__(self) -> None:
        check_instruction(self.collection, self.query)
        name = _column_of(self.query)
        kind = pa.string() if name is None else self.collection.schema("queries").field(name).type
        if not (pa.types.is_string(kind) or pa.types.is_null(kind)):
            raise UsageError(f"--instruction {self.query}: the column holds {kind}", expected="a column of texts")

    @cached_property
    def _instructions(self) -> pa.ChunkedArray | None:
        """The column, one entry a query of the collection; few are different."""
        name = _column_of(self.query)
        if name is None:
            return None
        return self.collection.column("queries", name).cast(pa.string()).dictionary_encode()

    def instructions(self, rows: Rows) -> pa.Array | None:
        """The instruction of each given query, null where it has none or a blank one; None if nobody asked for any."""
        if self.query is None:
            return None
        if self._instructions is None:
            found = pa.repeat(pa.scalar(self.query), len(rows))
        else:
            found = self._instructions.take(pa.array(rows)).cast(pa.string()).combine_chunks()
        return pc.if_else(pc.equal(pc.utf8_trim_whitespace(found), ""), None, found)

    def before_queries(self, rows: Rows) -> pa.Array | None:
        """What stands before the text of each given query; None if nothing does."""
        found = None if self.in_field else self.instructions(rows)
        return None if found is None else pc.fill_null(found, "")
