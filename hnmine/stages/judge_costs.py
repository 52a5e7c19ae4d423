"""What judging costs: options that make sense, prices, and an estimate."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hnmine.core.evidence import Bools, Floats
from hnmine.engines.answers import Answers
from hnmine.engines.asking import LikelihoodRequest, Request
from hnmine.engines.spending import Prices, tokens_about
from hnmine.errors import UsageError
from hnmine.files.artefact import Json
from hnmine.options import JudgeOptions
from hnmine.stages.judge_questions import Questions
from hnmine.stages.judge_word import TURNS, Hearing

_ANSWER_TOKENS = (100, 12)
"""Of an answer, for an estimate: its reasoning, and each grade."""


def costs(
    hearings: Sequence[Hearing], kept: Answers, questions: Questions, asked: Bools, p: Floats, doubtful: int
) -> Json:
    """What each judge will take for `doubtful` candidates, told from the requests of a few queries.

    Requests, tokens and, with prices, money; about, and at most. `asked` are the rows in doubt of these queries, `p`
    their probabilities of being false negatives: the guess at how many of them the first judge shows to the second.
    """
    if not asked.any():
        return {}
    found: Json = {}
    scale, flagged = doubtful / int(asked.sum()), 1.0
    for hearing in hearings:
        name, prices = hearing.chat.name, hearing.prices
        requests = [request for _, request in hearing.requests(questions, asked)]
        likelihoods = [request for request in requests if isinstance(request, LikelihoodRequest)]
        grading = [request for request in requests if not isinstance(request, LikelihoodRequest)]
        known = sum(kept.get(request.key).answer is not None for request in requests)
        read = sum(tokens_about(request.body) for request in requests)
        written = _ANSWER_TOKENS[0] * len(grading) + _ANSWER_TOKENS[1] * int(asked.sum()) + len(likelihoods)
        share = scale * flagged
        found[f"{name}: requests"] = round(len(requests) * share)
        found |= {f"{name}: likelihoods": round(len(likelihoods) * share)} if likelihoods else {}
        found |= {f"{name}: answers_kept_about": round(known * share)} if known else {}
        found[f"{name}: input_tokens_about"] = round(read * share)
        if prices != Prices():
            most = _most(prices, grading) * TURNS + _most(prices, likelihoods)
            found[f"{name}: cost_about"] = _money(prices.of(read, written) * share)
            found[f"{name}: cost_at_most"] = _money(most * scale)
        flagged = float(p[asked].mean())
    return found


def _most(prices: Prices, requests: Sequence[Request]) -> float:
    return sum(prices.most(request.body) for request in requests)


def check(options: JudgeOptions) -> None:
    """Raise `UsageError` with every option that makes no sense."""
    problems = [] if options.judge else ["--judge: nobody to ask"]
    for flag, given in (("--price-input", options.price_input), ("--price-output", options.price_output)):
        if given and len(given) != len(options.judge):
            problems.append(f"{flag}: {len(given)} prices for {len(options.judge)} judges")
        problems += [f"{flag} {price}: not a price" for price in given if not 0 <= price < math.inf]
    if options.budget is not None and not options.budget >= 0:
        problems.append(f"--budget {options.budget}: not an amount")
    if options.budget is not None and not (options.price_input and options.price_output):
        problems.append("--budget: what requests cost is not known; give --price-input and --price-output")
    for flag, limit in (
        ("--judge-top", options.judge_top),
        ("--requests-per-minute", options.requests_per_minute),
        ("--tokens-per-minute", options.tokens_per_minute),
    ):
        if limit is not None and limit < 1:
            problems.append(f"{flag} {limit}: at least 1")
    if options.judge_likelihood is not None and options.judge_import is not None:
        problems.append("--judge-import and --judge-likelihood: the results of a batch are grades alone")
    if problems:
        raise UsageError("\n".join(problems))


def prices_of(options: JudgeOptions) -> list[Prices]:
    """The prices of each judge."""
    nothing = (0.0,) * len(options.judge)
    pairs = zip(options.price_input or nothing, options.price_output or nothing, strict=True)
    return [Prices(input=one, output=other) for one, other in pairs]


def _money(amount: float) -> float:
    return float(f"{amount:.3g}")
