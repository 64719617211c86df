#!/usr/bin/env bash
# Install the package's wheel beside other versions of Python, PyTorch and OpenMMLab, and
# run the fast tests and one training there.
#
#   bash tools/test_matrix.sh [NAME ...]
#
# Names and versions are in the table below; all of them without names. Each environment
# takes some 6 GB and minutes, and is removed when it is done; logs and the table stay in
# work_dirs/matrix. An interpreter that is not there is a row of its own, not a failure.
#
# Environment:
#   KEEP=1      do not remove the environments
#   DSEQ_WHEEL  a wheel to install in place of one made of this folder
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
OUT=$ROOT/work_dirs/matrix
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PROGRESS_BAR=off
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

# name, Python, torch, torchvision, numpy, distribution of OpenMMLab
TABLE='
onedl-py311      3.11 2.11.0 0.26.0 2.2.6  onedl
onedl-py310-old  3.10 2.6.0  0.21.0 2.2.6  onedl
onedl-py312-new  3.12 2.14.1 0.29.1 2.2.6  onedl
upstream-py310   3.10 2.6.0  0.21.0 1.26.4 upstream
upstream-py311   3.11 2.11.0 0.26.0 2.2.6  upstream
upstream-py312   3.12 2.11.0 0.26.0 2.2.6  upstream
lite-py311       3.11 2.6.0  0.21.0 1.26.4 lite
'
ONEDL='onedl-mmengine==0.10.12 onedl-mmpretrain==1.3.6 onedl-mmdetection==3.5.1
onedl-mmsegmentation==1.4.2'
UPSTREAM='mmengine==0.10.7 mmpretrain==1.2.0 mmdet==3.3.0 mmsegmentation==1.2.2'
# what that MMSegmentation imports without requiring it, as the doctor says
UNASKED='ftfy regex'

say() { echo "[matrix] $*"; }

# Before torch: mmcv is built without operators then, in seconds.
install_mmcv() {
    case $1 in
    onedl) pip install --no-build-isolation --no-cache-dir --no-deps onedl-mmcv==2.3.6 ;;
    upstream) pip install --no-build-isolation --no-cache-dir --no-deps mmcv==2.1.0 ;;
    lite) pip install --no-deps mmcv-lite==2.1.0 ;;
    esac
}

install_stack() {
    local torch=$1 torchvision=$2 numpy=$3 kind=$4 names=$UPSTREAM opencv=4.12.0.88
    [ "$kind" = onedl ] && names=$ONEDL
    [[ $numpy == 1.* ]] && opencv=4.11.0.86 # later ones ask for numpy 2
    pip install -r "$ROOT/requirements/build.txt"
    install_mmcv "$kind"
    # shellcheck disable=SC2086
    pip install --no-build-isolation "torch==$torch" "torchvision==$torchvision" \
        "numpy==$numpy" "opencv-python==$opencv" "opencv-python-headless==$opencv" $names
    pip install --force-reinstall --no-deps "opencv-python-headless==$opencv"
    pip freeze >before.txt
    pip install "${WHEEL}[digits]"
    pip freeze | grep -v '^dseq[-_]mm' >after.txt
    asks_for_unasked "$kind"
    # shellcheck disable=SC2086
    pip install "torch==$torch" "numpy==$numpy" -r "$ROOT/requirements/tests.txt" \
        -r "$ROOT/requirements/plots.txt" $UNASKED
    # what the wheel changed of what was there
    grep -vxFf after.txt before.txt >changed.txt || true
}

# Said to a user before those were installed: the doctor must name them.
asks_for_unasked() {
    [ "$1" = onedl ] || dseq-mm doctor | grep -F "pip install $UNASKED"
}

# In an empty folder, from the wheel alone.
train() {
    local command='dseq-mm train dseq_digitscenes_20e --work-dir run'
    dseq-mm doctor
    dseq-mm make-digitscenes
    $command --cfg-options train_cfg.max_epochs=1
    $command --cfg-options train_cfg.max_epochs=2 --resume --insist
    dseq-mm export run/epoch_2.pth backbone.pth
}

run_tests() {
    (cd "$ROOT" && python -m pytest -n 2 --dist worksteal -q -p no:cacheprovider \
        -m 'not slow')
}

# step LOG COMMAND...: ok with the seconds, or failed
step() {
    local log=$1 start=$SECONDS status
    set +e
    (set -e && "${@:2}") >"$log" 2>&1 # within an `if`, -e would not count
    status=$?
    if [ $status -eq 0 ]; then
        echo "ok ($((SECONDS - start)) s)"
    else
        echo "failed ($log)"
    fi
}

one() {
    local name=$1 python=$2 folder=$OUT/$1 venv=$OUT/$1/venv interpreter install check
    mkdir -p "$folder" && cd "$folder"
    rm -rf run data
    interpreter=python$python
    if ! "$interpreter" -c '' 2>/dev/null; then
        row "$name" "$python" "there is no $interpreter here"
        return
    fi
    [ -x "$venv/bin/python" ] || "$interpreter" -m venv --clear "$venv"
    # shellcheck disable=SC1091
    . "$venv/bin/activate"
    install=$(step install.log install_stack "${@:3}")
    if [[ $install == ok* ]]; then
        check=$(pip check 2>&1 | tr '\n' ' ')
        row "$name" "$(python -V)" "torch $3, numpy $5, $6" "$install" \
            "$(paste -sd' ' changed.txt)" "$check" \
            "$(step train.log train)" "$(step tests.log run_tests)" \
            "$(tail -1 tests.log | tr -d '=')"
    else
        row "$name" "$(python -V)" "torch $3, numpy $5, $6" "$install"
    fi
    deactivate
    [ "${KEEP:-}" ] || rm -rf "$venv"
}

row() { (IFS='|' && echo "|${*/#/ } |") | tee -a "$OUT/table.md"; }

mkdir -p "$OUT"
if [ -z "${DSEQ_WHEEL:-}" ]; then
    python3 -m venv "$OUT/build" && "$OUT/build/bin/pip" install -q -r \
        "$ROOT/requirements/build.txt"
    rm -rf "$OUT/wheel"
    "$OUT/build/bin/pip" wheel -q --no-build-isolation --no-deps -w "$OUT/wheel" "$ROOT"
    DSEQ_WHEEL=$(ls "$OUT"/wheel/*.whl)
fi
WHEEL=$(realpath "$DSEQ_WHEEL")
[ -s "$OUT/table.md" ] || {
    row environment Python versions installed 'changed by the wheel' 'pip check' \
        training 'fast tests' 'tests say'
    row --- --- --- --- --- --- --- --- ---
}
while read -r name rest; do
    [ "$name" ] || continue
    [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
    say "$name"
    # shellcheck disable=SC2086
    (one "$name" $rest)
done <<<"$TABLE"
say "logs and table.md: $OUT"
