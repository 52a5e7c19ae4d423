#!/usr/bin/env bash
# Builds the wheel, installs it without any extra into a bare environment outside this checkout, and does a small job
# there: what a user gets from `pip install hnmine` works. Usage: scripts/smoke_wheel.sh PYTHON (one that has `build`)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
python=$root/$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m build --wheel --outdir "$work/dist" . >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; exit 1; }
"$python" -m venv "$work/bare"
"$work/bare/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt "$work"/dist/*.whl
cp scripts/smoke.py "$work/smoke.py"
cd "$work"
export HNMINE_CACHE=$work/cache
bare/bin/python smoke.py bare/bin/hnmine
