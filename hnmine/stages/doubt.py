"""Which candidates may be false negatives: what `score --judge` asks about."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from hnmine.core.evidence import Bools, Floats, Ints
from hnmine.core.grouped import keys_in, place_within, repeats
from hnmine.core.judging import parse_window
from hnmine.files.artefact import Artefact
from hnmine.files.candidates import CandidatesTable
from hnmine.files.collection import Collection
from hnmine.hashing import digest_json
from hnmine.options import FilterOptions, JudgeOptions, Relabel
from hnmine.stages.decider import Decider
from hnmine.stages.ranking import default_rank_by


class Doubt:
    """The guard's estimate over a table of candidates (`p_false_negative` of `filter`), and who is in doubt by it."""

    def __init__(self, collection: Collection, candidates: Artefact, options: JudgeOptions) -> None:
        self._low, self._high = parse_window(options.judge_window)
        self._top = options.judge_top
        rank_by = default_rank_by(CandidatesTable(candidates).scores)
        self._filter = Decider(collection, candidates, FilterOptions(judge_by=rank_by, relabel=Relabel.OFF))

    @property
    def digest(self) -> str:
        """Digest of what the guard learned from the table."""
        return digest_json(self._filter.fitted)

    def of(self, table: pa.Table, queries: Ints) -> tuple[Bools, Floats]:
        """(which rows are to be judged, each row's probability) of the queries at the given positions.

        Of each query the likeliest of the window, as many as `judge_top`. Known ones are not, nor copies of a positive,
        of the query or of a better-placed candidate. Negatives that were written are taken for true, with probability
        0, and nobody knows: a window that begins at 0 has them.
        """
        ordered, order = self._filter.in_order(table)
        evidence = self._filter.evidence(ordered, queries)
        p = self._filter.guard.probability(evidence)
        owner, positive, keys = evidence.owner, evidence.is_positive, evidence.text_key
        known = (evidence.is_certain & ~evidence.is_curated) | evidence.is_low_grade
        asked = (p >= self._low) & (p <= self._high) & ~positive & ~known
        asked &= ~keys_in(owner, keys, owner[positive], keys[positive]) & ~repeats(owner, keys)
        asked &= keys != evidence.query_key[owner]
        rows = np.flatnonzero(asked)
        rows = rows[np.lexsort((rows, -p[rows], owner[rows]))]
        asked[rows] = place_within(owner[rows], np.ones(len(rows), np.bool_)) < self._top
        place = np.argsort(order)
        return asked[place], p[place]
