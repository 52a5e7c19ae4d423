"""`index bm25`, `dense`, `sparse`, `late`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hnmine.options.models import TextModelOptions
from hnmine.options.records import Options, option


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
