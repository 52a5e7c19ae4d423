"""Learn the weights of `hnmine/core/guard.py` from fully judged collections, and print them.

    python scripts/fit_guard.py CANDIDATES=QRELS [CANDIDATES=QRELS ...]

CANDIDATES (a run directory or candidates) was mined with few known positives a query; QRELS is the full judgment.
"""

from __future__ import annotations

import sys

from guard_study import learn, read

from hnmine.core import guard


def main(specs: list[str]) -> None:
    """Fit twice: the estimate of each table's multipliers uses the head's precision, which the first fit finds."""
    studies = [read(spec) for spec in specs]
    found = learn(studies)
    found = learn(studies, found)
    print("place        ", {k: round(v, 3) for k, v in found.place.items()})
    print("sim_place    ", round(found.sim_place, 3))
    print("sim_level    ", round(found.sim_level, 3))
    print("known_place  ", round(found.known_place, 3))
    print("alone        ", {k: round(v, 3) for k, v in found.alone.items()})
    print("top_precision", round(found.top_precision, 3))
    for study in studies:
        state = guard.fit([study.terms], found)
        print(study.name, state)


if __name__ == "__main__":
    main(sys.argv[1:])
