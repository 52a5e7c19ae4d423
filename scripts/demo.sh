#!/usr/bin/env bash
# The main job on real input: hard negatives for code search over the running Python's standard library, with a real
# MiniLM. A keyed fifth of the collection, so that two plain cores need under three minutes; `hnmine run stdlib` is
# the whole. Run again, it finds everything done. The transcript in README.md is this script's. Usage: scripts/demo.sh [path of the hnmine command]
set -euo pipefail
hnmine=${1:-hnmine}
fraction=0.2

show() {
    printf '\n$ hnmine %s\n' "$*"
    "$hnmine" "$@"
}

echo "A keyed sample: $fraction of the functions and of the docstrings of Python's standard library."
show run stdlib --sample "$fraction" -o demo/triplets.parquet
show inspect demo/triplets.hnmine --sample 3
printf '\nDeciding again costs no second search: a wider margin, five negatives, another layout.\n'
show filter demo/triplets.hnmine --relative-margin 0.15 -n 5 -o demo/strict
show export demo/strict --format n-tuple -o demo/strict.parquet
printf '\nThe whole collection: hnmine run stdlib -o triplets.parquet\n'
