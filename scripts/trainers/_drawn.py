"""What the scripts of trainers have in common that draw from a row: a positive, and some of the negatives.

What a collator delivers for a document is an *item*: anything that can be compared, such as the token ids of the query
and those of the document. A *group* is what it delivers for a row: the item of a positive, those of negatives, and
their scores, if the trainer reads any.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _proof import check

GROUP = 5
"""Documents that are drawn of a row: a positive and four negatives."""

Item = Hashable
Group = tuple[Sequence[Item], Sequence[float] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the file: the query, and what the file says of its documents, each with a score or None."""

    query: str
    positives: Sequence[tuple[Any, float | None]]
    negatives: Sequence[tuple[Any, float | None]]


def json_lines(file: Path) -> list[dict[str, Any]]:
    """The objects of a file, read as JSON alone: a line ends in a line feed, whatever else a text holds."""
    with open(file, encoding="utf-8", newline="\n") as lines:
        return [json.loads(line) for line in lines]


def match(groups: Iterable[Group], rows: Sequence[Row], item: Callable[[str, Any], Item]) -> int:
    """How many rows the groups are of. Each must be of a row of its own, whose documents stand on the right side.

    `item` makes of a query and a document what the collator should have made.
    """
    sides = [[_by_item(row.query, own, item) for own in (row.positives, row.negatives)] for row in rows]
    owners: dict[Item, list[int]] = {}
    for number, (positives, _) in enumerate(sides):
        for one in positives:
            owners.setdefault(one, []).append(number)
    taken: set[int] = set()
    for items, scores in groups:
        check(len(items) == GROUP, f"{len(items)} documents in a group in place of {GROUP}")
        check(items[0] in owners, f"delivered as a positive: {items[0]}"[:500])
        fitting = [number for number in owners[items[0]] if number not in taken and _fits(items, sides[number])]
        check(bool(fitting), f"negatives that are not of the positive's row: {items[1:]}"[:500])
        taken.add(fitting[0])
        if scores is not None:
            check(len(scores) == GROUP, f"{len(scores)} scores in a group")
            for place, (one, score) in enumerate(zip(items, scores, strict=True)):
                known = sides[fitting[0]][place > 0][one]
                check(any(abs(score - own) < 1e-4 for own in known), f"score {score} in place of {known}")
    return len(taken)


def _by_item(
    query: str, documents: Sequence[tuple[Any, float | None]], item: Callable[[str, Any], Item]
) -> dict[Item, list[float]]:
    found: dict[Item, list[float]] = {}
    for document, score in documents:
        found.setdefault(item(query, document), []).append(float("nan") if score is None else score)
    return found


def _fits(items: Sequence[Item], sides: Sequence[dict[Item, list[float]]]) -> bool:
    """Whether the negatives are those of a row: each as often as it has it, all again where there are too few."""
    drawn, own = Counter(items[1:]), {one: len(scores) for one, scores in sides[1].items()}
    again = -(-len(items[1:]) // max(1, sum(own.values())))
    return all(one in own and times <= again * own[one] for one, times in drawn.items())


def items_of(ids: Any, mask: Any) -> list[tuple[int, ...]]:
    """The token ids of each row of a batch without padding."""
    return [tuple(own[keep.bool()].tolist()) for own, keep in zip(ids, mask, strict=True)]


def pairs(queries: Sequence[Item], documents: Sequence[Item]) -> Iterator[list[Item]]:
    """(query, document) of each group, of a batch in which documents stand group by group."""
    size = len(documents) // len(queries)
    for number, query in enumerate(queries):
        yield [(query, document) for document in documents[number * size : (number + 1) * size]]


def cut(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Consecutive pieces of `size`."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def batches(trainer: Any, size: int, *, whole: bool = False) -> Iterator[Any]:
    """The batches of one pass over the trainer's data, in order, each time with the same draws; `whole`: full ones."""
    from torch.utils.data import DataLoader

    random.seed(0)
    yield from DataLoader(trainer.train_dataset, batch_size=size, collate_fn=trainer.data_collator, drop_last=whole)


def loss_of(trainer: Any, size: int, *, whole: bool = False) -> float:
    """The trainer's own loss over one pass, mean over the batches."""
    import torch

    trainer.model.train()  # without, models tell no loss; the student has no dropout
    with torch.no_grad():
        found = [float(trainer.compute_loss(trainer.model, one)) for one in batches(trainer, size, whole=whole)]
    return sum(found) / len(found)
