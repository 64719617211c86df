#!/usr/bin/env bash
# Set up the environment with mmcv's operators if need be (they are compiled once), then
# check what fails soonest first: style, types, fast tests, slow tests.
#
#   bash tools/run_tests.sh [--fast] [pytest arguments]
#
# --fast leaves out the tests that are marked slow. With arguments of pytest, pytest is
# called once; --cov is one of them (how much of the package the tests run).
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=${DSEQ_VENV:-$ROOT/.venv}
cd "$ROOT"
DSEQ_VENV=$VENV bash tools/setup_env.sh --for-tests
# shellcheck disable=SC1091
. "$VENV/bin/activate"

# One thread per worker: the models of the tests are too small to share out.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
test_with=(python -m pytest)
if [ "$(env -u OMP_NUM_THREADS nproc)" -gt 1 ]; then  # nproc obeys that variable
    test_with+=(-n 2 --dist worksteal)
fi

# Style.
ruff check .
ruff format --check .
codespell
shellcheck tools/*.sh .ci/run
hadolint Dockerfile

# Types.
python -m mypy

# Tests.
if [ "${1-}" = --fast ]; then
    exec "${test_with[@]}" -m 'not slow' "${@:2}"
elif [ $# -gt 0 ]; then
    exec "${test_with[@]}" "$@"
fi
"${test_with[@]}" -m 'not slow'
exec "${test_with[@]}" -m slow
