#!/usr/bin/env bash
# Set up the environment if need be, check the style, run the tests.
#
#   bash tools/run_tests.sh [pytest arguments]
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

ruff check .
python -m mypy
exec python -m pytest "${parallel[@]}" "$@"
