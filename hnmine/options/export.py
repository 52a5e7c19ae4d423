"""Training files: `export`, and where they are published."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hnmine.options.records import Options, SampleOptions, option


class Format(StrEnum):
    """The layouts of a training file."""

    TRIPLET = "triplet"
    N_TUPLE = "n-tuple"
    LABELED_PAIR = "labeled-pair"
    LABELED_LIST = "labeled-list"
    IDS = "ids"
    PYLATE = "pylate"
    PYLATE_KD = "pylate-kd"
    FLAGEMBEDDING = "flagembedding"
    TEVATRON = "tevatron"
    TEVATRON_V2 = "tevatron-v2"
    MS_SWIFT = "ms-swift"
    MS_SWIFT_RERANKER = "ms-swift-reranker"
    NEMO = "nemo"
    DPR = "dpr"
    GPL = "gpl"
    MSMARCO = "msmarco"
    TREC = "trec"
    BEIR = "beir"
    JSONL = "jsonl"


class Order(StrEnum):
    """In which order the rows of a training file stand."""

    SHUFFLED = "shuffled"
    EASY_TO_HARD = "easy-to-hard"


class Mixing(StrEnum):
    """How `export --mixed` mixes vectors: docs/how-to/labels.md."""

    MOCHI = "mochi"
    KALM = "kalm"
    GEODESIC = "geodesic"


class BatchPlan(StrEnum):
    """Which rows of a training file are put into one batch."""

    RANDOM = "random"
    SOURCE = "source"
    LANGUAGE = "language"
    CLUSTER = "cluster"
    WALK = "walk"
    SNOWBALL = "snowball"


class Pad(StrEnum):
    """What a format of fixed width does with a query that has too few negatives."""

    NONE = "none"
    REPEAT = "repeat"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions(SampleOptions):
    """`export`."""

    format: Format = option(Format.TRIPLET, "Layout of the training file.")
    scores: bool = option(False, "Add the judge's scores (MarginMSE, distillation).")
    weight: bool = option(False, "Add a weight: 1 - p_false_negative for each negative, 1 for a positive.")
    difficulty: bool = option(
        False, "Add a difficulty: the judge's mean score of a row's negatives less that of its positives."
    )
    instruction: str | None = option(
        None,
        "Instruction of each query: a text, or `query.COLUMN`, a metadata column of the queries. In the format's field "
        "for it, else before the query's text, as it is: 'query: '.",
    )
    document_instruction: str | None = option(None, "Text before each document's text, as it is: 'passage: '.")
    max_positives: int | None = option(None, "At most N positives per query, the best by rank [default: all].")
    negatives: int | None = option(None, "Use at most N of the chosen negatives [default: all].")
    pad: Pad = option(
        Pad.NONE, "n-tuple: leave out queries with too few negatives, or repeat their first one until there are enough."
    )
    epoch: int | None = option(
        None,
        "Only the negatives of this epoch, from 1 [default: all; a split each, epoch_1, ..., if -o is a directory].",
    )
    validation: float | None = option(
        None, "Keep this share of the queries, such as 0.05, out of the training rows: a keyed draw, in a file beside."
    )
    max_rows: int | None = option(None, "At most N rows: those of a keyed sample of whole queries.")
    order: Order = option(Order.SHUFFLED, "Order of the rows: a keyed shuffle, or by what the judge finds hard.")
    columns: tuple[str, ...] = option((), "OLD=NEW: another name for a column of the training file.")
    mixed: int = option(
        0,
        "Mix N synthetic negative vectors a row out of its query's negatives, in FILE.mixed.parquet, for trainers that "
        "take embeddings.",
    )
    mixing: Mixing = option(
        Mixing.MOCHI, "How --mixed mixes: two negatives or query and negative; two negatives; along the great circle."
    )
    rows_per_file: int | None = option(
        None, "Rows a shard when -o is a directory; shards are named as the Hugging Face Hub likes them."
    )
    batch_plan: BatchPlan | None = option(
        None,
        "Put rows into batches, none with two that must not share one, and write them batch by batch: at random, of "
        "one source or language (a column of the queries), by clusters of queries, or by walks over what they found.",
    )
    batch_size: int | None = option(None, "Rows a batch of the plan: the trainer's batch size per device.")
    batch_by: str | None = option(
        None,
        "Column of the queries of which a batch has one value, whatever the plan [default: source or language with the "
        "plan of that name].",
    )
    cluster_size: int | None = option(
        None, "Queries a cluster: in smaller ones negatives are easier, of larger ones too [default: --batch-size]."
    )
    collisions: bool = option(
        False, "List the (query, document) pairs that must not share a batch beside the file; a plan does so anyway."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PushOptions(Options):
    """Where a finished export is published. It decides no byte of the export, so its plan does not have it."""

    push: str | None = option(
        None,
        "Push rows, ids and a dataset card to this dataset repository of the Hugging Face Hub, made if it is missing: "
        "ORG/NAME (token: `hf auth login` or HF_TOKEN).",
    )
    private: bool = option(False, "--push: the repository is to be private.")
    license: str | None = option(
        None, "--push: the licence that the card names, as the Hub calls it, such as cc-by-4.0."
    )
