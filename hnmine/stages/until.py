"""What `score --until` records of the rules by which it stopped, and what a filter of its table must keep to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hnmine.errors import ArtefactError, UsageError
from hnmine.files.artefact import Json, differences
from hnmine.files.candidates import ScoreInfo
from hnmine.options import FilterOptions, Short, as_plain

if TYPE_CHECKING:
    from hnmine.stages.decider import Decider

_RESOLVED = frozenset({"judge_by", "rank_by", "no_margin"})
"""Options that mean something only together with the table; what they came to is compared."""
_FREE = frozenset({"num_negatives", "epochs", "limit", "seed", "short"})
"""Options that may differ, as far as `rule_settings` does not say otherwise."""


def partial_score(judge: ScoreInfo | None, guide: ScoreInfo | None, rank_by: ScoreInfo | None) -> ScoreInfo | None:
    """The score among those in use that not every row has, because certain rules did not need it.

    Raises `UsageError` if rows are to be ordered by such a score, or if there are two, each made for other rules.
    """
    if rank_by is not None and rank_by.is_partial:
        raise UsageError(
            f"--rank-by {rank_by.name}: a score that was made with --until orders nothing, most rows have none"
        )
    partial = {score.name: score for score in (judge, guide) if score is not None and score.is_partial}
    if len(partial) > 1:
        raise UsageError(
            f"the rules look at {' and '.join(partial)}, and both were made with --until: rows that one of them needed "
            "were not scored by the other",
            remedy="score every row by the first one, without --until",
        )
    return next(iter(partial.values()), None)


def rule_settings(stage: Decider) -> Json:
    """Everything of a filter that decides which scores it needs, as JSON values; what is as by default is left out."""
    defaults = as_plain(FilterOptions())
    settings = {
        name: value
        for name, value in as_plain(stage.in_force).items()
        if value != defaults[name] and name not in _RESOLVED | _FREE
    }
    short, options = stage.options.short, stage.options
    if short in (Short.RELAX, Short.RANDOM):
        settings["short"] = short.value
    if stage.pick.is_random or short is Short.RANDOM:
        settings["seed"] = options.seed
    if options.quota is not None:
        settings["epochs"] = options.epochs
    if stage.labels is not None:
        settings["labels"] = stage.labels.digest
    if heard := stage.voices_heard():
        settings["called_relevant_by"] = heard
    settings["judge_by"] = stage.judge.name if stage.judge else None
    settings["rank_by"] = stage.rank_by.name if stage.rank_by else None
    return settings


def require_same_rules(stage: Decider, partial: ScoreInfo) -> None:
    """Raise `ArtefactError` unless every score that the filter needs is there: it asks what `score --until` asked."""
    then, now = dict(partial.until["rules"]), rule_settings(stage)
    if "short" not in now:  # what relaxing or filling up needs includes what keeping or dropping short queries does
        then.pop("short", None)
    if "seed" not in now:
        then.pop("seed", None)
    wrong = differences(then, now)
    enough = int(partial.until["enough"])
    wanted = stage.options.num_negatives * stage.options.epochs
    if wanted > enough:
        wrong.append(f"num_negatives: {wanted} of each query, and scoring ended when {enough} had passed")
    if wrong:
        shown = "\n".join(f"  {line}" for line in wrong)
        raise ArtefactError(
            f"{stage.table.artefact.path}: the score {partial.name} was made with --until {enough}, for other rules "
            f"(then -> now):\n{shown}",
            expected="the rules that it was scored by: rows that these did not need have no score",
            remedy="filter with the same --rules, score again by the new ones, or leave this score out: "
            "--judge-by with the name of another",
        )
