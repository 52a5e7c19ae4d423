"""Does the audit name passages that are planted to be found by everybody, and does it keep silent otherwise?

    python scripts/evaluate_hubs.py RUN ...

RUN is a run directory with a dense index. Half of its queries, a keyed draw, are the attacker's: their vectors are
clustered (k-means), and a passage is planted at the centre of each cluster, which is where GASLITE (arXiv 2412.20953)
tries to get with words; nobody gets nearer to all of a cluster. For growing numbers of passages: in what share of the
first tens of the other queries one of them stands, how many of the passages the audit names as hubs, and how many
documents of the collection it names beside them. One JSON object a run and number on standard output.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from hnmine.core import kmeans
from hnmine.core.hubs import hubs
from hnmine.engines.vectors import Vectors, VectorStore
from hnmine.files.artefact import Artefact
from hnmine.files.candidates import keyed_draws
from hnmine.files.collection import Collection
from hnmine.schema import Kind
from hnmine.stages.places import artefacts_of

PASSAGES = (0, 1, 2, 5, 10, 20)
FIRST = 10
_BLOCK = 1_024


def first_tens(queries: Vectors, documents: Vectors, known: dict[int, list[int]]) -> np.ndarray:
    """The first ten documents of each query; a known positive leaves its place empty (-1), as in the audit."""
    found = []
    for start in range(0, len(queries), _BLOCK):
        scores = queries[start : start + _BLOCK] @ documents.T
        best = np.argpartition(-scores, FIRST, axis=1)[:, :FIRST]
        for row, places in enumerate(best):
            places[np.isin(places, known.get(start + row, []))] = -1
        found.append(best)
    return np.concatenate(found)


def main(runs: list[str]) -> None:
    """Measure every run."""
    for run in runs:
        artefacts = [Artefact.open(path) for path in artefacts_of(Path(run))]
        collection = Collection(next(a for a in artefacts if a.kind is Kind.COLLECTION))
        index = next(a for a in artefacts if a.kind is Kind.DENSE_INDEX)
        stores = [VectorStore(index.files(f"vectors/{side}-", ".npy")) for side in ("documents", "queries")]
        documents, queries = (store.read(0, len(store)) for store in stores)
        known: dict[int, list[int]] = {}
        for query, document in zip(collection.qrels.query_rows, collection.qrels.doc_rows, strict=True):
            known.setdefault(int(query), []).append(int(document))
        order = np.argsort(keyed_draws(collection.query_ids, 0, "attacker"), kind="stable")
        seen, others = order[: len(order) // 2], order[len(order) // 2 :]
        for count in PASSAGES:
            planted = documents[:0]
            if count:
                centres = kmeans.centroids(queries[seen], count)
                planted = centres / np.linalg.norm(centres, axis=1, keepdims=True)
            tens = first_tens(queries, np.concatenate([documents, planted]), known)
            counts = np.bincount(tens[tens >= 0], minlength=len(documents) + count)
            is_hub, expected = hubs(counts)
            found = {
                "run": Path(run).name,
                "queries": len(queries),
                "passages": count,
                "in_first_tens_of_others": round(float((tens[others] >= len(documents)).any(axis=1).mean()), 3),
                "too_many": expected.most if expected else None,
                "named": int(is_hub[len(documents) :].sum()),
                "others_named": int(is_hub[: len(documents)].sum()),
            }
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
