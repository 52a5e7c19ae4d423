"""Exact search for inner products in bounded memory: a chunk of documents at a time, a running top k.

FAISS on processors; on a GPU a matrix product and `topk` of torch. Both only find: the pair kernel scores, so what is
found is the same.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from hnmine.engines.models import import_torch, missing_extra
from hnmine.engines.retriever import Rows, Scores
from hnmine.engines.vectors import Vectors
from hnmine.errors import MissingDependencyError

_SMALLEST_BATCH = 20  # below it FAISS uses another kernel, whose last bits differ

Chunks = Iterable[tuple[Rows, npt.NDArray[np.floating[Any]]]]


def nearest(wanted: Vectors, chunks: Chunks, k: int) -> tuple[Rows, Scores]:
    """The k rows with the largest inner product: (rows, scores) of shape [len(wanted), k], any order, -1 = nothing.

    `chunks` are (rows, vectors), of any number of rows at a time; vectors of float16 only where `gpu` names a device.
    """
    device = gpu()
    return by_faiss(wanted, chunks, k) if device is None else by_torch(wanted, chunks, k, device)


@cache
def gpu() -> str | None:
    """torch's name of the GPU, if there is one that torch can use."""
    try:
        ctypes.CDLL("libcuda.so.1")  # to import torch takes seconds, which is too much for a no
        return "cuda" if import_torch().cuda.is_available() else None
    except (OSError, MissingDependencyError):
        return None


def by_faiss(wanted: Vectors, chunks: Chunks, k: int) -> tuple[Rows, Scores]:
    """`nearest` on processors."""
    faiss = import_faiss()
    count = len(wanted)
    missing = max(0, _SMALLEST_BATCH - count)
    if missing:
        wanted = np.concatenate([wanted, np.zeros((missing, wanted.shape[1]), np.float32)])
    rows = np.full((count, k), -1, np.int64)
    scores = np.full((count, k), -np.inf, np.float32)
    for chunk_rows, chunk in chunks:
        found_scores, found = faiss.knn(wanted, chunk, min(k, len(chunk)), metric=faiss.METRIC_INNER_PRODUCT)
        found = np.where(found < 0, -1, chunk_rows[found])[:count]
        rows = np.concatenate([rows, found], axis=1)
        scores = np.concatenate([scores, found_scores[:count]], axis=1)
        if rows.shape[1] > k:
            kept = np.argpartition(-scores, k - 1, axis=1)[:, :k]
            rows, scores = np.take_along_axis(rows, kept, 1), np.take_along_axis(scores, kept, 1)
    return rows, scores


def by_torch(wanted: Vectors, chunks: Chunks, k: int, device: str) -> tuple[Rows, Scores]:
    """`nearest` on any device of torch's."""
    torch = import_torch()
    queries = torch.from_numpy(np.ascontiguousarray(wanted)).to(device)
    rows = torch.full((len(wanted), k), -1, dtype=torch.int64, device=device)
    scores = torch.full((len(wanted), k), -torch.inf, device=device)
    for chunk_rows, chunk in chunks:
        vectors = torch.from_numpy(chunk).to(device).float()  # half the bytes travel, if half is what is stored
        found_scores, found = (queries @ vectors.T).topk(min(k, len(chunk)), dim=1)
        scores = torch.cat([scores, found_scores], dim=1)
        rows = torch.cat([rows, torch.from_numpy(chunk_rows).to(device)[found]], dim=1)
        scores, kept = scores.topk(k, dim=1)
        rows = rows.gather(1, kept)
    return rows.cpu().numpy(), scores.cpu().numpy()


def import_faiss() -> Any:
    """faiss; raises `MissingDependencyError` that names the extra."""
    try:
        import faiss
    except ImportError as error:
        raise missing_extra("faiss", error) from None
    return faiss
