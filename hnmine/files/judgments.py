"""Judgments that are no part of a collection: what a person knows and the miner was not told."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.errors import InputError, ProblemLog
from hnmine.hashing import digest_file

_BETWEEN = "\0"
"""Joins two ids into one text: no id holds it."""


class Judgments:
    """A qrels file, asked by pairs of ids. Memory grows with the file."""

    def __init__(self, given: str) -> None:
        """Read the file `given`; `InputError` with every bad line, or if nothing is judged."""
        from hnmine.files.readers.layout import existing_file
        from hnmine.files.readers.qrels import read_qrels

        problems = ProblemLog()
        file = existing_file(given)
        self.digest = digest_file(file.path)
        """SHA-256 of the file."""
        self.grades: dict[tuple[str, str], int] = {}
        for found in read_qrels(file, problems):
            key = (found.query_id, found.doc_id)
            self.grades[key] = max(found.grade, self.grades.get(key, found.grade))
        problems.raise_if_any(remedy="correct the qrels")
        if not self.grades:
            raise InputError(f"{given}: no judgment in it", expected="lines of query, document, grade")
        self._pairs = pa.array([_BETWEEN.join(key) for key in self.grades], pa.string())
        self._values = np.fromiter(self.grades.values(), np.int64, len(self.grades))

    def look_up(
        self, query_ids: pa.ChunkedArray, doc_ids: pa.ChunkedArray
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
        """(judged, grade) of each pair; the grade of an unjudged one is 0."""
        ids = (column.cast(pa.string()) for column in (query_ids, doc_ids))
        pairs = pc.binary_join_element_wise(*ids, _BETWEEN)
        place = pc.index_in(pairs, value_set=self._pairs)
        judged = np.asarray(pc.is_valid(place).to_numpy(zero_copy_only=False), np.bool_)
        grade = np.where(judged, self._values[place.fill_null(0).to_numpy()], 0)
        return judged, grade
