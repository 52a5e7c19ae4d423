"""`mine_hard_negatives`, with the parameters and the formats of sentence-transformers' function of that name.

Built from the stages of a run (ingest, index, mine, score, filter), in a temporary directory or in `cache_folder`.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hnmine.errors import InputError, MissingDependencyError, ProblemLog, UsageError
from hnmine.options import FilterOptions, Format, Pick
from hnmine.spelling import nearest

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

    from hnmine.files.collection import Collection
    from hnmine.stages.picked import Picked

COPIES = 64
"""How many candidates more than asked for are mined, at most, because copies of other texts will be dropped."""


class BadArgument(UsageError, ValueError):
    """An argument is wrong; a `ValueError` too, as in sentence-transformers."""


def mine_hard_negatives(
    dataset: datasets.Dataset,
    model: Any,
    anchor_column_name: str | None = None,
    positive_column_name: str | None = None,
    corpus: list[str] | None = None,
    cross_encoder: Any | None = None,
    range_min: int = 0,
    range_max: int | None = None,
    max_score: float | None = None,
    min_score: float | None = None,
    absolute_margin: float | None = None,
    relative_margin: float | None = None,
    num_negatives: int = 3,
    sampling_strategy: Literal["random", "top"] = "top",
    query_prompt_name: str | None = None,
    query_prompt: str | None = None,
    corpus_prompt_name: str | None = None,
    corpus_prompt: str | None = None,
    include_positives: bool = False,
    output_format: Literal["triplet", "n-tuple", "labeled-pair", "labeled-list"] = "triplet",
    output_scores: bool = False,
    batch_size: int = 32,
    faiss_batch_size: int = 16384,
    use_faiss: bool = False,
    use_multi_process: list[str] | bool = False,
    verbose: bool = True,
    cache_folder: str | None = None,
    as_triplets: bool | None = None,
    margin: float | None = None,
    *,
    seed: int = 0,
) -> datasets.Dataset:
    """Add hard negatives to (anchor, positive) pairs; returns a `Dataset` in the input's order, ready to train on.

    Five lines::

        from datasets import load_dataset
        from sentence_transformers import SentenceTransformer
        import hnmine
        pairs = load_dataset("parquet", data_files="pairs.parquet", split="train")
        triplets = hnmine.mine_hard_negatives(pairs, SentenceTransformer("all-MiniLM-L6-v2"), relative_margin=0.05)

    Parameters, formats and column names are those of `sentence_transformers.util.mine_hard_negatives` 6.2, whose page
    explains them; `model` and `cross_encoder` may also be names or paths. Equal arguments give an equal dataset.
    What comes out is the same too, but for this:

    ==============================  ===================================  ==============================================
    case                            sentence-transformers 6.2            here
    ==============================  ===================================  ==============================================
    a document equal to the anchor  mined as its negative                never a negative
    a copy of a positive that       mined as a negative                  never a negative; nor is one text twice among
    differs in case, spacing,                                            a query's negatives
    punctuation
    `range_min`, `range_max`        counted after the filters            counted before them, as ranks of what was
                                                                         retrieved; positives and copies take no place
    `cross_encoder` without margin  not run, no word about it            always run: it scores, and orders the picks
    or score limit
    `cache_folder`                  keyed by the model's name            keyed by weights, settings, prompts, texts
    "random"                        another draw at each call            drawn by `seed`, for each query on its own
    a column name that is not       replaced by the first or second      `ValueError` with the nearest name
    there
    other columns of the dataset    dropped, no word about it            dropped with a warning: a trainer would read
                                                                         every one of them as a text
    an empty text, `None`           mined                                `InputError` with the rows
    nothing found at all            an empty dataset                     `InputError` that says which filter took all
    a negative exactly at           kept                                 dropped
    the margin
    `include_positives` with        positives are filtered too           positives stay; the list is always the top
    margins, limits or "random"
    scores                          the model's own similarity           cosine of the model's vectors
    ==============================  ===================================  ==============================================

    `use_faiss` and `faiss_batch_size` have no effect, because the search is always an exact one with FAISS in batches
    of its own; `use_multi_process` has none either (`hnmine index` spreads over processes and machines). A warning
    says so when one is set. `as_triplets` and `margin` are deprecated, as there. With `verbose` the summary goes to
    standard error.

    Raises `UsageError` for arguments (a `ValueError`, too), `InputError` for texts, `MissingDependencyError` for a
    model that is not there.
    """
    if as_triplets is not None:
        _warn("as_triplets is deprecated: use output_format", DeprecationWarning)
        output_format = "triplet" if as_triplets else "n-tuple"
    if margin is not None:
        _warn("margin is deprecated: use absolute_margin or relative_margin", DeprecationWarning)
        absolute_margin = margin
    if str(output_format) == "n-tuple-scores":
        _warn('output_format="n-tuple-scores" is deprecated: use "n-tuple" with output_scores', DeprecationWarning)
        output_format, output_scores = "n-tuple", True
    if include_positives and output_format != "n-tuple":
        _warn('include_positives gives "n-tuple", which keeps the order of a ranking')
        output_format = "n-tuple"
    idle = {
        "faiss_batch_size": faiss_batch_size != 16384,
        "use_faiss": bool(use_faiss),
        "use_multi_process": bool(use_multi_process),
    }
    for name, is_set in idle.items():
        if is_set:
            _warn(f"{name} has no effect in hnmine: see the documentation of mine_hard_negatives")
    form = _one_of("output_format", output_format, Format)
    pick = _one_of("sampling_strategy", sampling_strategy, Pick, (Pick.RANDOM, Pick.TOP))
    anchor, positive = _columns(dataset, anchor_column_name, positive_column_name)
    pairs = _Pairs.read(dataset, anchor, positive, corpus)
    limits = (absolute_margin, relative_margin, max_score, None if cross_encoder is None else min_score)
    filtered = any(limit is not None for limit in limits)
    low, high, depth = _window(range_min, range_max, num_negatives, pairs.max_positives, filtered=filtered)
    rules = FilterOptions(
        num_negatives=num_negatives,
        absolute_margin=absolute_margin,
        relative_margin=relative_margin,
        no_margin=absolute_margin is None and relative_margin is None,
        max_score=max_score,
        min_score=min_score,
        pick=pick,
        seed=seed,
    )

    from hnmine.core.rules.rank import RankWindow
    from hnmine.engines.loaded import Prompt
    from hnmine.files.readers.memory import MemorySource
    from hnmine.schema import Side
    from hnmine.stages.in_memory import Models, decide_pairs, in_input_order, mine_pairs
    from hnmine.stages.picked import read_picked, read_ranking

    models = Models(
        encoder=model,
        reranker=cross_encoder,
        prompts={
            Side.QUERY: Prompt(name=query_prompt_name, text=query_prompt),
            Side.DOCUMENT: Prompt(name=corpus_prompt_name, text=corpus_prompt),
        },
        batch_size=batch_size,
        keep=bool(cache_folder),
        show_progress=verbose,
    )
    source = MemorySource(pairs.anchors, pairs.positives, pairs.corpus)
    # Without range_max the top of all that was retrieved is taken; a random draw needs an end.
    window = RankWindow(low, high if range_max is not None or pick is Pick.RANDOM else None)
    with tempfile.TemporaryDirectory(prefix="hnmine-") as folder:
        place = Path(cache_folder or folder)
        collection, candidates = mine_pairs(source, models, top_k=depth + pairs.copies, place=place)
        del pairs, source, models  # every text of the input, while the output's are made
        decisions = decide_pairs(collection, candidates, rules, window, place=Path(folder))
        queries = decisions.sample(None, seed)
        if include_positives:
            picked = read_ranking(collection, decisions, queries, length=num_negatives)
        else:
            picked = read_picked(collection, decisions, queries, by_rank=True)
        picked = in_input_order(collection, picked)
        counts = decisions.artefact.counts
        table = _table(collection, picked, form, num_negatives, (anchor, positive), output_scores, counts)
    if verbose:
        sys.stderr.write(_summary(table, counts))
    return _dataset(table)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pairs:
    """The texts of the dataset, row by row, and the further corpus."""

    anchors: list[str]
    positives: list[str]
    corpus: list[str]

    @classmethod
    def read(cls, dataset: Any, anchor: str, positive: str, corpus: Sequence[str] | None) -> _Pairs:
        """Take the texts out of the dataset; `InputError` with every row that has none."""
        anchors = list(dataset[anchor][:])  # a column that is not sliced comes text by text
        positives, further = list(dataset[positive][:]), list(corpus or ())
        if not anchors:
            raise BadArgument("the dataset is empty", expected="at least one pair")
        problems = ProblemLog()
        for name, texts in ((anchor, anchors), (positive, positives), ("corpus", further)):
            for row, text in enumerate(texts):
                if not isinstance(text, str):
                    problems.add("not a text", f"{name}[{row}]", repr(text))
                elif not text.strip():
                    problems.add("empty text", f"{name}[{row}]", repr(text))
        problems.raise_if_any(remedy="leave these rows out: dataset.filter(...)")
        return cls(anchors=anchors, positives=positives, corpus=further)

    @property
    def max_positives(self) -> int:
        """The most positives that one anchor has."""
        return max(Counter(self.anchors).values())

    @property
    def copies(self) -> int:
        """How many documents are copies, of other documents or of an anchor; no more than matter."""
        from hnmine.hashing import text_keys

        documents = text_keys(dict.fromkeys([*self.corpus, *self.positives]))
        distinct = set(documents)
        anchors = set(text_keys(dict.fromkeys(self.anchors)))
        return min(COPIES, len(documents) - len(distinct) + len(distinct & anchors))


def _one_of(name: str, value: Any, kind: type[Format] | type[Pick], known: Sequence[str] | None = None) -> Any:
    allowed = list(kind) if known is None else known
    if value not in allowed:
        raise BadArgument(f"{name}={value!r}", expected=f"one of {', '.join(allowed)}")
    return kind(value)


def _columns(dataset: Any, anchor: str | None, positive: str | None) -> tuple[str, str]:
    """The names of the two columns: as given, else the first and the second; a wrong name is never replaced."""
    names = getattr(dataset, "column_names", None)
    if not isinstance(names, list) or not hasattr(dataset, "__len__"):
        raise BadArgument(
            f"dataset is a {type(dataset).__name__}", expected="a datasets.Dataset", remedy='name a split: ["train"]'
        )
    for argument, name in (("anchor_column_name", anchor), ("positive_column_name", positive)):
        if name is not None and name not in names:
            guess = nearest(name, names)
            raise BadArgument(
                f"{argument}={name!r}: the dataset has no such column"
                + (f"; did you mean {guess!r}?" if guess else ""),
                expected=f"one of {', '.join(names)}",
            )
    if len(names) < 2:
        raise BadArgument(f"the dataset has the columns {names}", expected="an anchor and a positive column")
    found = (anchor or names[0], positive or names[1])
    if found[0] == found[1]:
        raise BadArgument(f"anchor and positive are one column, {found[0]!r}", expected="two columns")
    if others := [name for name in names if name not in found]:
        _warn(f"the columns {', '.join(others)} are left out: a trainer would read them as texts")
    return found


def _window(
    low: int, high: int | None, num_negatives: int, max_positives: int, *, filtered: bool
) -> tuple[int, int, int]:
    """(first rank, end of the ranks, documents to retrieve); the end that is not given is sentence-transformers'."""
    if num_negatives < 1:
        raise BadArgument(f"num_negatives={num_negatives}", expected="at least 1")
    if low < 0:
        raise BadArgument(f"range_min={low}", expected="at least 0")
    if high is None:
        high = low + (10 * num_negatives if filtered else num_negatives) + max_positives
    if num_negatives > high - low:
        raise BadArgument(
            f"range_min={low} and range_max={high} leave {max(high - low, 0)} candidates",
            expected=f"at least num_negatives={num_negatives}",
        )
    return low, high, high + max_positives


def _table(
    collection: Collection,
    picked: Picked,
    form: Format,
    width: int,
    names: tuple[str, str],
    scores: bool,
    counts: Mapping[str, Any],
) -> pa.Table:
    """The training table under the user's own column names, in the order of the dataset."""
    from hnmine.stages.formats import FORMATS
    from hnmine.stages.training_rows import missing_scores, training_table

    layout, _ = FORMATS[form].lay_out(picked.chosen, width=width, keys=None)
    if not (layout.places < 0).any():
        raise InputError(
            "no query has enough negatives",
            expected=f"{width if form is Format.N_TUPLE else 1} a query; dropped were {_drops(counts)}",
            remedy=counts["advice"] or "look at the pairs: is there anything but positives?",
        )
    if scores and (missing := missing_scores(picked, layout)):
        raise InputError(f"output_scores: {missing:,} texts have no score", remedy="look at the model: it gives NaN")
    table = training_table(collection, picked, layout, form, width=width, scores=scores)
    renamed = [*names, *table.column_names[2:]]
    if twice := [name for name in names if name in renamed[2:]]:
        raise BadArgument(
            f"the column {twice[0]!r} would be there twice: the format has one of that name",
            remedy="dataset.rename_column(...)",
        )
    return table.rename_columns(renamed)


def _dataset(table: pa.Table) -> datasets.Dataset:
    """The table as a dataset: texts as strings, scores as float64, what a list of Python numbers becomes.

    Its fingerprint is made here, of the texts that are there once: `datasets` would pickle the whole table for one.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingDependencyError(
            f"datasets is needed for this and cannot be imported: {error}", remedy="pip install 'hnmine[datasets]'"
        ) from None
    import pyarrow as pa

    texts = pa.dictionary(pa.int32(), pa.string())
    plain = {texts: pa.string(), pa.float32(): pa.float64()}
    wide = {**plain, **{pa.list_(old): pa.list_(new) for old, new in plain.items()}}
    fields = [pa.field(field.name, wide.get(field.type, field.type)) for field in table.schema]
    digest = _digest(table)
    columns = [table[field.name].cast(field.type) for field in fields]
    return datasets.Dataset(pa.table(columns, schema=pa.schema(fields)), fingerprint=digest[:16])


def _digest(table: pa.Table) -> str:
    """SHA-256 (hex) of a table."""
    import pyarrow as pa

    sink = _Hashing()
    with pa.ipc.new_stream(pa.PythonFile(sink, "w"), table.schema) as writer:
        writer.write_table(table)
    return sink.state.hexdigest()


class _Hashing(io.RawIOBase):
    """A file that keeps nothing of what is written but its hash."""

    def __init__(self) -> None:
        self.state = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.state.update(data)
        return len(data)


def _drops(counts: Mapping[str, Any]) -> str:
    from hnmine.core.decide import KNOWN_POSITIVE, NOT_NEEDED, PICKED

    kept = {KNOWN_POSITIVE, NOT_NEEDED, PICKED}
    dropped = [f"{reason} {count:,}" for reason, count in counts["reasons"].items() if reason not in kept]
    return ", ".join(dropped) or "none"


def _summary(table: pa.Table, counts: Mapping[str, Any]) -> str:
    """What a person wants to know before training on it."""
    lines = [f"{table.num_rows:,} rows of {counts['queries']:,} queries; dropped: {_drops(counts)}"]
    for name, found in counts["judge_scores"].items():
        if found:
            lines.append(
                f"  {name:<9} " + "  ".join(f"{k} {found[k]}" for k in ("mean", "p0", "p25", "p50", "p75", "p100"))
            )
    if counts["queries_short"]:
        lines.append(f"{counts['queries_short']:,} queries have too few negatives: {counts['advice']}")
    return "\n".join(lines) + "\n"


def _warn(message: str, category: type[Warning] = UserWarning) -> None:
    level = next((i for i in range(1, 8) if sys._getframe(i).f_globals.get("__name__") != __name__), 1)
    warnings.warn(message, category, stacklevel=level)
