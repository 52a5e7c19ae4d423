"""How likely a language model finds a query behind a document: which tokens are the query's, and what they come to.

Sachan et al. 2022 (UPR, arXiv 2204.07496) rank passages by it: the mean log-probability of the query's tokens, so that
short and long queries compare. Gecko (Lee et al. 2024, arXiv 2403.20327) fuses that rank with the one by grades.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Sequence

import numpy as np

from hnmine.core.evidence import Bools, Floats, Ints
from hnmine.core.fusion import reciprocal_rank_fusion
from hnmine.core.grouped import mean_ranks

_BROKEN = "\N{REPLACEMENT CHARACTER}"
"""What servers show of a token that is a part of a character; some show nothing."""
_SPACE_OF_TOKENIZERS = str.maketrans({"\N{LOWER ONE EIGHTH BLOCK}": " "})
_LOOK_BACK = 32
"""Tokens before the query in which the words before it are looked for."""
_LANDMARK = 12
"""How many characters of the words before the query have to be there."""


def query_tokens(tokens: Sequence[str], query: str, *, behind: str) -> slice | None:
    """Which tokens are those of `query`, at the end of `tokens` but for at most one that was generated.

    `behind` are the words that it stands behind, the same in every prompt; white space parts the two. None if the
    tokens' texts do not tell. They are compared without white space, which tokenizers add and drop; offsets are no
    help, since servers add them up from tokens decoded one by one (vLLM), or have none (SGLang). Of a character in
    several tokens, each shown as a replacement character or not at all, all belong.
    """
    wanted, landmark = _bare(query), _bare(behind)[-_LANDMARK:]
    texts = [None if token == "" or _BROKEN in token else _bare(token) for token in tokens]
    for stop in (len(tokens) - 1, len(tokens)) if wanted else ():
        clear = 0
        for start in range(stop - 1, 0, -1):
            clear += len(texts[start] or "")
            if clear > len(wanted):
                break
            if tokens[start - 1] == "" or not _are_of(texts[start:stop], wanted):
                continue
            if not landmark and None in texts[start - 1 : stop]:
                break  # nothing tells where the first character begins
            if _bare("".join(tokens[max(0, start - _LOOK_BACK) : start])).endswith(landmark):
                return slice(start, stop)
    return None


def _are_of(texts: Sequence[str | None], wanted: str) -> bool:
    """Whether texts, one after the other, make up the wanted one; None may be any text."""
    runs = [""]
    for text in texts:
        if text is None:
            runs.append("")
        else:
            runs[-1] += text
    if len(runs) == 1:
        return runs[0] == wanted
    place, end = len(runs[0]), len(wanted) - len(runs[-1])
    if place > end or not (wanted.startswith(runs[0]) and wanted.endswith(runs[-1])):
        return False
    for run in runs[1:-1]:
        found = wanted.find(run, place, end)
        if found < 0:
            return False
        place = found + len(run)
    return True


def _bare(text: str) -> str:
    """The text without white space and case, compatible characters as one: tokenizers do not keep these apart."""
    return "".join(unicodedata.normalize("NFKC", text.translate(_SPACE_OF_TOKENIZERS)).casefold().split())


def content_of(tokens: Sequence[str], log_probabilities: Sequence[float]) -> str:
    """The query's tokens with their log-probabilities (natural logarithm), as they are kept."""
    return json.dumps([list(pair) for pair in zip(tokens, log_probabilities, strict=True)], ensure_ascii=False)


def likelihood_of(content: str) -> float:
    """The mean log-probability of the tokens in what `content_of` wrote; NaN if there are none."""
    values = [log_probability for _, log_probability in json.loads(content)]
    return math.fsum(values) / len(values) if values else math.nan


def gecko_scores(owner: Ints, likelihoods: Floats, grades: Ints) -> Floats:
    """1/r + 1/s of each row, r its rank in its query by likelihood, s by grade; from near 0 to 2, the best first.

    Ranks are among the rows of the query that have both, NaN for the others: a likelihood that is no NaN, and a grade
    that is not -1. Rows that tie, as most do in four grades, share the mean of their ranks.
    """
    both: Bools = np.isfinite(likelihoods) & (grades >= 0)
    ranks = (mean_ranks(owner, values, both) for values in (likelihoods, grades.astype(np.float64)))
    return np.where(both, reciprocal_rank_fusion(ranks, len(owner), k=0), np.nan)
