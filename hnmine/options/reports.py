"""What a run is measured by and looked at with: `audit`, `report`, and full judgments."""

from __future__ import annotations

from dataclasses import dataclass

from hnmine.options.export import Format
from hnmine.options.records import Options, option


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthOptions(Options):
    """Full judgments that were not shown to the miner, to measure what it did."""

    qrels: str | None = option(None, "Full judgments (BEIR or TREC qrels) to count true false negatives by.")
    min_relevance: int = option(1, "Lowest grade of --qrels that makes a negative a false one.")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOptions(TruthOptions):
    """`audit`."""

    format: Format | None = option(
        None,
        "Layout of the training file; what its trainer would refuse or misread is an error [default: told by the "
        "columns, and read as far as it goes].",
    )
    corpus: str | None = option(None, "Corpus file: unknown documents are told, and --qrels can be told by text.")
    queries: str | None = option(None, "Queries file: with --corpus, what ties the ids of --qrels to texts.")
    min_negatives: int | None = option(None, "Negatives a query should have [default: those of the decisions, else 1].")
    held_out_queries: str | None = option(
        None, "Queries that must not be in it: a file of ids or texts, one a line, or qrels, JSONL, TSV, Parquet."
    )
    held_out_documents: str | None = option(None, "Documents that must not be in it: a file as for --held-out-queries.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """`report`."""

    seed: int = option(0, "Seed of the keyed samples.")
    limit: int = option(1_500, "Queries whose triplets can be looked at, a keyed sample.")
