"""Evidence: `search`, `mine`, `score`."""

from __future__ import annotations

from dataclasses import dataclass

from hnmine.options.models import ModelOptions
from hnmine.options.records import SampleOptions, option


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """`search`."""

    top_k: int = option(100, "Documents per query and index, positives counted.", flags=("--top-k", "-k"))
    slices: int | None = option(
        None,
        "Ranges of documents to search one by one; as many shards keep to one each [default: one a 2^20 documents].",
    )
    min_relevance: int | None = option(
        None,
        "Lowest grade that makes a document a positive; queries without one are left out [default: 1, with triples 2].",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MineOptions(SampleOptions):
    """`mine`."""

    top_k: int | None = option(
        None,
        "Candidates of a retriever per query, positives counted; 0 searches nothing, and scores what the data brings "
        "[default: 100; 4 times as many with --deepen-from].",
        flags=("--top-k", "-k"),
    )
    run: tuple[str, ...] = option(
        (),
        "Run(s) of other searchers as further sources: FILE or NAME=FILE, TREC (3 or 6 columns) or Parquet (query_id, "
        "doc_id, rank, score, source).",
    )
    random: int = option(0, "Random documents per query (keyed draw); evidence, and the fill of --short random.")
    random_near: int = option(
        0,
        "Random documents per query out of the 3 of --clusters nearest to each of its positives (keyed draw): harder "
        "than random, easier than the nearest (LEMON).",
    )
    rank_by: str | None = option(
        None, "Score that orders candidates [default: first dense index, else late, else sparse, else BM25]."
    )
    clusters: int = option(
        0, "Clusters of the documents of each dense index (k-means), for --pick diverse and cluster-neighbours."
    )
    min_relevance: int | None = option(
        None, "Lowest grade that makes a document a positive [default: 1, with triples 2]."
    )
    where: str | None = option(
        None, "Search only documents for which this holds: a condition as for filter; positives stay."
    )
    exclude_queries: str | None = option(
        None, "Mine none of these queries: a file of ids or texts, one a line, or qrels, JSONL, TSV, Parquet."
    )
    exclude_documents: str | None = option(
        None, "Let none of these documents become a positive or a candidate: a file as for --exclude-queries."
    )
    deepen_from: str | None = option(
        None, "Decisions: mine again, with a larger --top-k, only the queries that got too few negatives there."
    )
    previous: str | None = option(
        None,
        "Decisions of an earlier round: its negatives and reserve are candidates again, what it made positives stays "
        "positive, and `filter` tells what changed. With --top-k 0 nothing else is searched for.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOptions(ModelOptions):
    """`score`."""

    reranker: str = option(
        "cross-encoder/ms-marco-MiniLM-L6-v2", "Cross-encoder name or path, or the URL of a /rerank endpoint."
    )
    remote_model: str | None = option(
        None, "Model that a URL is asked for, kept in the plan [default: what the server says it runs]."
    )
    name: str | None = option(None, "Name of the score's column [default: the reranker's directory or model name].")
    top: int | None = option(
        None, "Score the positives and N rows a query, the first in --skip-fused's order; the others get no score."
    )
    until: int | None = option(
        None, "Score each query's candidates, the best-placed first, only until N of them pass the --rules."
    )
    seed: int = option(0, "Seed of every keyed draw.")
    limit: int | None = option(None, "Only a keyed sample of N queries.")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeOptions(SampleOptions):
    """`score --judge`."""

    judge: tuple[str, ...] = option(
        (),
        "Ask a language model at an OpenAI-compatible server, instead of a reranker: [NAME=]URL#MODEL, or "
        "[NAME=]MODEL at OPENAI_BASE_URL (key: OPENAI_API_KEY). A second one sees what the first called relevant.",
    )
    prompt: str = option("relevance", "Prompt: a TOML file, or a name that `hnmine prompts` lists.")
    judge_likelihood: str | None = option(
        None,
        "Ask too how likely the query is behind each document, by this prompt (`likelihood`, or a TOML file), and fuse "
        "the ranks by both (Gecko). Needs a server that echoes log-probabilities: vLLM, SGLang.",
    )
    judge_window: str = option(
        "0.01:1",
        "LOW:HIGH, ask about candidates whose estimated probability of being a false negative is in this range.",
    )
    judge_top: int = option(
        25, "At most N candidates of each query, the most probable false negatives; 25 are one request."
    )
    price_input: tuple[float, ...] = option((), "What a million tokens of requests cost; one price for each judge.")
    price_output: tuple[float, ...] = option((), "What a million tokens of answers cost; one price for each judge.")
    budget: float | None = option(
        None, "The most that all answers of this output may cost; what it does not pay for is not asked."
    )
    requests_per_minute: int | None = option(None, "Requests a minute of all processes of this cache directory.")
    tokens_per_minute: int | None = option(None, "Tokens a minute, of requests and the longest answers together.")
    judge_import: str | None = option(
        None, "Ask nobody: take these results of an OpenAI batch (JSONL), and the answers that are there already."
    )
