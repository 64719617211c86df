#!/usr/bin/env bash
# One command from an empty clone to a measured, exported backbone and a picture.
#
#   bash tools/quickstart.sh [data folder] [work folder]
#
# Run again it goes on where it stopped: what is installed, made or trained is reused.
set -euo pipefail

if [ $# -gt 2 ] || [[ "${1:-}${2:-}" == -* ]]; then
    sed -n '2,6s/^# \{0,1\}//p' "$0"
    exit 2
fi
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=$(realpath -m "${DSEQ_VENV:-$ROOT/.venv}")
DATA=$(realpath -m "${1:-$ROOT/data/digitscenes}")
WORK=$(realpath -m "${2:-$ROOT/work_dirs/quickstart}")
CONFIG=configs/dseq_digitscenes_20e.py
cd "$ROOT"
DSEQ_VENV=$VENV bash tools/setup_env.sh
# shellcheck disable=SC1091
. "$VENV/bin/activate"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

say() { printf '[quickstart] %s\n' "$*"; }
last() { echo "$WORK/$(basename "$(cat "$WORK/last_checkpoint")")"; } # once a whole path
options=(--cfg-options)
for key in train_dataloader.dataset.dataset custom_hooks.0.{bank,query}.dataset; do
    options+=("$key.data_root=$DATA")
done
measure() { # a name for the line, then arguments of tools/knn.py
    local name=$1 numbers
    numbers=$(python tools/knn.py "$CONFIG" "${@:2}" --linear "${options[@]}")
    awk -v name="$name" '
        BEGIN { printf "%-37s", name }
        /^(knn|linear)_last4? |^rank_me / { printf "  %s %s", $1, $2 }
        END { print "" }' <<<"$numbers"
}

say "1/5 DigitScenes: handwritten digits on textured grounds, made here -> $DATA"
python tools/make_digitscenes.py "$DATA"

say '2/5 pre-training a small ViT with DSeq-JEPA, without labels (minutes on one core)'
python tools/train.py "$CONFIG" --work-dir "$WORK" --resume auto "${options[@]}"

say '3/5 measuring: top-1 % of kNN and of a linear probe on frozen features'
measure 'raw pixels' --raw-pixels
measure 'the same network before training' --init
measure 'after DSeq-JEPA (target encoder)' "$(last)" --out "$WORK/knn.json"

say '4/5 exporting the backbone'
python tools/export_backbone.py "$(last)" "$WORK/backbone.pth"

say '5/5 drawing what it finds discriminative, and in what order'
python tools/visualize_regions.py "$CONFIG" "$(last)" "$WORK/regions.png" "${options[@]}"

python tools/report.py "$WORK" --images "$DATA/digits/val"

say "done: $WORK/backbone.pth, $WORK/report.html, $WORK/regions.png, $WORK/knn.json"
