"""What rules need beside the table: options that make sense, evidence that is there, columns of the collection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.core.condition import Condition
from hnmine.core.evidence import Column
from hnmine.core.rules.base import Rule
from hnmine.core.rules.group import SameGroup
from hnmine.core.rules.where import Where
from hnmine.errors import UsageError
from hnmine.files.candidates import CandidatesTable, ScoreInfo
from hnmine.files.collection import Collection, rows_of
from hnmine.options import Existing, FilterOptions, MineOptions
from hnmine.schema import (
    ANSWERS,
    DOC_ID,
    HAS_ANSWER,
    QUERY_ID,
    Scale,
    rank_column,
    sim_better_column,
    sim_positive_column,
)
from hnmine.spelling import nearest

_OWN = {"document.doc_id": DOC_ID, "query.query_id": QUERY_ID}
"""Columns of the collection that the candidates have themselves."""


def dense_index(table: CandidatesTable, judge: ScoreInfo | None, rank_by: ScoreInfo | None) -> tuple[str, Scale] | None:
    """The index, and its scale, whose similarities between documents are compared; None if there are none.

    The judge's if it is dense, else the rank-by index's, else the first one's.
    """
    columns = table.column_names
    for score in (judge, rank_by, *table.scores):
        if score is not None and sim_positive_column(score.name) in columns:
            return score.name, score.scale
    return None


def require_evidence(
    options: FilterOptions,
    table: CandidatesTable,
    collection: Collection,
    *,
    dense: tuple[str, Scale] | None,
    rank_by: ScoreInfo | None,
) -> None:
    """Raise `UsageError` for every rule that was asked for and whose evidence the candidates do not have."""
    columns = table.column_names
    problems = []
    if options.near_duplicate is not None and dense and sim_better_column(dense[0]) not in columns:
        problems.append(f"--near-duplicate: the candidates have no {sim_better_column(dense[0])}; mine them again")
    if options.no_answers and HAS_ANSWER not in columns:
        problems.append(f"--no-answers: the candidates have no {HAS_ANSWER}; mine them again")
    elif options.no_answers and not table.has_values(HAS_ANSWER):
        problems.append(f"--no-answers: no query has answers (a metadata column `{ANSWERS}` of the queries)")
    if options.existing is not Existing.JUDGE and not len(collection.existing_negatives.query_rows):
        problems.append(
            f"--existing {options.existing}: no negatives came with the data (--negative-columns of ingest)"
        )
    has_ranks = rank_by is not None and (rank_by.origin == "fusion" or rank_column(rank_by.name) in columns)
    for flag, count, is_there in (
        ("--skip-top", options.skip_top, rank_by is not None),
        ("--max-rank", options.max_rank, rank_by is not None),
        ("--consistency-top", options.consistency_top, has_ranks),
    ):
        if count and not is_there:
            named = rank_by.name if rank_by else "nothing"
            problems.append(f"{flag} needs ranks, and --rank-by {named} has none: name an index or a run")
    depth = table.artefact.plan["options"].get("top_k")
    for flag, count in (("--consistency-top", options.consistency_top), ("--agreement-depth", options.agreement_depth)):
        is_asked = flag != "--agreement-depth" or options.max_agreement is not None
        if depth is not None and is_asked and count > depth:
            problems.append(f"{flag} {count}: the candidates have ranks up to {depth} only (--top-k of mine)")
    if problems:
        raise UsageError("\n".join(problems))


class RuleColumns:
    """The columns of the collection that rules name, spread over the rows of a block. Only named ones are loaded."""

    def __init__(self, collection: Collection, rules: Sequence[Rule]) -> None:
        """Load the columns; raises `UsageError` for one that is not there, or for a condition that its types forbid."""
        self._collection = collection
        self._names = list(dict.fromkeys(name for rule in rules for name in rule.columns))
        check_columns(collection, self._names)
        for rule in rules:
            if isinstance(rule, Where):
                check_condition(collection, rule.condition)
        self._loaded: dict[str, pa.ChunkedArray] = {}
        for name in self._names:
            if name not in _OWN:
                table, column = _place(name)
                self._loaded[name] = collection.column(table, column)

    def of(
        self, table: pa.Table, query_rows: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]
    ) -> dict[str, Column]:
        """The columns, one entry a row of a table of candidates; `query_rows` are those of its queries."""
        found: dict[str, Column] = {}
        rows: dict[str, npt.NDArray[np.int64]] = {}
        for name in self._names:
            if name in _OWN:
                found[name] = as_column(table[_OWN[name]])
                continue
            side = name.partition(".")[0]
            if side not in rows:
                if side == "document":
                    rows[side] = rows_of(self._collection.doc_ids, table[DOC_ID])
                else:
                    rows[side] = np.repeat(query_rows, np.diff(offsets))
            found[name] = as_column(self._loaded[name].take(pa.array(rows[side])))
        return found


def _place(name: str) -> tuple[Literal["documents", "queries"], str]:
    """The table and the column that `document.NAME` or `query.NAME` means."""
    side, _, column = name.partition(".")
    return ("documents" if side == "document" else "queries"), column


class HasColumns(Protocol):
    """What knows the columns of its documents and queries: a collection, or a source that is still unread."""

    def column_names(self, table: Literal["documents", "queries"]) -> list[str] | None:
        """The columns of a table as a collection has them; None if they are not known yet."""


def check_columns(data: HasColumns, names: Iterable[str]) -> None:
    """Raise `UsageError` for the first of the columns (`document.NAME`, `query.NAME`) that is known not to be there."""
    for name in names:
        table, column = _place(name)
        known = data.column_names(table)
        if known is not None and column not in known:
            guess = nearest(column, known)
            raise UsageError(
                f"{name}: the {table} have no column {column!r}" + (f"; did you mean {guess!r}?" if guess else ""),
                expected=f"one of {', '.join(known)}",
            )


def check_condition(collection: Collection, condition: Condition) -> None:
    """Raise `UsageError` if a condition names a column that is not there, or compares what cannot be compared."""
    check_columns(collection, condition.columns)
    examples = {}
    for name in condition.columns:
        table, column = _place(name)
        kind = collection.schema(table).field(column).type
        if pa.types.is_null(kind):
            examples[name] = as_column(pa.nulls(1))
        elif pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
            examples[name] = as_column(pa.array([0]).cast(kind))
        else:
            examples[name] = as_column(pa.array([""]))
    condition.holds(examples, 1)


def check_collection(collection: Collection, *options: FilterOptions | MineOptions) -> None:
    """Raise `UsageError` for every condition or group of the options that the collection has no columns for."""
    _tell(
        lambda text: check_condition(collection, Condition(text)),
        lambda names: check_columns(collection, names),
        options,
    )


def check_source(source: HasColumns, *options: FilterOptions | MineOptions) -> None:
    """As `check_collection`, as far as data that is still unread can tell."""
    _tell(
        lambda text: check_columns(source, Condition(text).columns), lambda names: check_columns(source, names), options
    )


def _tell(
    condition: Callable[[str], None],
    columns: Callable[[Sequence[str]], None],
    options: Sequence[FilterOptions | MineOptions],
) -> None:
    checks = [partial(condition, one.where) for one in options if one.where is not None]
    groups = [one.group_by for one in options if isinstance(one, FilterOptions) and one.group_by is not None]
    checks += [partial(columns, SameGroup(name).columns) for name in groups]
    problems: dict[str, None] = {}
    for check in checks:
        try:
            check()
        except UsageError as error:
            problems[error.render()] = None
    if problems:
        raise UsageError("\n".join(problems))


def as_column(array: pa.Array | pa.ChunkedArray) -> Column:
    """An Arrow column as NumPy arrays: whole numbers, fractions, truth values, or texts."""
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    is_null = np.asarray(array.is_null().to_numpy(zero_copy_only=False), np.bool_)
    kind = array.type
    zero: Any = None
    if pa.types.is_boolean(kind):
        zero = False
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        zero = pa.scalar(0, kind)
    elif not pa.types.is_string(kind):
        array = array.cast(pa.string())
    if zero is not None:
        array = pc.fill_null(array, zero)
    return Column(values=np.asarray(array.to_numpy(zero_copy_only=False)), is_null=is_null)
