"""`export --batch-plan`: which rows are put into one batch, and the order of the rows that follows from it.

A plan is made of the decisions alone. Queries are alike where they found the same documents; that is what clusters and
walks go by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnmine.core.batches.clusters import clustered, in_clusters, sketches
from hnmine.core.batches.collisions import fill
from hnmine.core.batches.graph import DEPTH, Graph
from hnmine.core.batches.walks import Near, walked
from hnmine.core.grouped import positions as places_within
from hnmine.errors import UsageError
from hnmine.files.candidates import CandidatesTable, among
from hnmine.files.collection import Collection
from hnmine.options import BatchPlan, ExportOptions
from hnmine.schema import TEXT_KEY, VERDICT, Verdict
from hnmine.spelling import nearest
from hnmine.stages.collisions import Collisions, blocks_of
from hnmine.stages.picked import Ints

_COLUMNS = {BatchPlan.SOURCE: "source", BatchPlan.LANGUAGE: "language"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Planned:
    """The rows in the order of a plan, and the number of the batch of each, from 0, ascending.

    Batches of fewer rows than asked for come last in each part.
    """

    order: Ints
    batch: npt.NDArray[np.int32]
    size: int

    @property
    def counts(self) -> dict[str, int]:
        """How many batches there are, and how many have fewer rows than asked for."""
        sizes = np.bincount(self.batch)
        return {"batches": len(sizes), "batches_not_full": int((sizes < self.size).sum())}


def check(options: ExportOptions, collection: Collection) -> None:
    """Raise `UsageError` for options of batches that contradict each other, or name no column of the queries."""
    plan, size = options.batch_plan, options.batch_size
    alone = {
        "--batch-size": size is not None,
        "--batch-by": options.batch_by is not None,
        "--cluster-size": options.cluster_size is not None,
    }
    if plan is None:
        flags = [flag for flag, is_given in alone.items() if is_given]
        if flags:
            raise UsageError(f"{', '.join(flags)}: nothing without a plan", expected="--batch-plan PLAN with it")
        return
    if size is None:
        raise UsageError(f"--batch-plan {plan} needs --batch-size", expected="the trainer's rows a batch and device")
    for flag, value, least in (("--batch-size", size, 2), ("--cluster-size", options.cluster_size, 1)):
        if value is not None and value < least:
            raise UsageError(f"{flag} {value}: at least {least}")
    if options.cluster_size is not None and plan is not BatchPlan.CLUSTER:
        raise UsageError(f"--cluster-size: --batch-plan {plan} has no clusters", expected="--batch-plan cluster")
    column, names = by_column(options), collection.column_names("queries")
    if column is not None and column not in names:
        guess = nearest(column, names)
        raise UsageError(
            f"{'--batch-by' if options.batch_by else '--batch-plan'}: the queries have no column {column!r}"
            + (f"; did you mean {guess!r}?" if guess else ""),
            expected=f"one of their columns: {', '.join(names)}",
            remedy="--batch-by COLUMN names it" if not options.batch_by else None,
        )


def by_column(options: ExportOptions) -> str | None:
    """The column of the queries by which batches are told apart; None if they are not."""
    return options.batch_by or (_COLUMNS.get(options.batch_plan) if options.batch_plan else None)


def plan_batches(
    collection: Collection,
    decisions: CandidatesTable,
    positions: Ints,
    collisions: Collisions,
    parts: Ints,
    options: ExportOptions,
) -> Planned:
    """Put all rows into batches, none with two that collide, each of one part and one value of `--batch-by`.

    `parts` is that of each row, ascending: its split and epoch. `positions` are those of `collisions.rows.queries` in
    the decisions. The rows count as shuffled: of batches, too, first comes the one that has the first row.
    """
    assert options.batch_plan is not None
    assert options.batch_size is not None
    rows, size = collisions.rows, options.batch_size
    make = _maker(decisions, positions, collisions, options.batch_plan, size, options.cluster_size or size)
    value = _values(collection, by_column(options), rows.queries)[rows.query]
    batches: list[Ints] = []
    for part in np.unique(parts):
        found: list[Ints] = []
        for one in np.unique(value[parts == part]):
            own = np.flatnonzero((parts == part) & (value == one))
            turn = _turns(rows.query[own])
            order = np.argsort(turn, kind="stable")
            found += [own[order[np.array(batch)]] for batch in make(own[order], turn[order])]
        batches += sorted(found, key=lambda batch: (len(batch) < size, int(batch.min())))
    lengths = np.array([len(batch) for batch in batches])
    numbers = np.repeat(np.arange(len(batches), dtype=np.int32), lengths)
    return Planned(order=np.concatenate(batches), batch=numbers, size=size)


def _maker(
    decisions: CandidatesTable, positions: Ints, collisions: Collisions, plan: BatchPlan, size: int, cluster: int
) -> Callable[[Ints, Ints], Iterator[list[int]]]:
    """What puts rows into batches: given rows of the file, and which of its query's, from 0, each is."""
    held, query = collisions.held, collisions.rows.query
    if plan in (BatchPlan.WALK, BatchPlan.SNOWBALL):
        near = Near(read_graph(decisions, positions))
        return lambda own, _: walked(held.take(own), near, size, snowball=plan is BatchPlan.SNOWBALL)
    if plan is not BatchPlan.CLUSTER:
        return lambda own, _: fill(held.take(own), range(len(own)), size)
    place = np.empty(len(positions), np.int64)
    place[clustered(sketches(read_graph(decisions, positions)), cluster)] = np.arange(len(place))

    def by_clusters(own: Ints, turn: Ints) -> Iterator[list[int]]:
        order = in_clusters(place[query[own]], turn, cluster=cluster, batch=size)
        return fill(held.take(own), order.tolist(), size)

    return by_clusters


def read_graph(decisions: CandidatesTable, positions: Ints) -> Graph:
    """What the queries at these positions found: the first documents of each one's list, and its positives."""
    owners, keys = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
    for block, numbers in blocks_of(decisions, positions):
        table = decisions.read(block, [TEXT_KEY, VERDICT], coded=True)
        owner = np.repeat(np.arange(len(block)), np.diff(decisions.offsets(block)))
        kept = (places_within(owner) < DEPTH) | among(table[VERDICT], Verdict.POSITIVE)
        owners.append(numbers[owner[kept]])
        keys.append(np.asarray(table[TEXT_KEY].to_numpy(), np.uint64)[kept])
    return Graph.of(np.concatenate(owners), np.concatenate(keys), len(positions))


def _values(collection: Collection, column: str | None, queries: Ints) -> Ints:
    """A number for the value that each of the queries has in the column; all 0 without one. No value is a value."""
    if column is None:
        return np.zeros(len(queries), np.int64)
    found = collection.column("queries", column).take(pa.array(queries)).combine_chunks().dictionary_encode("encode")
    return np.asarray(found.indices.to_numpy(), np.int64)


def _turns(query: Ints) -> Ints:
    """How many rows of the same query stand before each row."""
    order = np.argsort(query, kind="stable")
    turn = np.empty(len(query), np.int64)
    turn[order] = places_within(query[order])
    return turn
