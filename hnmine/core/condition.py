"""A condition on columns, such as `document.lang == query.lang and document.year < 2020`, parsed once, run on arrays.

The grammar is a small part of Python's: names `document.COLUMN` and `query.COLUMN` (or `document["any name"]`), texts,
numbers, `True`, `False`, `None`, lists of them, `== != < <= > >=`, `in`, `not in`, `and`, `or`, `not`, brackets.
Nothing is ever evaluated by Python itself. What is unknown stays unknown (Kleene's three-valued logic): a comparison
with a null is neither true nor false, and `not` of it neither; only `== None` and `!= None` ask for nulls.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hnmine.core.evidence import Bools, Column
from hnmine.errors import UsageError

_ORDER: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_EXAMPLE = 'document.lang == query.lang and document.year < 2020 and query.topic in ["law", "tax"]'
_SINGLE = re.compile(r"(?<![=!<>])=(?!=)")
_LONGEST = 10_000


@dataclass(frozen=True, slots=True)
class _Truth:
    """What is known of each row; a row in neither is unknown."""

    is_true: Bools
    is_false: Bools


class Condition:
    """A parsed condition. `columns` are the columns it reads, by the names that `Evidence.columns` uses."""

    def __init__(self, text: str) -> None:
        """Parse; raises `UsageError` that shows the part which is no condition."""
        self.text = text
        self._names: dict[str, None] = {}
        try:
            tree = ast.parse(text.strip(), mode="eval").body if len(text) <= _LONGEST else None
            if tree is not None:
                self._check(tree)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            tree = None
        if tree is None:
            raise self._refused("it cannot be read" + ("; a comparison is ==" if _SINGLE.search(text) else ""))
        self._tree = tree
        self.columns = tuple(self._names)

    def holds(self, columns: Mapping[str, Column], rows: int) -> Bools:
        """Which rows the condition is true for; unknown counts as no. `columns` has one entry a row.

        Raises `UsageError` where texts are compared with numbers.
        """
        return self._truth(self._tree, columns, rows).is_true

    def _refused(self, why: str, part: ast.AST | None = None) -> UsageError:
        shown = f" ({ast.unparse(part)})" if part is not None else ""
        return UsageError(f"--where {self.text}: {why}{shown}", expected=f"a condition such as {_EXAMPLE}")

    def _check(self, node: ast.expr) -> None:
        """Refuse everything that is no condition, and note the columns."""
        match node:
            case ast.BoolOp():
                for value in node.values:
                    self._check(value)
            case ast.UnaryOp(op=ast.Not()):
                self._check(node.operand)
            case ast.Compare():
                sides = [node.left, *node.comparators]
                for left, operation, right in zip(sides, node.ops, sides[1:], strict=False):
                    self._check_comparison(left, operation, right)
            case _ if self._column(node):
                pass  # a column of true and false is a condition
            case _:
                raise self._refused("this is no condition", node)

    def _check_comparison(self, left: ast.expr, operation: ast.cmpop, right: ast.expr) -> None:
        is_membership = isinstance(operation, (ast.In, ast.NotIn))
        if not is_membership and type(operation) not in _ORDER:
            raise self._refused("`is` is no comparison here: write == or !=")
        if not self._column(left):
            self._constant(left)
        if is_membership:
            if not isinstance(right, (ast.List, ast.Tuple, ast.Set)):
                raise self._refused("`in` needs a list of texts or numbers", right)
            if None in [self._constant(item) for item in right.elts]:
                raise self._refused("a list holds no None: ask with == None", right)
        elif not self._column(right):
            self._constant(right)
        if None in (_plain(left), _plain(right)) and not isinstance(operation, (ast.Eq, ast.NotEq)):
            raise self._refused("None is only == or !=")

    def _column(self, node: ast.expr) -> str | None:
        """The name of the column that a node means; None if it means none."""
        match node:
            case ast.Attribute(value=ast.Name(id="document" | "query" as side), attr=name):
                found = f"{side}.{name}"
            case ast.Subscript(value=ast.Name(id="document" | "query" as side), slice=ast.Constant(value=str(name))):
                found = f"{side}.{name}"
            case _:
                return None
        self._names[found] = None
        return found

    def _truth(self, node: ast.expr, columns: Mapping[str, Column], rows: int) -> _Truth:
        match node:
            case ast.BoolOp(op=operation, values=values):
                parts = [self._truth(value, columns, rows) for value in values]
                every, some = np.logical_and.reduce, np.logical_or.reduce
                if isinstance(operation, ast.And):
                    return _Truth(every([p.is_true for p in parts]), some([p.is_false for p in parts]))
                return _Truth(some([p.is_true for p in parts]), every([p.is_false for p in parts]))
            case ast.UnaryOp(operand=operand):
                inner = self._truth(operand, columns, rows)
                return _Truth(inner.is_false, inner.is_true)
            case ast.Compare(left=first, ops=operations, comparators=others):
                sides = [first, *others]
                parts = [
                    self._compared(left, operation, right, columns, rows)
                    for left, operation, right in zip(sides, operations, others, strict=False)
                ]
                return _Truth(
                    np.logical_and.reduce([p.is_true for p in parts]),
                    np.logical_or.reduce([p.is_false for p in parts]),
                )
            case _:
                column = self._values(node, columns, rows)
                if column.values.dtype != np.bool_:
                    raise self._refused("the column is not one of true and false", node)
                return _Truth(column.values & ~column.is_null, ~column.values & ~column.is_null)

    def _compared(
        self, left: ast.expr, operation: ast.cmpop, right: ast.expr, columns: Mapping[str, Column], rows: int
    ) -> _Truth:
        first = self._values(left, columns, rows)
        if isinstance(operation, (ast.In, ast.NotIn)):
            items = [self._values(item, columns, rows) for item in right.elts]  # type: ignore[attr-defined]
            known = ~first.is_null
            found = np.zeros(rows, np.bool_)
            for item in items:
                found |= self._compare_known(operator.eq, first, item, known, left)
            found = ~found if isinstance(operation, ast.NotIn) else found
            return _Truth(known & found, known & ~found)
        second = self._values(right, columns, rows)
        compare = _ORDER[type(operation)]
        if None in (_plain(left), _plain(right)):
            same = first.is_null & second.is_null
            return _Truth(same, ~same) if isinstance(operation, ast.Eq) else _Truth(~same, same)
        known = ~first.is_null & ~second.is_null
        found = self._compare_known(compare, first, second, known, left)
        return _Truth(known & found, known & ~found)

    def _compare_known(
        self, compare: Callable[[Any, Any], Any], first: Column, second: Column, known: Bools, part: ast.AST
    ) -> Bools:
        result = np.zeros(len(known), np.bool_)
        if known.any():
            if (first.values.dtype == object) != (second.values.dtype == object):
                raise self._refused("a text cannot be compared with a number", part)
            result[known] = compare(first.values[known], second.values[known])
        return result

    def _values(self, node: ast.expr, columns: Mapping[str, Column], rows: int) -> Column:
        name = self._column(node)
        if name is not None:
            return columns[name]
        value = self._constant(node)
        filled = np.full(rows, False if value is None else value, dtype=object if isinstance(value, str) else None)
        return Column(values=filled, is_null=np.full(rows, value is None))

    def _constant(self, node: ast.expr) -> str | float | bool | None:
        """The text, number, truth value or None that a node writes down; raises `UsageError`."""
        sign = 1
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            sign, node = -1, node.operand
        value = node.value if isinstance(node, ast.Constant) else _NOTHING
        if sign == 1 and (value is None or isinstance(value, (str, bool))):
            return value
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**63:
            return sign * value
        raise self._refused("this is no column, text or number", node)


_NOTHING = object()


def _plain(node: ast.expr) -> Any:
    """None for the literal None, else something that is not None."""
    return None if isinstance(node, ast.Constant) and node.value is None else _NOTHING
