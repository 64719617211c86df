#!/usr/bin/env bash
# Set up the environment if need be, check style and types, run the tests.
#
#   bash tools/run_tests.sh                       everything, the fast checks first
#   bash tools/run_tests.sh --fast                style, types and the fast tests
#   bash tools/run_tests.sh [pytest arguments]    style, types and these tests
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=${DSEQ_VENV:-$ROOT/.venv}
cd "$ROOT"
DSEQ_VENV=$VENV bash tools/setup_env.sh
# shellcheck disable=SC1091
. "$VENV/bin/activate"

# One thread per worker: the models of the tests are too small to share out.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
parallel=()
if [ "$(env -u OMP_NUM_THREADS nproc)" -gt 1 ]; then  # nproc obeys that variable
    parallel=(-n 2 --dist worksteal)
fi
tests=(python -m pytest "${parallel[@]}")

ruff check .
ruff format --check --quiet .
codespell
python -m mypy
if [ $# -gt 0 ] && [ "$1" != --fast ]; then
    exec "${tests[@]}" "$@"
fi
"${tests[@]}" -m 'not slow' --cov --durations 5 --durations-min 3
if [ $# -eq 0 ]; then
    "${tests[@]}" -m slow
fi
