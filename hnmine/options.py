"""Every option of every stage, once: the CLI flags, the TOML keys and the Python arguments are made from these records.

A field's default is the documented default; its metadata carry the help text and, for the command line, the flags.
`None` means "decide from the data" or "off", and the help says which.
"""

from __future__ import annotations

import dataclasses
import numbers
import os
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from hnmine.errors import UsageError
from hnmine.schema import Scale
from hnmine.spelling import did_you_mean as did_you_mean
from hnmine.spelling import nearest as nearest
from hnmine.spelling import nearest_file as nearest_file

T = TypeVar("T")


def option(default: Any, help: str, *, flags: tuple[str, ...] = (), cli: bool = True) -> Any:
    """A field with its help text; `flags` replaces the flag made from the field's name, `cli=False` hides it."""
    return field(default=default, metadata={"help": help, "flags": flags, "cli": cli})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The base of every options record: plain values are accepted (`dtype="fp32"`), wrong ones refused by name."""

    def __post_init__(self) -> None:
        """Turn plain values into the field's type; raises `UsageError` with every value that does not fit."""
        problems = []
        for name, hint in _hints(type(self)).items():
            try:
                object.__setattr__(self, name, _coerce(getattr(self, name), hint))
            except (TypeError, ValueError) as error:
                problems.append(f"{type(self).__name__}: {name} = {getattr(self, name)!r}: {error}")
        if problems:
            raise UsageError("\n".join(problems))


def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


class OnError(StrEnum):
    """What `ingest` does with a bad record."""

    FAIL = "fail"
    SKIP = "skip"


class Bm25Method(StrEnum):
    """The BM25 variants of Kamphuis et al. 2020, "Which BM25 do you mean?"."""

    LUCENE = "lucene"
    ROBERTSON = "robertson"
    ATIRE = "atire"
    BM25L = "bm25l"
    BM25PLUS = "bm25+"


class Bm25Engine(StrEnum):
    """What computes BM25."""

    MAXSCORE = "maxscore"
    BM25S = "bm25s"
    RANK_BM25 = "rank-bm25"


class Dtype(StrEnum):
    """Arithmetic of a model; `auto` takes bf16 or fp16 where the hardware has it."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class Store(StrEnum):
    """How vectors are kept."""

    FP16 = "fp16"
    FP32 = "fp32"


class Ann(StrEnum):
    """How a dense index is searched: exactly, or by a structure that finds most for less work."""

    AUTO = "auto"
    FLAT = "flat"
    IVF = "ivf"
    IVF_PQ = "ivf-pq"
    HNSW = "hnsw"
    INT8 = "int8"
    BINARY = "binary"


class Backend(StrEnum):
    """What runs a sentence-transformers model."""

    TORCH = "torch"
    ONNX = "onnx"
    OPENVINO = "openvino"


class Anchor(StrEnum):
    """Which positive's score a margin is measured from when a query has several."""

    MIN = "min"
    MAX = "max"
    MEAN = "mean"


class Pick(StrEnum):
    """How negatives are chosen from the survivors; each is a class in `hnmine.core.picks`."""

    TOP = "top"
    RANDOM = "random"
    SOFTMAX = "softmax"
    TOP1_SOFTMAX = "top1-softmax"
    SIMANS = "simans"
    SIMANS_LAPLACE = "simans-laplace"
    MARGIN_BINS = "margin-bins"
    DEBIASED = "debiased"
    DIVERSE = "diverse"
    CLUSTER_NEIGHBOURS = "cluster-neighbours"
    CROSS_TEACHER = "cross-teacher"
    INTRA_TEACHER = "intra-teacher"


class Write(StrEnum):
    """What `generate` writes."""

    NEGATIVES = "negatives"
    QUERIES = "queries"


class By(StrEnum):
    """What writes the texts of `generate`."""

    PERTURB = "perturb"
    ICT = "ict"
    LLM = "llm"


class Short(StrEnum):
    """What happens to a query with fewer survivors than `--num-negatives`."""

    KEEP = "keep"
    DROP = "drop"
    RELAX = "relax"
    RANDOM = "random"


class Existing(StrEnum):
    """What `filter` does with the negatives that the user's own file brought."""

    JUDGE = "judge"
    FIRST = "first"
    KEEP = "keep"


class Relabel(StrEnum):
    """What `filter` does with candidates that somebody calls relevant though they are no known positives."""

    OFF = "off"
    DROP = "drop"
    POSITIVE = "positive"


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
class InputOptions(Options):
    """How DATA is read: its parts, its columns, what to do with bad records."""

    corpus: str | None = option(None, "Corpus file that replaces DATA's own (any compression).")
    queries: str | None = option(None, "Queries file that replaces DATA's own.")
    qrels: str | None = option(None, "Qrels file that replaces DATA's own (BEIR or TREC).")
    split: str | None = option(None, "Split of the qrels [default: train, else the only one].")
    anchor_column: str = option("anchor", "Pairs file: the column with the query's text.")
    positive_column: str = option("positive", "Pairs file: the column with the positive's text.")
    anchor_id_column: str | None = option(
        None, "Pairs file: the column with the query's id [default: hash of the text]."
    )
    positive_id_column: str | None = option(
        None, "Pairs file: the column with the positive's id [default: hash of the text]."
    )
    negative_columns: tuple[str, ...] = option(
        (), "Pairs file: column(s) with negatives that it has already (a text or a list); `negative_*` means several."
    )
    class_column: str | None = option(
        None,
        "Class-labelled file: the column with each text's class; another text of it is the positive, all others are "
        "negatives.",
    )
    text_column: str = option("text", "Class-labelled file: the column with the text.")
    class_positives: int = option(1, "Class-labelled file: positives of each text, keyed choices of its class.")
    inverse: bool = option(False, "Triples: ask for the heads too, with queries of tail and inverse relation.")
    title_separator: str = option(
        " ", "What joins a document's title and text into the text that is indexed and exported."
    )
    sample: float | None = option(
        None, "Only a keyed sample: this fraction of the queries and of the documents; judged documents stay."
    )
    on_error: OnError = option(OnError.FAIL, "Bad records: fail with all of them listed, or skip and count them.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions(Options):
    """`import`."""

    format: Format | None = option(None, "Layout of the training file; must be given.")
    corpus: str | None = option(
        None, "Corpus in which the file's ids and texts are looked up: a file, a directory of files, or a collection."
    )
    queries: str | None = option(None, "Queries in which the file's queries are looked up, as --corpus.")
    score_scale: Scale = option(
        Scale.DOT, "What the file's scores are; of dot nothing is presumed, so that it has no default margin."
    )
    title_separator: str = option(
        " ", "What joins a document's title and text into the text that is indexed and exported."
    )
    on_error: OnError = option(OnError.FAIL, "Bad rows: fail with all of them listed, or skip and count them.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bm25Options(Options):
    """`index bm25`."""

    language: str = option("auto", "Analyser: auto, none, cjk, or a Snowball language such as english or german.")
    method: Bm25Method = option(Bm25Method.LUCENE, "BM25 variant.")
    k1: float = option(1.5, "Term frequency saturation.")
    b: float = option(0.75, "Length normalisation.")
    delta: float = option(0.5, "Lower bound of bm25l and bm25+.")
    engine: Bm25Engine = option(
        Bm25Engine.MAXSCORE, "maxscore and bm25s find the same; rank-bm25 is the slow reference."
    )
    name: str | None = option(None, "Name of the index in columns and options [default: its directory's name].")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions(Options):
    """How a model is loaded and run; shared by encoders and rerankers."""

    revision: str | None = option(None, "Revision of the model on the Hub.")
    dtype: Dtype = option(Dtype.AUTO, "Arithmetic [auto: bf16 or fp16 where the hardware has it, else fp32].")
    backend: Backend = option(Backend.TORCH, "What runs the model.")
    device: str | None = option(None, "Device, such as cpu or cuda:0 [default: the GPU if there is one].")
    max_length: int | None = option(None, "Longest input in tokens [default: the model's own].")
    batch_tokens: int | None = option(
        None, "Tokens a batch, padding counted [default: 4096; on a CPU of at most 3 cores 1024 a core, at least 2048]."
    )
    trust_remote_code: bool = option(False, "Run Python code that the model's repository brings.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextModelOptions(ModelOptions):
    """What models that read queries and documents apart from each other have in common."""

    model: str = option("sentence-transformers/all-MiniLM-L6-v2", "Model name or path.")
    query_prompt: str | None = option(None, "Prompt before each query: a text, or one of the model's own prompt names.")
    document_prompt: str | None = option(
        None, "Prompt before each document: a text, or one of the model's prompt names."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseOptions(TextModelOptions):
    """`index dense`."""

    model: str = option(
        "sentence-transformers/all-MiniLM-L6-v2",
        "Model name or path, or the URL of an OpenAI-compatible server, such as http://localhost:8080/v1 "
        "(key: OPENAI_API_KEY).",
    )
    remote_model: str | None = option(
        None, "Name of the model that the server of a URL runs [default: the only one that it lists]."
    )
    truncate_dim: int | None = option(None, "Keep the first N dimensions, renormalised (Matryoshka).")
    store: Store = option(Store.FP16, "How vectors are kept on disk.")
    ann: Ann = option(
        Ann.AUTO,
        "How the index is searched: exactly (flat), or by a structure that is calibrated to find 98 % of what an exact "
        "search finds [auto: flat until that would take hours].",
    )
    vectors: str | None = option(None, "Ready-made document vectors (.npy, .parquet) instead of a model.")
    query_vectors: str | None = option(None, "Ready-made query vectors; goes with --vectors.")
    keep_documents: str | None = option(
        None,
        "Dense index, or run directory, whose document vectors are kept: only the queries are encoded, with a newer "
        "--model (ADORE).",
    )
    compensate_drift: bool = option(
        False,
        "With --keep-documents: take the mean way that queries moved between the two models off every query (QDC), for "
        "a model whose document side was trained too.",
    )
    name: str | None = option(None, "Name of the index in columns and options [default: its directory's name].")


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseOptions(TextModelOptions):
    """`index sparse`."""

    model: str = option(
        "naver/splade-cocondenser-ensembledistil", "Model name or path: a SPLADE model, or any SparseEncoder."
    )
    batch_tokens: int | None = option(
        2048, "Tokens a batch, padding counted; a token costs memory for the whole vocabulary."
    )
    name: str | None = option(None, "Name of the index in columns and options [default: its directory's name].")


@dataclass(frozen=True, slots=True, kw_only=True)
class LateOptions(TextModelOptions):
    """`index late`."""

    model: str = option(
        "answerdotai/answerai-colbert-small-v1", "Model name or path: a ColBERT model (PyLate, Stanford, or newer)."
    )
    query_prompt: str | None = option(
        None, "Text before each query, in place of the model's own, its marker (such as [Q]) included."
    )
    document_prompt: str | None = option(
        None, "Text before each document, in place of the model's own, its marker (such as [D]) included."
    )
    max_length: int | None = option(None, "Longest document in tokens [default: the model's own].")
    name: str | None = option(None, "Name of the index in columns and options [default: its directory's name].")


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleOptions(Options):
    """What every stage that works on queries takes: the seed of keyed draws, and a keyed sample."""

    seed: int = option(0, "Seed of every keyed draw: equal seeds give equal picks whatever the order of work.")
    limit: int | None = option(None, "Only a keyed sample of N queries.")


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
class GenerateOptions(SampleOptions):
    """`generate`."""

    by: By | None = option(
        None,
        "Who writes: perturb (negatives: a positive with other word order, negation, numbers), ict (queries: a "
        "sentence out of the document), llm (either) [default: perturb; ict for queries].",
    )
    write: Write = option(Write.NEGATIVES, "Negatives for queries that have a positive, or queries for documents.")
    texts: int | None = option(
        None,
        "Negatives a query [default: 4], or queries a document [default: 1].",
        flags=("--texts", "-n"),
    )
    change: tuple[str, ...] = option(
        (), "perturb: swap, shuffle, negation, number; repeatable, in order of preference [default: all]."
    )
    language: str = option("auto", "perturb: language of the negation, as for index bm25.")
    limit: int | None = option(None, "Write for a keyed sample of N queries, or N documents.")
    model: str | None = option(
        None, "llm: URL#MODEL, or MODEL at OPENAI_BASE_URL, any OpenAI-compatible server (key: OPENAI_API_KEY)."
    )
    prompt: str | None = option(
        None,
        "llm: a TOML file, or a name that `hnmine prompts` lists, such as negatives-from-query, which shows the model "
        "no positive [default: negatives, or queries].",
    )
    price_input: float | None = option(None, "llm: what a million tokens of requests cost.")
    price_output: float | None = option(None, "llm: what a million tokens of answers cost.")
    budget: float | None = option(
        None, "llm: the most that all answers of this output may cost; what it does not pay for is not asked."
    )
    requests_per_minute: int | None = option(None, "llm: requests a minute of all processes of this cache directory.")
    tokens_per_minute: int | None = option(None, "llm: tokens a minute, of requests and the longest answers together.")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterOptions(SampleOptions):
    """`filter`."""

    num_negatives: int = option(7, "Negatives per query.", flags=("--num-negatives", "-n"))
    absolute_margin: float | None = option(
        None, "Drop n unless s(n) < s(p) - m; a negative m lets n rise to m above the positive."
    )
    relative_margin: float | None = option(None, "Drop n unless s(n) < s(p) - r*|s(p)|.")
    no_margin: bool = option(False, "No margin and no default estimate: keep what is asked of other rules only.")
    anchor: Anchor = option(Anchor.MIN, "Which positive's score is s(p) when there are several.")
    skip_top: int = option(0, "Drop the first N of the --rank-by list, positives counted, before any other rule.")
    max_rank: int | None = option(None, "Drop what stands behind the first N of the --rank-by list.")
    skip_fused: int = option(
        0, "Drop the first N survivors in an order fused from all ranks and the similarity to the positive."
    )
    max_fn_probability: float | None = option(
        None,
        "Drop n if it is a false negative with more than this estimated probability [default, if no margin is asked: "
        "0.03; with fewer than 30 queries relative margin 0.05 for cosines; absolute margin 3 for logits].",
    )
    max_score: float | None = option(None, "Drop n with s(n) above this.")
    min_score: float | None = option(None, "Drop n with s(n) below this.")
    judge_by: str | None = option(
        None,
        "Score that rules compare, by name or kind [default: reranker, else imported, dense, late, sparse, BM25].",
    )
    rank_by: str | None = option(
        None,
        "Score that orders the pick, by name or kind, or `fused`: all retrievers' ranks"
        " [default: dense, else late, sparse, BM25].",
    )
    pick: Pick = option(Pick.TOP, "How negatives are chosen from the survivors: docs/filters.md, Picking.")
    pick_pool: int | None = option(
        None, "Choose among the N best-placed survivors; the others only if these are too few."
    )
    temperature: float | None = option(
        None, "T of softmax(s/T) [default: the standard deviation of the query's scores]."
    )
    simans_offset: float = option(
        0.0, "SimANS: the likeliest score is s(p) + this many standard deviations of the query's scores."
    )
    simans_width: float | None = option(
        None, "SimANS: width of the kernel in standard deviations [default: 1, Laplace 1/3]."
    )
    fn_weight: bool = option(False, "Picks that draw: each row's chance is multiplied by 1 - p_false_negative.")
    quota: str | None = option(
        None, "So many from each source, in this order, as bm25=2,dense=3,random=1; the rest as --pick says."
    )
    epochs: int = option(1, "Pick --num-negatives for each of N epochs: disjoint slices.")
    short: Short = option(
        Short.KEEP,
        "Too few survivors: keep what there is, drop the query, relax the margin, or fill with --random rows.",
    )
    where: str | None = option(
        None, "Keep n only where this holds, such as 'document.lang == query.lang and document.year < 2020'."
    )
    consistency_top: int = option(
        0, "Drop all of a query whose best positive stands beyond rank K of the --rank-by list."
    )
    near_duplicate: float | None = option(
        None, "Drop n whose cosine to a positive, to the query or to a better-placed candidate is X or more."
    )
    group_by: str | None = option(
        None, "Drop n with the same value of this document column as a positive: chunks of one parent."
    )
    no_answers: bool = option(False, "Drop n that contains one of its query's answers (queries' column `answers`).")
    band: str | None = option(
        None, "LOW:HIGH, drop n whose probability under the judge, a reranker, is outside; logits go through a sigmoid."
    )
    iqr: float | None = option(None, "Drop n above Q3 + R*IQR of its query's candidate scores.")
    guide: str | None = option(None, "A score that must place n below the positive too, by --guide-margin.")
    guide_margin: float = option(0.0, "Drop n with g(n) > g(p) - M under the --guide score g.")
    max_positive_similarity: float | None = option(None, "Drop n whose similarity to a positive document is X or more.")
    closer_to_query: bool = option(False, "Keep n only if it is nearer to the query than to a positive document.")
    max_agreement: int | None = option(
        None, "Drop n that more than A retrievers have among their first --agreement-depth ranks."
    )
    agreement_depth: int = option(50, "How many ranks of a retriever count for --max-agreement.")
    existing: Existing = option(
        Existing.JUDGE,
        "Negatives of your own file: judged as any candidate, the survivors picked first, or kept against all guesses.",
    )
    labels: str | None = option(
        None,
        "Judgments of your own of candidates, as qrels (what the report downloads): grade 0 is known not to be "
        "relevant, whatever a rule guesses; any other is dropped.",
    )
    relabel: Relabel | None = option(
        None,
        "What --labels, a judge or else a reranker calls relevant: drop it, make it a positive, or hear nobody "
        "[default: drop where a judge was asked].",
    )
    relabel_above: float = option(0.9, "A reranker calls relevant what it gives more than this probability.")
    max_fn_per_query: int = option(7, "Drop all of a query of which more than N candidates are called relevant.")
    max_reuse: int = option(
        0, "A document stays a candidate of at most C queries, a keyed draw of those it survived in."
    )


def _swept() -> Iterator[tuple[str, Any, Any]]:
    """The fields of `SweepOptions`: every threshold of `filter` as a list of values, everything else as it is."""
    hints = typing.get_type_hints(FilterOptions)
    for item in dataclasses.fields(FilterOptions):
        hint, metadata = hints[item.name], item.metadata
        if item.name not in ("seed", "limit") and _is_number(hint):
            yield item.name, tuple[hint, ...], field(default=(), metadata=metadata)  # type: ignore[valid-type]
        else:
            yield item.name, hint, field(default=item.default, metadata=metadata)


def _is_number(hint: Any) -> bool:
    kinds = set(typing.get_args(hint) or (hint,)) - {type(None)}
    return bool(kinds) and kinds <= {int, float}


SweepOptions: type[Options] = dataclasses.make_dataclass(
    "SweepOptions", _swept(), bases=(Options,), frozen=True, slots=True, kw_only=True, namespace={"__doc__": "`sweep`."}
)
"""`sweep`: the options of `filter`, thresholds as lists; a grid is made of all of them. Empty: the default."""
SweepOptions.__module__ = __name__


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


@dataclass(frozen=True, slots=True, kw_only=True)
class DownsampleOptions(SampleOptions):
    """`downsample`."""

    top_k: int = option(250, "Documents of each retriever and query that are kept.", flags=("--top-k", "-k"))
    run: tuple[str, ...] = option((), "Run(s) to pool: FILE or NAME=FILE, as for mine.")
    system: tuple[str, ...] = option((), "Run(s) that are measured and do not feed the pool: FILE or NAME=FILE.")


def option_fields(kind: type) -> dict[str, dataclasses.Field[Any]]:
    """The fields of an options record by name, in order."""
    return {item.name: item for item in dataclasses.fields(kind)}


def as_plain(options: Any) -> dict[str, Any]:
    """An options record as JSON values: what a plan records."""
    plain: dict[str, Any] = {}
    for name in option_fields(type(options)):
        value = getattr(options, name)
        plain[name] = value.value if isinstance(value, StrEnum) else list(value) if isinstance(value, tuple) else value
    return plain


def from_mapping(kind: type[T], values: Mapping[str, Any], *, where: str) -> T:
    """Build an options record from plain values; unknown keys and wrong values are refused by name.

    `where` names the origin (a file and table) in error messages. Raises `UsageError` with every problem at once.
    """
    hints = _hints(kind)
    known = option_fields(kind)
    problems: list[str] = []
    unknown = False
    clean: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in known:
            unknown = True
            spelled = known if "_" in key else [one.replace("_", "-") for one in known]
            problems.append(f"{where}: unknown key {key!r}" + did_you_mean(key, spelled))
            continue
        try:
            clean[name] = _coerce(value, hints[name])
        except (TypeError, ValueError) as error:
            is_flag = where == "options"
            problems.append(
                f"--{key.replace('_', '-')}: {error}" if is_flag else f"{where}: {key} = {value!r}: {error}"
            )
    if problems:
        keys = ", ".join(name.replace("_", "-") for name in known)
        raise UsageError("\n".join(problems), expected=f"keys {keys}" if unknown else None)
    return kind(**clean)


OFF = "none"
"""How a list of thresholds names the setting without one."""


def _number(value: Any, hint: Any) -> Any:
    """A number of a list, which may come as text; None for `none` if the list takes it."""
    optional = isinstance(hint, types.UnionType)
    kind = next(item for item in typing.get_args(hint) if item is not type(None)) if optional else hint
    if isinstance(value, str):
        if optional and value.strip().lower() == OFF:
            return None
        try:
            value = kind(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a {'whole ' if kind is int else ''}number") from None
    return _coerce(value, hint)


def _coerce(value: Any, hint: Any) -> Any:
    arguments = typing.get_args(hint)
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        if value is None:
            return None
        return _coerce(value, next(item for item in arguments if item is not type(None)))
    if typing.get_origin(hint) is tuple:
        items = [value] if isinstance(value, (str, os.PathLike, numbers.Number)) else list(value)
        if arguments[0] is not str:  # numbers are written one by one or with commas: 0,0.05,0.1
            items = [part for item in items for part in (item.split(",") if isinstance(item, str) else [item])]
            return tuple(_number(item, arguments[0]) for item in items)
        return tuple(_coerce(item, arguments[0]) for item in items)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        try:
            return hint(value)
        except ValueError:
            raise ValueError(f"not one of {', '.join(hint)}" + did_you_mean(str(value), hint)) from None
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if not isinstance(value, hint):
            raise TypeError(f"not a {hint.__name__}")
        return value
    if hint is bool:
        if not isinstance(value, bool):
            raise TypeError("not true or false")
        return value
    if hint is int:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise TypeError("not a whole number")
        return int(value)
    if hint is float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError("not a number")
        return float(value)
    if hint is str:
        if not isinstance(value, (str, os.PathLike)):
            raise TypeError("not a text")
        return os.fspath(value)
    return value
