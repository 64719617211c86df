#!/usr/bin/env bash
# Run tools/train.py under Slurm, one process per GPU.
#
#   bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [arguments of train.py]
#
# Slurm announces the end of the time with SIGUSR1, preemption with SIGTERM: the training
# is saved, ends with status 75, and is queued again, unless it was cancelled. It goes on
# where it stopped, since --resume auto is among its arguments from the start.
#
# Environment: GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (5), SRUN_ARGS; PORT, which
# follows from the number of the job if it is not set; GRACE (120), the seconds before
# the end of the time limit at which the training is to be saved.
set -euo pipefail

if [ $# -lt 4 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG WORK_DIR [arguments of train.py]" >&2
    exit 2
fi
TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-8}
INTERRUPTED=75
for name in GPUS GPUS_PER_NODE; do
    if ! [[ ${!name} =~ ^[1-9][0-9]*$ ]]; then
        echo "$0: error: $name is a number from 1, not '${!name}'" >&2
        exit 2
    fi
done
# one port for all processes of this run, and another one for the next
export MASTER_PORT=${PORT:-${MASTER_PORT:-$((20000 + ${SLURM_JOB_ID:-$$} % 20000))}}
mkdir -p "$4"
export DSEQ_MM_STATUS=$4/.status # srun's own is that of the last task to be killed

resume=(--resume auto)
for argument in "${@:5}"; do
    case $argument in --resume | --resume=*) resume=() ;; esac # the first time, as asked
done
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
    resume=(--resume auto)
fi

train() {
    # shellcheck disable=SC2086  # SRUN_ARGS holds several words
    PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}" \
        srun -p "$1" \
        --job-name="$2" \
        --gres=gpu:"$GPUS_PER_NODE" \
        --ntasks="$GPUS" \
        --ntasks-per-node="$GPUS_PER_NODE" \
        --cpus-per-task="${CPUS_PER_TASK:-5}" \
        --kill-on-bad-exit=1 \
        --signal=USR1@"${GRACE:-120}" \
        ${SRUN_ARGS:-} \
        python -u "$TOOLS/train.py" "$3" --work-dir="$4" --launcher slurm \
        "${@:5}" ${resume[@]+"${resume[@]}"}
}

stopped=
trap : USR1 # for the training; Slurm sends it to it, too
trap 'stopped=1' TERM
while true; do
    rm -f "$DSEQ_MM_STATUS"
    status=0
    train "$@" || status=$?
    code='' name=''
    if [ -f "$DSEQ_MM_STATUS" ]; then
        read -r code name <"$DSEQ_MM_STATUS" || true # it has no end of line
    fi
    [ "$code" = $INTERRUPTED ] || exit "$status"
    if [ -n "${SLURM_JOB_ID:-}" ]; then # within a batch job: the whole job again
        # SIGTERM is scancel's, too: what the user has cancelled stays so
        if [ "$name" = SIGUSR1 ] ||
            scontrol show job "$SLURM_JOB_ID" | grep -q 'JobState=PREEMPTED'; then
            echo "interrupted and saved: job $SLURM_JOB_ID is queued again"
            scontrol requeue "$SLURM_JOB_ID"
        fi
        exit $INTERRUPTED
    fi
    if [ "$name" != SIGUSR1 ] || [ -n "$stopped" ]; then
        echo 'interrupted and saved'
        exit $INTERRUPTED
    fi
    echo 'interrupted and saved: queued again'
    resume=(--resume auto)
done
