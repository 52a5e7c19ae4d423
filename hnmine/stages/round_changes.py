"""What changed between two rounds of mining: the negatives chosen now beside those of the round before.

Both are seen through the evidence of now: how hard the earlier negatives still are is their gap under the new model.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from hnmine.core.decide import Decisions
from hnmine.core.evidence import Evidence, Floats
from hnmine.files.artefact import Json
from hnmine.files.candidates import among
from hnmine.schema import PREVIOUS, Verdict

_MILLION = 1_000_000
"""Probabilities are added up in millionths: whole numbers, so that the sum does not depend on the order of blocks."""


def changes(
    table: pa.Table, evidence: Evidence, decisions: Decisions, gap: Floats, p_false_negative: Floats
) -> tuple[Json, Floats]:
    """Counters of a block, and the gaps of its earlier negatives. Queries that the earlier round did not have are left
    out. `gap` (anchor minus score) and `p_false_negative` have an entry a row.
    """
    had_row = np.asarray(table[PREVIOUS].is_valid().to_numpy(), np.bool_)
    is_known = np.bincount(evidence.owner[had_row], minlength=len(evidence.offsets) - 1)[evidence.owner] > 0
    was = among(table[PREVIOUS].fill_null(""), Verdict.NEGATIVE.value)
    now = (decisions.verdict == Verdict.NEGATIVE.value) & is_known
    chosen = {"now": now, "before": was}
    return {
        "kept": int((was & now).sum()),
        "new": int((now & ~was).sum()),
        "gone": decisions.reason.counts(was & ~now),
        "estimated": {name: int(np.isfinite(p_false_negative[rows]).sum()) for name, rows in chosen.items()},
        "p_millionths": {
            name: int(np.round(np.nan_to_num(p_false_negative[rows]) * _MILLION).astype(np.int64).sum())
            for name, rows in chosen.items()
        },
    }, gap[was]


def summary(counted: Json) -> Json:
    """Of all blocks' counters: the Jaccard similarity of the two rounds' negatives, why earlier ones are gone (by
    reason; `not-needed` were outranked), and the mean estimated probability of a false negative, now and before.
    """
    gone = counted["gone"]
    every = counted["kept"] + counted["new"] + sum(gone.values())
    sums, rows = counted["p_millionths"], counted["estimated"]
    return {
        "jaccard": round(counted["kept"] / every, 4) if every else 1.0,
        "kept": counted["kept"],
        "new": counted["new"],
        "gone": gone,
        "p_false_negative": {name: round(sums[name] / _MILLION / rows[name], 4) for name in rows if rows[name]},
    }
