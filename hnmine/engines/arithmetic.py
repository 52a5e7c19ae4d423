"""What moves floating point in NumPy: recorded in plans, so that a worker that would round otherwise refuses."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np


def numpy_facts() -> dict[str, Any]:
    """NumPy's version, the processor's architecture, and the vector instructions NumPy uses on this machine.

    Thread counts are not among them: no kernel of hnmine's own sums across threads.
    """
    config: Any = np.show_config(mode="dicts")
    found = config.get("SIMD Extensions", {}).get("found", []) if isinstance(config, dict) else []
    return {"numpy": np.__version__, "architecture": platform.machine(), "simd": sorted(found)}
