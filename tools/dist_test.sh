#!/usr/bin/env bash
# Run tools/test.py in several processes, one per GPU, or on the CPU without any.
#
#   bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of test.py]
#
# Environment: NNODES, NODE_RANK, MASTER_ADDR, PORT for several machines. On one machine
# without PORT a free port is taken.
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [arguments of test.py]" >&2
    exit 2
fi
CONFIG=$1
CHECKPOINT=$2
GPUS=$3
if ! [[ $GPUS =~ ^[1-9][0-9]*$ ]]; then
    echo "$0: error: GPUS is a number of processes from 1, not '$GPUS'" >&2
    exit 2
fi
for name in NNODES PORT; do
    if [ -n "${!name:-}" ] && ! [[ ${!name} =~ ^[1-9][0-9]*$ ]]; then
        echo "$0: error: $name is a number from 1, not '${!name}'" >&2
        exit 2
    fi
done
if [ "${NNODES:-1}" = 1 ] && [ -z "${PORT:-}" ]; then
    PLACE=(--rdzv_backend=c10d --rdzv_endpoint=127.0.0.1:0 --local_addr=127.0.0.1)
else
    PLACE=(
        --node_rank="${NODE_RANK:-0}"
        --master_addr="${MASTER_ADDR:-127.0.0.1}"
        --master_port="${PORT:-29500}"
    )
fi
TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}" \
    exec python -m dseq_mm.cli.torchrun \
    --nnodes="${NNODES:-1}" \
    "${PLACE[@]}" \
    --nproc_per_node="$GPUS" \
    "$TOOLS/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "${@:4}"
