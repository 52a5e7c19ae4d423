"""Data in: `ingest`, `import`, and the collections that `generate` and `downsample` make."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hnmine.options.export import Format
from hnmine.options.records import Options, SampleOptions, option
from hnmine.schema import Scale


class OnError(StrEnum):
    """What `ingest` does with a bad record."""

    FAIL = "fail"
    SKIP = "skip"


class Write(StrEnum):
    """What `generate` writes."""

    NEGATIVES = "negatives"
    QUERIES = "queries"


class By(StrEnum):
    """What writes the texts of `generate`."""

    PERTURB = "perturb"
    ICT = "ict"
    LLM = "llm"


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
class DownsampleOptions(SampleOptions):
    """`downsample`."""

    top_k: int = option(250, "Documents of each retriever and query that are kept.", flags=("--top-k", "-k"))
    run: tuple[str, ...] = option((), "Run(s) to pool: FILE or NAME=FILE, as for mine.")
    system: tuple[str, ...] = option((), "Run(s) that are measured and do not feed the pool: FILE or NAME=FILE.")
