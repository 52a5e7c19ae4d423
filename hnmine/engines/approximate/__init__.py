"""Approximate search: structures over stored vectors that find most of the nearest documents for much less work.

They only find. What they find is scored from the stored vectors, and how far they look is calibrated
(`hnmine.core.recall`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hnmine.engines.approximate.base import Approximate
from hnmine.engines.approximate.codes import BinaryCodes, Int8Codes
from hnmine.engines.approximate.graph import Graph
from hnmine.engines.approximate.lists import Lists, ProductLists
from hnmine.options import Ann

_KINDS: dict[Ann, type[Approximate]] = {
    Ann.IVF: Lists,
    Ann.IVF_PQ: ProductLists,
    Ann.HNSW: Graph,
    Ann.INT8: Int8Codes,
    Ann.BINARY: BinaryCodes,
}


def kind_of(ann: Ann) -> type[Approximate]:
    """The class of a kind of approximate search."""
    return _KINDS[ann]


def open_approximate(facts: dict[str, Any], folder: Path) -> Approximate:
    """The structure in `folder` that was built by the `facts` of a plan; its arrays are memory-mapped."""
    return kind_of(Ann(facts["kind"]))(facts, folder)
