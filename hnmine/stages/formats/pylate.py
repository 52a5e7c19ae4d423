"""`pylate`: PyLate's contrastive training."""

from __future__ import annotations

from hnmine.stages.formats.n_tuple import NTuple
from hnmine.stages.formats.text_columns import PYLATE


class PyLate(NTuple):
    """An n-tuple whose query is in a column that PyLate takes for queries: it tells them by name, the rest by place."""

    has_free_columns = False
    takes_weights = False
    reader = PYLATE
    anchor = "query"
