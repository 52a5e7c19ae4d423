"""The words every part shares: artefact kinds, column names, verdicts, reasons, score scales.

This module and `errors`, `hashing`, `options`, `presets`, `prompts`, `spelling` are the leaves: they import nothing of
hnmine but each other.
"""

from __future__ import annotations

from enum import StrEnum

WORKER_VARIABLE = "HNMINE_WORKER"
"""Environment variable of a worker process: its number, from 0. Worker i takes GPU i, modulo their number."""

FORMAT_VERSION = 2
"""Version of the artefact layout that is written. Equal plans give equal bytes within a version."""
READABLE_VERSIONS = frozenset({1, 2})
"""Versions that are read; any other is refused. 1 has the same tables in other Parquet encodings."""


class Kind(StrEnum):
    """What an artefact is."""

    COLLECTION = "collection"
    BM25_INDEX = "index-bm25"
    DENSE_INDEX = "index-dense"
    SPARSE_INDEX = "index-sparse"
    LATE_INDEX = "index-late"
    HITS = "hits"
    CANDIDATES = "candidates"
    GENERATED = "generated"
    DECISIONS = "decisions"
    EXPORT = "export"
    DOWNSAMPLED = "downsampled"


class Scale(StrEnum):
    """What a score means; recorded with every score column."""

    COSINE = "cosine"
    DOT = "dot"
    BM25 = "bm25"
    LOGIT = "logit"
    PROBABILITY = "probability"
    LOG_PROBABILITY = "log-probability"


class Verdict(StrEnum):
    """What `filter` decided about a candidate."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    RESERVE = "reserve"
    DROPPED = "dropped"


class Side(StrEnum):
    """Which of the two texts of a pair is meant; models prompt them differently."""

    QUERY = "query"
    DOCUMENT = "document"


DOC_ID = "doc_id"
QUERY_ID = "query_id"
TITLE = "title"
TEXT = "text"
TEXT_KEY = "text_key"
GRADE = "grade"
SCORE = "score"
RELEVANCE = "relevance"
IS_POSITIVE = "is_positive"
SOURCES = "sources"
VERDICT = "verdict"
REASON = "reason"
PICK_RANK = "pick_rank"
EPOCH = "epoch"
BATCH_ID = "batch_id"
DIFFICULTY = "difficulty"
STEP = "step"
HAS_ANSWER = "has_answer"
PREVIOUS = "previous"
"""The candidates column with the verdict of the earlier round; null for rows that it did not have."""

ANSWERS = "answers"
"""The queries' metadata column with the strings that answer them."""
BODY = "body"
"""Of a document: its text without the sentences that became queries."""
WRITTEN_BY = "written_by"
"""How `generate` made a document or a query."""
WRITTEN_FROM = "written_from"
"""From which document."""
P_FALSE_NEGATIVE = "p_false_negative"
CALLED_BY = "called_relevant_by"
"""Who calls a row relevant that no qrels know as a positive: the column that says so (`grade_NAME`, `score_NAME`), or
`labels`; null if nobody."""

RANDOM_SOURCE = "random"
NEAR_SOURCE = "random-near"
CURATED_SOURCE = "curated"
EXISTING_SOURCE = "existing"
PREVIOUS_SOURCE = "previous"

IMPORTED = "imported"
"""The name, and the origin, of the scores that a training file brought."""
RERANKER = "reranker"
"""The origin of a cross-encoder's scores."""
LIKELIHOOD = "likelihood"
"""The origin of a judge's likelihoods of the query, and what their names begin with."""
GECKO = "gecko"
"""The origin of a judge's likelihoods fused with its grades, and what their names begin with."""
OF_THE_DOUBTFUL = frozenset({LIKELIHOOD, GECKO})
"""Origins of scores that only rows have which a judge was asked about."""
NO_RETRIEVERS = frozenset({RERANKER, IMPORTED, *OF_THE_DOUBTFUL})
"""Origins of scores by which nothing was searched."""

GRADES = ("not relevant", "related", "relevant", "answers the query fully")
"""What a judge says of a candidate, by its grade; null is no say: not asked, or no answer."""
RELEVANT_GRADE = 2
"""The lowest of them that calls a candidate relevant."""

FUSED = "fused"
"""What `--rank-by` calls the order fused from all retrievers' ranks."""


def rank_column(name: str) -> str:
    """The candidates column that holds the rank under the retriever called `name`."""
    return f"rank_{name}"


def score_column(name: str) -> str:
    """The candidates column that holds the score under the index or reranker called `name`."""
    return f"score_{name}"


def scored_column(name: str) -> str:
    """The candidates column that says whether a row was scored by the reranker called `name`, if not all were."""
    return f"scored_{name}"


def grade_column(name: str) -> str:
    """The candidates column (int32, null) with the grades that the judge called `name` gave, of `GRADES`."""
    return f"grade_{name}"


def sim_positive_column(name: str) -> str:
    """The candidates column with the highest similarity to another positive of the query."""
    return f"sim_positive_{name}"


def cluster_column(name: str) -> str:
    """The candidates column with the cluster of the document."""
    return f"cluster_{name}"


def centroid_rank_column(name: str) -> str:
    """The candidates column with the rank of the document's cluster by nearness to the query."""
    return f"centroid_rank_{name}"


def sim_better_column(name: str) -> str:
    """The candidates column with the highest similarity to a better-placed candidate of the query."""
    return f"sim_better_{name}"
