"""What a block of candidates is made from: its queries and all that is known of them, and all documents.

A new document changes that of every block (each query is searched for again); queries that were added change that of
the last block alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnmine.engines.retriever import Retriever, Rows
from hnmine.files.artefact import Artefact, Json
from hnmine.files.collection import Collection, Qrels
from hnmine.files.tables import digest_table
from hnmine.hashing import digest_bytes, digest_json
from hnmine.stages.append import NOT_PARAMETERS
from hnmine.stages.runs import RunSource

_OF_DOCUMENTS = ("documents/", "texts/documents-")
_OF_QUERIES = ("vectors/queries-", "lengths/queries-", "queries/")


def documents_digest(collection: Collection) -> str:
    """Digest of all documents of a collection, and of how their texts are put together."""
    artefact = collection.artefact
    return digest_json([_hashes(artefact, *_OF_DOCUMENTS), artefact.plan["title_separator"]])


def index_digest(index: Artefact) -> str:
    """Digest of an index less what it holds of single queries, which is their block's matter.

    The digests of ready-made vectors, queries and all, are left out too: the index has the vectors themselves.
    """
    parameters = {name: value for name, value in index.plan.items() if name not in {*NOT_PARAMETERS, "vectors"}}
    hashes = _hashes(index)
    return digest_json([parameters, {n: h for n, h in hashes.items() if not n.startswith(_OF_QUERIES)}])


def queries_digest(
    collection: Collection,
    rows: Rows,
    columns: Sequence[str],
    retrievers: Sequence[Retriever],
    runs: Sequence[RunSource],
    depth: int,
) -> str:
    """Digest of queries: ids, texts, some metadata columns, judgments, and what indexes and runs hold of them."""
    found: list[Json | str] = [digest_table(collection.queries.take(rows))]
    found.append({name: digest_table(_column(collection, name, rows)) for name in columns})
    found += [_judgments(judged.of(rows)) for judged in (collection.qrels, collection.existing_negatives)]
    if len(collection.curated_negatives.query_rows):
        found.append(_judgments(collection.curated_negatives.of(rows)))
    found.append({retriever.name: retriever.queries_digest(rows) for retriever in retrievers})
    for run in runs:
        pairs, scores = run.of(rows, depth)
        found.append({run.name: _digest(pairs.owner, pairs.rows, scores)})
    return digest_json(found)


def _column(collection: Collection, name: str, rows: Rows) -> pa.Table:
    return pa.table({name: collection.column("queries", name).take(pa.array(rows))})


def _judgments(judged: Qrels) -> str:
    scores = () if judged.scores is None else (judged.scores,)
    return _digest(judged.query_rows, judged.doc_rows, judged.grades, *scores)


def _digest(*arrays: npt.NDArray[np.generic]) -> str:
    return digest_json([digest_bytes(array.tobytes()) for array in arrays])


def _hashes(artefact: Artefact, *prefixes: str) -> dict[str, str]:
    files = artefact.manifest["files"].items()
    return {name: entry["sha256"] for name, entry in files if not prefixes or name.startswith(prefixes)}
