"""`pylate-kd`: PyLate's distillation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hnmine.errors import ProblemLog
from hnmine.files.readers.examples import Example
from hnmine.stages.formats.by_id import Lookup
from hnmine.stages.formats.ids import Ids


class PyLateDistillation(Ids):
    """Ids with the judge's scores, the positive first: PyLate keeps the first `n_ways`, and gives each query as many.

    A document whose id has no text would silently be the empty text.
    """

    needs_scores = True
    takes_margins = False

    def lookups(self, folder: Path, problems: ProblemLog) -> tuple[Lookup, Lookup]:
        """The texts, from the columns that PyLate reads by name."""
        return (
            Lookup(folder, "queries", problems, ("query_id", "text")),
            Lookup(folder, "documents", problems, ("document_id", "text")),
        )

    def examples(self, place: Path, problems: ProblemLog) -> Iterator[Example]:
        """As `ids`; a row without scores is a problem too."""
        for example in super().examples(place, problems):
            if example.positives[0].score is None:
                problems.add("no scores", example.where, example.query_id or "")
            else:
                yield example
