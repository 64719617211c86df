#!/usr/bin/env bash
# Run tools/train.py in several processes, one per GPU, or on the CPU without any.
#
#   bash tools/dist_train.sh CONFIG GPUS [arguments of train.py]
#
# Environment: NNODES, NODE_RANK, MASTER_ADDR, PORT for several machines. On one machine
# without PORT a free port is taken.
# SIGTERM, SIGUSR1 and SIGHUP let the training save and end, here with status 75.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG GPUS [arguments of train.py]" >&2
    exit 2
fi
CONFIG=$1
GPUS=$2
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
DSEQ_MM_STATUS=$(mktemp)
export DSEQ_MM_STATUS
trap 'rm -f "$DSEQ_MM_STATUS"' EXIT

set -m # in a process group of its own: the signals come by us alone
PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}" \
    python -m dseq_mm.cli.torchrun \
    --nnodes="${NNODES:-1}" \
    "${PLACE[@]}" \
    --nproc_per_node="$GPUS" \
    "$TOOLS/train.py" "$CONFIG" --launcher pytorch "${@:3}" &
AGENT=$!
# To the training processes: their agent would kill them after 30 seconds.
trap 'pkill -USR1 -P "$AGENT" || kill -TERM "$AGENT" || true' TERM USR1 HUP
trap 'kill -INT "$AGENT" || true' INT
status=0
wait "$AGENT" || status=$?
while kill -0 "$AGENT" 2>/dev/null; do # a signal ended the wait, not the training
    status=0
    wait "$AGENT" || status=$?
done
case $(cat "$DSEQ_MM_STATUS") in 75*) status=75 ;; esac
exit "$status"
