"""The figures of the page: what each is called, what it says in words, and its pictures."""

from __future__ import annotations

from collections.abc import Iterator

from hnmine.files.artefact import Artefact, Json
from hnmine.schema import GRADES, RELEVANT_GRADE
from hnmine.stages.report import facts, figures
from hnmine.stages.report.figures import Plot


def panels(decisions: Artefact, spreads: facts.Spreads, crowding: Json, sweep: Json | None) -> Iterator[Json]:
    """Each figure: `heading`, `words`, `name`, `svg`, and `narrow`, the picture for a phone where the usual is wide.

    `crowding` is what `Hubs` found, `sweep` the report of a sweep over the same candidates.
    """
    counts, plan = decisions.counts, decisions.plan
    judge, rank_by = plan["judge_by"], plan["rank_by"]
    rows = facts.funnel(counts)
    yield wide(
        "Funnel",
        "Where the candidates went, rules by how much they took.",
        "funnel",
        figures.funnel(rows),
        height=0.3 * len(rows) + 0.3,
        narrow=figures.funnel(rows, inside=True),
        narrow_height=0.36 * len(rows) + 0.3,
    )
    trade_off = figures.trade_off(sweep, in_force=plan.get("in_force", {})) if sweep is not None else None
    if sweep is not None and trade_off is not None:
        words = (
            f"Other settings over {sweep['points'][0]['queries']:,} queries: estimated false negatives against how hard"
            " negatives are. P is the highest probability allowed, relative and absolute are margins."
        )
        yield wide("What other settings would give", words, "sweep", trade_off, height=3.8)
    for number, (name, found) in enumerate(spreads.score_histograms().items()):
        words = "What the rules compare. " if name == judge else ""
        words += "Where negatives lie above positives, look at the triplets."
        yield panel(f"Scores under {name}", words, f"score{number}", figures.histogram(found, f"score under {name}"))
    if (margins := spreads.margins()) is not None:
        words = (
            f"The lowest positive's score less the negative's, under {judge}. Left of the line a negative is placed"
            " above a known positive."
        )
        yield panel("Gap to the positive", words, "gap", figures.histogram(margins, f"gap under {judge}", line=0.0))
    if (probabilities := spreads.probabilities()) is not None:
        limit = plan.get("in_force", {}).get("max_fn_probability")
        words = "The estimated probability that a row is relevant after all"
        words += "; the line is the limit in force." if limit is not None else "."
        drawn = figures.histogram(probabilities, "probability", line=limit)
        yield panel("Estimated to be false", words, "probability", drawn)
    if given := spreads.grades():
        words = "What language models said of the rows that they were asked about."
        yield panel("Grades", words, "grades", figures.grades(given, GRADES))
    if ranges := spreads.graded_by_probability():
        words = (
            "What they said of rows of each estimated probability. The line is the estimate: where what they call"
            " relevant rises above it, or stays below, the estimate errs, or the judge."
        )
        drawn = figures.graded_by_probability(ranges, GRADES, RELEVANT_GRADE)
        yield panel("Grades against the estimate", words, "estimate", drawn)
    if (ranked := spreads.picked_ranks()) is not None:
        words = f"Where positives and negatives stand under {rank_by}."
        yield panel("Ranks", words, "ranks", figures.histogram(ranked, f"rank under {rank_by}"))
    if agreed := spreads.agreement():
        words = "Jaccard overlap of their first documents, mean over queries. Little overlap: each brings its own."
        yield panel("Agreement of retrievers", words, "agreement", figures.agreement(agreed))
    per_query = {int(number): int(count) for number, count in counts["negatives_per_query"].items()}
    if len(per_query) > 1:
        words = f"{counts['queries_short']:,} of {counts['queries']:,} queries have fewer negatives than asked for."
        yield panel("Yield", words, "yield", figures.numbers(per_query, "negatives of a query", "queries"))
    found_by = {name: spread for name, spread in crowding["spreads"].items() if spread["documents"]}
    if found_by:
        words = (
            f"In how many queries' first {crowding['depth']} a document stands, where it is no known positive. From a"
            " dashed line on it is a hub: more than the other documents let one expect."
        )
        yield panel("How often documents are found", words, "found", figures.occurrences(found_by))


def panel(heading: str, words: str, name: str, plot: Plot) -> Json:
    """A figure as wide as a card."""
    return {"heading": heading, "words": words, "name": name, "svg": figures.svg(plot, name), "narrow": None}


def wide(
    heading: str,
    words: str,
    name: str,
    plot: Plot,
    *,
    height: float,
    narrow: Plot | None = None,
    narrow_height: float = 3.6,
) -> Json:
    """A figure of two cards, and of one on a phone: there `narrow`, if it is another picture."""
    return {
        "heading": heading,
        "words": words,
        "name": name,
        "svg": figures.svg(plot, name, width=figures.WIDE, height=height),
        "narrow": figures.svg(narrow or plot, f"{name}-narrow", height=narrow_height),
    }
