"""What judges, people, earlier rounds and generators did to a table: cards that are there when there is something."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from hnmine.core.decide import RELABELLED
from hnmine.core.rules.relevant import TooManyRelevant
from hnmine.files.artefact import Artefact, Json
from hnmine.files.candidates import CandidatesTable, JudgeInfo
from hnmine.schema import CURATED_SOURCE, EXISTING_SOURCE, GRADES, NEAR_SOURCE, PREVIOUS, RANDOM_SOURCE

_OTHERS = {
    CURATED_SOURCE: "written or chosen to be negatives",
    EXISTING_SOURCE: "negatives that the data brought",
    RANDOM_SOURCE: "drawn at random",
    NEAR_SOURCE: "drawn at random from near clusters",
}
"""Sources that are no search, and what the page calls their rows."""


def cards(
    decisions: Artefact,
    table: CandidatesTable,
    sources: Mapping[str, tuple[int, int]],
    before: Sequence[Artefact] = (),
) -> Iterator[Json]:
    """Each card: `heading`, `words`, and `rows` of (what, value).

    `sources` are (candidates, negatives) of the queries that were looked at, by source; `before` the candidates that
    the decisions were made from, and those before them.
    """
    for judge in table.judges:
        counts = (one.counts.get(f"judge_{judge.name}") for one in before)
        yield from _judged(judge, next((own for own in counts if own is not None), None))
    yield from _called_relevant(decisions, table)
    yield from _round(decisions.counts)
    brought = {name: sources[name] for name in _OTHERS if name in sources}
    if brought:
        rows = [
            (_OTHERS[name], f"{negatives:,} negatives of {candidates:,} candidates")
            for name, (candidates, negatives) in brought.items()
        ]
        yield {"heading": "Not found by a search", "words": "Of the queries that were looked at.", "rows": rows}


def _judged(judge: JudgeInfo, counts: Json | None) -> Iterator[Json]:
    """What a model said of all that it was asked about, and what it cost; nothing where that is not known any more."""
    if counts is None:
        return
    asked = counts["candidates"]
    rows = [("candidates asked about", f"{asked:,}")]
    for grade, word in reversed(list(enumerate(GRADES))):
        own = counts[f"grade_{grade}"]
        rows.append((f"{grade}: {word}", f"{own:,} ({own / asked:.0%})" if own else "0"))
    further = {
        "unanswered": "not answered, or not paid for",
        "no_grade": "answered without a grade",
        "likelihoods": "likelihoods of the query, positives too",
        "no_likelihood": "without a likelihood",
    }
    rows += [(words, f"{counts[name]:,}") for name, words in further.items() if counts.get(name)]
    rows.append(("requests answered", f"{counts['requests']:,}"))
    rows.append(("tokens, read and written", f"{counts['input_tokens']:,} and {counts['output_tokens']:,}"))
    if "cost" in counts:
        rows.append(("cost, by the prices given", f"{counts['cost']:,.4g}"))
    yield {"heading": f"Judge {judge.name}", "words": f"What {judge.model} said.", "rows": rows}


def _called_relevant(decisions: Artefact, table: CandidatesTable) -> Iterator[Json]:
    counts, plan = decisions.counts, decisions.plan
    called = counts.get("called_relevant") or {}
    if not (table.judges or called or "relabel" in plan):
        return
    mode = plan.get("relabel", {}).get("mode")
    words = {
        "positive": "What was called relevant is a positive of its query now: see “called relevant” in the triplets.",
        "drop": "What was called relevant was dropped: see “called relevant” in the triplets.",
    }.get(mode, "Judges were asked, and nobody was heard.")
    rows = [(f"called relevant by {name}", f"{count:,}") for name, count in called.items()]
    if new := counts["reasons"].get(RELABELLED):
        rows.append(("positives that the qrels do not have", f"{new:,}"))
    if lost := counts["reasons"].get(TooManyRelevant.reason):
        rows.append(("rows of queries with too many called relevant", f"{lost:,}"))
    yield {"heading": "Called relevant", "words": words, "rows": rows}


def _round(counts: Json) -> Iterator[Json]:
    if (changed := counts.get(PREVIOUS)) is None:
        return
    gone = changed["gone"]
    rows = [
        ("negatives kept", f"{changed['kept']:,}"),
        ("new", f"{changed['new']:,}"),
        ("gone", f"{sum(gone.values()):,}"),
        *((f"gone: {reason}", f"{count:,}") for reason, count in sorted(gone.items(), key=lambda item: -item[1])),
        ("the same, of all of either round (Jaccard)", f"{changed['jaccard']:.1%}"),
    ]
    estimates, spreads = changed["p_false_negative"], counts["judge_scores"]
    if estimates:
        rows.append(("estimated to be false, before and now", _pair(estimates, "before", "now", "{:.2%}")))
    gaps = {name: spread["mean"] for name, spread in spreads.items() if spread and name in ("gap", "gap before")}
    if gaps:
        rows.append(("mean gap to the positive, before and now", _pair(gaps, "gap before", "gap", "{:.3f}")))
    words = "The negatives of the round before, seen with the scores of this one."
    yield {"heading": "Since the round before", "words": words, "rows": rows}


def _pair(values: Mapping[str, float], before: str, now: str, form: str) -> str:
    return " → ".join("–" if name not in values else form.format(values[name]) for name in (before, now))
