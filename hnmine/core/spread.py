"""How scores are spread: counts on a fixed grid, so that blocks add up and quantiles do not depend on the blocks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from hnmine.schema import Scale

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
_STEPS = {Scale.COSINE: 0.001, Scale.PROBABILITY: 0.001}


def grid_counts(values: npt.NDArray[np.floating], scale: Scale) -> dict[str, int]:
    """How many finite values lie at each grid point (0.001 for cosine and probability, 0.01 otherwise)."""
    step = _STEPS.get(scale, 0.01)
    points, counts = np.unique(np.round(values[np.isfinite(values)] / step).astype(np.int64), return_counts=True)
    return {str(point): int(count) for point, count in zip(points.tolist(), counts.tolist(), strict=True)}


def quantiles(counts: Mapping[str, int], scale: Scale) -> dict[str, float]:
    """Minimum, quartiles and maximum, and the mean, to the grid's precision; empty if there are no values."""
    if not counts:
        return {}
    step = _STEPS.get(scale, 0.01)
    points = np.array(sorted(int(point) for point in counts))
    weights = np.array([counts[str(point)] for point in points])
    cumulated = np.cumsum(weights)
    total = int(cumulated[-1])
    found = {
        f"p{int(100 * q)}": round(float(points[np.searchsorted(cumulated, max(1, np.ceil(q * total)))]) * step, 4)
        for q in QUANTILES
    }
    return {**found, "mean": round(float((points * weights).sum()) * step / total, 4), "count": total}
