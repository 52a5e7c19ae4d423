"""What a judge is asked: a query, its known positives, and up to 25 of its candidates in an order that says nothing.

And, where the likelihood of the query is wanted, the query behind each of these candidates and positives.
"""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa

from hnmine.core.evidence import Bools, Ints
from hnmine.core.judging import MOST_CANDIDATES, answer_form
from hnmine.engines.asking import LikelihoodRequest, Request
from hnmine.engines.completions import completion_body
from hnmine.files.candidates import query_offsets
from hnmine.files.collection import Collection, rows_of
from hnmine.hashing import keyed_hashes
from hnmine.prompts import Prompt
from hnmine.schema import DOC_ID, IS_POSITIVE, QUERY_ID

MOST_POSITIVES = 3
"""Known positives of a query that are shown."""


class Questions:
    """Requests about the rows of a table of whole queries; texts are read as they are needed."""

    def __init__(self, collection: Collection, table: pa.Table, prompt: Prompt, seed: int) -> None:
        offsets = query_offsets(table[QUERY_ID])
        ids = table[QUERY_ID].take(pa.array(offsets[:-1]))
        self._collection = collection
        self._prompt = prompt
        self._seed = seed
        self._documents = rows_of(collection.doc_ids, table[DOC_ID])
        self._is_positive = np.asarray(table[IS_POSITIVE].to_numpy(zero_copy_only=False), np.bool_)
        self._doc_ids = table[DOC_ID]
        self._query_ids: list[str] = ids.to_pylist()
        self._queries = collection.query_texts(rows_of(collection.query_ids, ids))
        self._offsets = offsets
        self.count = len(self._query_ids)
        """How many queries there are."""
        self.owner: Ints = np.repeat(np.arange(self.count), np.diff(offsets))
        """The query number of each row."""

    def about(self, rows: Bools, model: str, turn: int) -> list[tuple[Ints, Request]]:
        """The requests about some of the rows, each with its rows in the order of their numbers in it.

        The order is a keyed draw, another one each `turn`: models prefer what comes first.
        """
        return [(piece, self._request(query, piece, model, turn)) for query, piece in self._cut(rows, turn)]

    def likelihoods(self, rows: Bools, model: str, prompt: Prompt) -> list[tuple[Ints, Request]]:
        """A request for each of some rows, and for each positive that is shown beside them, in the table's order."""
        found = list[tuple[Ints, Request]]()
        for query in np.unique(self.owner[rows]).tolist():
            start, stop = self._offsets[query], self._offsets[query + 1]
            shown = np.union1d(start + np.flatnonzero(rows[start:stop]), self._positives(query))
            text = prompt.cut(self._queries[query].strip())
            for row, document in zip(shown[:, None], self._texts(shown), strict=True):
                body = completion_body(model, prompt.before_query(prompt.cut(document)) + text, prompt.request)
                found.append((row, LikelihoodRequest(body=body, query=text, behind=prompt.between)))
        return found

    def _positives(self, query: int) -> Ints:
        """The rows of a query's positives that are shown."""
        start, stop = self._offsets[query], self._offsets[query + 1]
        return np.asarray(start + np.flatnonzero(self._is_positive[start:stop])[:MOST_POSITIVES], np.int64)

    def _cut(self, rows: Bools, turn: int) -> list[tuple[int, Ints]]:
        pieces = list[tuple[int, Ints]]()
        for query, (start, stop) in enumerate(itertools.pairwise(self._offsets.tolist())):
            own = start + np.flatnonzero(rows[start:stop])
            if len(own):
                ids = self._doc_ids.take(pa.array(own)).to_pylist()
                draws = keyed_hashes(self._seed, "judge", str(turn), self._query_ids[query], last=ids)
                own = own[np.argsort(np.array(draws, np.uint64), kind="stable")]
                pieces += [(query, piece) for piece in np.array_split(own, -(-len(own) // MOST_CANDIDATES))]
        return pieces

    def _request(self, query: int, rows: Ints, model: str, turn: int) -> Request:
        messages = self._prompt.messages(
            query=self._prompt.cut(self._queries[query]),
            positives=self._prompt.passages(self._texts(self._positives(query))) or "(none)",
            candidates=self._prompt.passages(self._texts(rows)),
        )
        body = {"model": model, "messages": messages, "response_format": answer_form(), **self._prompt.request}
        return Request(body=body, turn=turn)

    def _texts(self, rows: Ints) -> list[str]:
        return self._collection.document_texts(self._documents[rows])
