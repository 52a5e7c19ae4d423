from __future__ import annotations

import subprocess
import sys


def test_importing_the_readers_loads_nothing_heavy() -> None:
    code = "import sys, hnmine.files.readers; print([m for m in ('numpy', 'pyarrow', 'torch') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
