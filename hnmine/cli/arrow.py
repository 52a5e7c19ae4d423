"""Arrow, told that nobody will hand it a pandas Series: a quarter of a second of every command."""

from __future__ import annotations

import sys


class _Hidden:
    """Makes pandas look as if it were not installed."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Nothing, and an error for pandas."""
        if fullname == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name="pandas")


def load_arrow() -> None:
    """Import Arrow and have it look for pandas, which it does once, at the first array, and find none.

    Only that search fails: whoever imports pandas gets it, and what needs it (`to_pandas`) makes Arrow look again.
    """
    if "pandas" in sys.modules:
        return
    hidden = _Hidden()
    sys.meta_path.insert(0, hidden)
    try:
        import pyarrow

        pyarrow.array([])
    finally:
        sys.meta_path.remove(hidden)
