"""Which documents are found by far too many queries, and which near-copies crowd a query's first places.

Counted is who is among the first ten of each retriever and not a known positive there; queries of the same text count
once. Decisions without a search (of an imported file) are judged by their negatives instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import pyarrow as pa

from hnmine.core.audit import Hashes
from hnmine.core.evidence import Bools, Ints
from hnmine.core.hubs import Expected, hubs
from hnmine.core.near_copies import LIST, Sketches, bulks, sketch
from hnmine.core.rules.reuse import MaxReuse
from hnmine.errors import FIRST_PROBLEMS
from hnmine.files.artefact import Json
from hnmine.files.candidates import CandidatesTable, among, query_offsets, ranks
from hnmine.files.collection import Collection, rows_of
from hnmine.schema import (
    DOC_ID,
    FUSED,
    IS_POSITIVE,
    PICK_RANK,
    QUERY_ID,
    REASON,
    VERDICT,
    Verdict,
    rank_column,
)

COMPARED = 1_000
"""Queries, a keyed sample, whose first places are searched for near-copies."""
NEGATIVES = "negatives"
"""Stands for a retriever where there was no search: the negatives in the order of picking."""
_BLOCK_QUERIES = 4_096
_TEXTS = 1_024


class Hubs:
    """Hubs and bulks of near-copies among the documents that decided queries found."""

    def __init__(self, table: CandidatesTable, collection: Collection) -> None:
        self.table, self.collection = table, collection
        names = [name.removeprefix("rank_") for name in table.column_names if name.startswith("rank_")]
        self.lists = [name for name in names if name != FUSED] or [NEGATIVES]
        asked = [QUERY_ID, DOC_ID, IS_POSITIVE, VERDICT, REASON, PICK_RANK, *map(rank_column, self.lists)]
        self._columns = [name for name in asked if name in table.column_names]

    def report(self) -> Json:
        """What was found, as JSON values: `queries`, `depth`, `spreads` by retriever, `hubs`, `bulks`.

        `hubs` come by share, largest first; `bulks` by size. `negative_of` is how many queries have the document (of a
        bulk: any of its documents) as a negative, `capped` how many `--max-reuse` kept it from.
        """
        return {
            "queries": int(self._distinct.sum()),
            "depth": LIST,
            "spreads": {name: _spread(counts, most) for name, (counts, _, most) in self._judged.items()},
            "hubs": self.hubs(),
            "bulks": self.bulks(),
        }

    def hubs(self) -> list[Json]:
        """The documents that a retriever puts among the first ten of more queries than is to be expected."""
        queries = int(self._distinct.sum())
        rows: list[Json] = []
        for name, (counts, is_hub, most) in self._judged.items():
            for place in np.flatnonzero(is_hub).tolist():
                document, negative, capped = (
                    self._counts[column][place].as_py() for column in (DOC_ID, "negative", "capped")
                )
                rows.append(_hub(document, name, int(counts[place]), queries, most, negative, capped))
        return sorted(rows, key=lambda row: (-row["share"], row["document"], row["found_by"]))

    def bulks(self) -> list[Json]:
        """The groups of near-copies that take half of the first ten places of some query."""
        queries = np.sort(self.table.sample(COMPARED, 0))
        rows = self.table.read(queries, self._columns)
        documents = rows[DOC_ID].combine_chunks().dictionary_encode()
        codes = documents.indices.to_numpy().astype(np.int64)
        offsets = query_offsets(rows[QUERY_ID])
        owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        lists = np.concatenate([_first(owner, codes, self._places(rows, name)) for name in self.lists])
        seen, inverse = np.unique(lists[lists >= 0], return_inverse=True)
        lists[lists >= 0] = inverse
        ids = documents.dictionary.take(pa.array(seen))
        found = bulks(lists, self._sketches(ids))
        is_negative = among(rows[VERDICT], Verdict.NEGATIVE)
        report: list[Json] = []
        for group in found:
            has = np.isin(codes, seen[group])
            report.append(
                {
                    "documents": ids.take(pa.array(group)).to_pylist(),
                    "queries": len(np.unique(np.flatnonzero((np.isin(lists, group)).sum(axis=1) > 1) % len(queries))),
                    "negative_of": len(np.unique(owner[has & is_negative])),
                }
            )
        return report

    @cached_property
    def _distinct(self) -> Bools:
        """Which queries of the table are the first of their text."""
        keys = self.collection.query_text_keys[rows_of(self.collection.query_ids, self.table.query_ids)]
        kept = np.zeros(len(keys), np.bool_)
        kept[np.unique(keys, return_index=True)[1]] = True
        return kept

    @cached_property
    def _counts(self) -> pa.Table:
        """Of each document that any list holds: by how many queries each found it, and what became of it."""
        names = [*map(rank_column, self.lists), "negative", "capped"]
        total: pa.Table | None = None
        for block in self._blocks():
            joined = block if total is None else pa.concat_tables([total, block])
            summed = joined.group_by(DOC_ID, use_threads=False).aggregate([(name, "sum") for name in names])
            total = summed.rename_columns([n.removesuffix("_sum") for n in summed.column_names]).select(
                [DOC_ID, *names]
            )
        if total is None:
            return pa.table({DOC_ID: pa.array([], pa.string()), **{n: pa.array([], pa.int64()) for n in names}})
        return total.combine_chunks()

    def _blocks(self) -> Iterator[pa.Table]:
        for start in range(0, len(self._distinct), _BLOCK_QUERIES):
            places = np.arange(start, min(start + _BLOCK_QUERIES, len(self._distinct)))
            rows = self.table.read(places, self._columns)
            once = np.repeat(self._distinct[places], np.diff(query_offsets(rows[QUERY_ID])))
            found = {rank_column(name): once & (self._places(rows, name) > 0) for name in self.lists}
            found["negative"] = among(rows[VERDICT], Verdict.NEGATIVE)
            found["capped"] = among(rows[REASON], MaxReuse.reason)
            kept = np.logical_or.reduce(list(found.values()))
            columns = {name: pa.array(values[kept].astype(np.int64)) for name, values in found.items()}
            yield pa.table({DOC_ID: rows[DOC_ID].filter(pa.array(kept)).cast(pa.string()), **columns})

    @cached_property
    def _judged(self) -> dict[str, tuple[Ints, Bools, Expected | None]]:
        found = {name: np.asarray(self._counts[rank_column(name)].to_numpy(), np.int64) for name in self.lists}
        return {name: (counts, *hubs(counts)) for name, counts in found.items()}

    def _places(self, rows: pa.Table, name: str) -> Ints:
        """1-based place of each row in a list; 0 where it is beyond the first ten, or a known positive."""
        if name == NEGATIVES:
            place = np.where(among(rows[VERDICT], Verdict.NEGATIVE), rows[PICK_RANK].fill_null(0).to_numpy(), 0)
        else:
            place = ranks(rows, name)
        is_positive = rows[IS_POSITIVE].to_numpy(zero_copy_only=False) | among(rows[VERDICT], Verdict.POSITIVE)
        return np.where((place <= LIST) & ~is_positive, place, 0).astype(np.int64)

    def _sketches(self, ids: pa.Array) -> Sketches:
        found = np.zeros((len(ids), len(sketch(""))), np.uint32)
        places = rows_of(self.collection.doc_ids, ids)
        for start in range(0, len(places), _TEXTS):
            texts = self.collection.document_texts(places[start : start + _TEXTS])
            found[start : start + len(texts)] = [sketch(text) for text in texts]
        return found


def hubs_of_negatives(documents: Hashes, counts: Ints, queries: int) -> tuple[Json, Hashes]:
    """(what `Hubs.report` says, as far as negatives alone can; the keys of the hubs in its order).

    `documents` are keys, one a document, `counts` of how many of the `queries` each is a negative. The hubs' `document`
    is for the caller to fill in.
    """
    is_hub, most = hubs(counts)
    places = np.flatnonzero(is_hub)
    places = places[np.lexsort((documents[places], -counts[places]))]
    rows = [_hub("", NEGATIVES, int(counts[place]), queries, most, int(counts[place]), 0) for place in places.tolist()]
    spread = {NEGATIVES: _spread(counts, most)}
    return {"queries": queries, "depth": None, "spreads": spread, "hubs": rows, "bulks": []}, documents[places]


def _hub(
    document: str, found_by: str, count: int, queries: int, most: Expected | None, negative_of: int, capped: int
) -> Json:
    return {
        "document": document,
        "found_by": found_by,
        "queries": count,
        "share": count / queries,
        "typical": most.typical if most else None,
        "too_many": most.most if most else None,
        "negative_of": negative_of,
        "capped": capped,
    }


def _first(owner: Ints, codes: Ints, places: Ints) -> Ints:
    """The documents at the first places of each query, one line a query; -1 where there is none."""
    lists = np.full((int(owner.max(initial=-1)) + 1, LIST), -1, np.int64)
    kept = places > 0
    lists[owner[kept], places[kept] - 1] = codes[kept]
    return lists


def _spread(counts: Ints, most: Expected | None) -> Json:
    """How many documents were found by 1, 2, ... queries, and what was expected."""
    numbers, documents = np.unique(counts[counts > 0], return_counts=True)
    return {
        "typical": most.typical if most else None,
        "too_many": most.most if most else None,
        "documents": {str(n): int(d) for n, d in zip(numbers.tolist(), documents.tolist(), strict=True)},
    }


def lines(report: Json) -> Iterator[str]:
    """Hubs and bulks in words, the first ten of each; nothing if there is neither."""
    hubs, bulks, queries = report["hubs"], report["bulks"], report["queries"]
    if hubs:
        yield f"hubs: {len(hubs):,} (documents that far too many of {queries:,} queries find; --max-reuse caps them)"
        for hub in hubs[:FIRST_PROBLEMS]:
            said = f"  {_short(hub['document'])}: negative of {hub['negative_of']:,}"
            if hub["found_by"] != NEGATIVES:
                said += f", in the first {LIST} of {hub['found_by']} for {hub['queries']:,}"
            yield f"{said} ({hub['share']:.1%}; usual is {hub['typical']:g}, too many {hub['too_many']:,})"
    if bulks:
        copies = sum(len(bulk["documents"]) for bulk in bulks)
        groups = "1 group" if len(bulks) == 1 else f"{len(bulks):,} groups"
        yield f"bulk-copies: {copies:,} in {groups} (near-copies that fill half of a query's first {LIST})"
        for bulk in bulks[:FIRST_PROBLEMS]:
            size, used = len(bulk["documents"]), bulk["negative_of"]
            names = ", ".join(bulk["documents"][:5]) + (", ..." if size > 5 else "")
            noun = "query" if used == 1 else "queries"
            yield f"  {size:,} near-copies, negatives of {used:,} {noun}: {_short(names)}"


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
