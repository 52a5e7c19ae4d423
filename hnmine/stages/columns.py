"""`export --columns OLD=NEW`: other names for the columns of a training file."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from hnmine.errors import UsageError
from hnmine.spelling import nearest

_LABELS = ("label", "labels", "score", "scores")
"""sentence-transformers: the first of these columns is the label, and every other column is an input."""
_REFUSED = ("return_loss", "dataset_name")
"""Names that its trainers refuse, or fill with something else."""


def renamed(table: pa.Table, wanted: Sequence[str]) -> list[str]:
    """The names of a training table's columns, each OLD=NEW of `wanted` carried out.

    Raises `UsageError`, every problem at once, for a column that is not there, a name that would stand twice, and names
    by which sentence-transformers would read the file as something else.
    """
    names: list[str] = table.column_names
    problems, new = [], dict[str, str]()
    for one in wanted:
        old, sign, name = one.partition("=")
        if not (old and sign and name):
            problems.append(f"--columns {one}: not OLD=NEW")
        elif old not in names:
            guess = nearest(old, names)
            problems.append(f"--columns {one}: no column {old!r}" + (f"; did you mean {guess!r}?" if guess else ""))
        elif old in new:
            problems.append(f"--columns {one}: {old} has been called {new[old]} already")
        else:
            new[old] = name
            problems += [f"--columns {one}: {text}" for text in _misread(name, table.schema.field(old).type)]
    found = [new.get(name, name) for name in names]
    problems += [f"--columns: two columns called {name!r}" for name in dict.fromkeys(found) if found.count(name) > 1]
    labels = [name for name in found if name in _LABELS]
    if len(labels) > max(1, sum(name in _LABELS for name in names)):
        problems.append(f"--columns: {' and '.join(labels)} would both be labels to sentence-transformers")
    if problems:
        raise UsageError("\n".join(problems), expected=f"OLD=NEW, of the columns {', '.join(names)}")
    return found


def _misread(name: str, kind: pa.DataType) -> list[str]:
    """Why a column of a type cannot have the name."""
    if name in _REFUSED:
        return ["sentence-transformers' trainers keep that name to themselves"]
    values = kind.value_type if pa.types.is_list(kind) or pa.types.is_dictionary(kind) else kind
    if name in _LABELS and not (pa.types.is_integer(values) or pa.types.is_floating(values)):
        return ["sentence-transformers would take the texts for labels"]
    return []
