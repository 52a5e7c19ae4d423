"""Verdicts: `filter`, and `sweep` over its thresholds."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from hnmine.options.records import Options, SampleOptions, option


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
