"""Learn the weights of `hnmine/core/guard.py` from fully judged collections, and print them as they stand there.

    python scripts/fit_guard.py CANDIDATES=QRELS [CANDIDATES=QRELS ...]

CANDIDATES (a run directory or candidates) was mined with few known positives a query; QRELS is the full judgment.
"""

from __future__ import annotations

import sys
from dataclasses import asdict

from guard_study import learn, only, read

from hnmine.core import guard


def main(specs: list[str]) -> None:
    """One set of weights for each set of kinds of retrievers that a table can have."""
    studies = [read(spec) for spec in specs]
    worlds = {f"{guard.DENSE}+{guard.LEXICAL}": studies}
    worlds |= {kind: [only(study, kind) for study in studies] for kind in (guard.DENSE, guard.LEXICAL)}
    for kinds, seen in worlds.items():
        print(kinds)
        for name, value in asdict(learn(seen)).items():
            rounded = {k: round(v, 3) for k, v in value.items()} if isinstance(value, dict) else round(value, 3)
            print(f"    {name:<13} {rounded}")


if __name__ == "__main__":
    main(sys.argv[1:])
