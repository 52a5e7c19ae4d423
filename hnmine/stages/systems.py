"""What systems are worth in a small corpus, beside what they are worth in the whole one: what `downsample` tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hnmine.core.evaluation import changed_places, kendall_tau, newcomers_tau
from hnmine.files.artefact import Json
from hnmine.files.collection import Qrels, Rows
from hnmine.stages.rankings import Ranking

_DIGITS = 4
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Yardstick:
    """The judgments of some queries, by which rankings are measured, and how many queries and documents there are."""

    judged: Qrels
    queries: int
    documents: int

    def qualities(self, systems: Sequence[Ranking], among: Bools | None) -> list[float]:
        """nDCG@10 of each system, of the documents `among` alone."""
        return [one.quality(self.judged, self.queries, self.documents, among) for one in systems]

    def holes(self, systems: Sequence[Ranking], among: Bools | None) -> list[float]:
        """The share of each system's first ten, of the documents `among` alone, that has no judgment."""
        return [one.holes(self.judged, self.documents, among) for one in systems]


def measured(
    yardstick: Yardstick, pooled: Sequence[Ranking], others: Sequence[Ranking], small: Bools, alone: Sequence[Bools]
) -> Json:
    """What each system is worth in the whole corpus, in the `small` one, and in that of the others' pool.

    `alone[i]` is the corpus without what only `pooled[i]` brought. `systems`: nDCG@10 (`whole`, `small`, `left_out`)
    and the share of the first ten that nobody judged (`holes_whole`, `holes_small`). `kendall_tau`: to the order in the
    whole corpus. `changed_places`: for each system that is new to the pool the others before which it comes in one
    corpus and not in the other, by how much it leads there (`whole`, `small`); of `comparisons` in all.
    """
    systems = [*pooled, *others]
    whole, found = yardstick.qualities(systems, None), yardstick.qualities(systems, small)
    new = [yardstick.qualities(systems, corpus) for corpus in alone] + [found] * len(others)
    holes = {"holes_whole": yardstick.holes(systems, None), "holes_small": yardstick.holes(systems, small)}
    values = {"whole": whole, "small": found, "left_out": [new[n][n] for n in range(len(systems))], **holes}
    taus = {"small": kendall_tau(whole, found), "left_out": newcomers_tau(whole, new)}
    comparisons, changed = changed_places(whole, new)
    names = [one.name for one in systems]
    places: Json = {}
    for n, m in changed:
        leads = {"whole": whole[n] - whole[m], "small": new[n][n] - new[n][m]}
        places.setdefault(names[n], {})[names[m]] = {name: round(lead, _DIGITS) for name, lead in leads.items()}
    return {
        "systems": {name: {k: round(v[n], _DIGITS) for k, v in values.items()} for n, name in enumerate(names)},
        "kendall_tau": {name: round(tau, _DIGITS) for name, tau in taus.items() if tau is not None},
        "comparisons": comparisons,
        "changed_places": places,
    }


def brought(top: Rows, is_judged: Bools, others: Bools) -> Json:
    """How many documents a ranking's first k are, of these `judged`, and those that no judgment or other pool has."""
    return {
        "documents": len(top),
        "judged": int(is_judged[top].sum()),
        "alone": int((~others[top]).sum()),
    }
