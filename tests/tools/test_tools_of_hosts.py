"""The transfer configs under the own ``tools/train.py`` of each library.

In processes of their own: nothing has imported ``dseq_mm`` before the config is read.
"""

import importlib.util
import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from dseq_mm.data import make_digit_scenes
from dseq_mm.models import DenseViT
from dseq_mm.utils.configs import resolve_config
from tests.quick_python import EXECUTABLE

CASES = dict(
    mmdet=(
        'mask-rcnn_digits_25e',
        ['train_cfg.max_epochs=1', 'model.test_cfg.rcnn.score_thr=0.0'],
        'coco/segm_mAP',
    ),
    mmseg=(
        'upernet_digits_3k',
        ['train_cfg.max_iters=2', 'train_cfg.val_interval=2'],
        'mIoU',
    ),
    mmpretrain=(
        'clevr-count_digits_100e',
        ['train_cfg.max_epochs=10'],
        'accuracy/top1',
    ),
)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """A folder with a small DigitScenes where the configs look for it."""
    root = tmp_path_factory.mktemp('hosts')
    make_digit_scenes(
        root / 'data' / 'digitscenes', train=10, val=10, scenes_train=6, scenes_val=3
    )
    return root


@pytest.fixture(scope='module')
def backbone(tmp_path_factory):
    """Path of an exported backbone that fits the twins."""
    vit = Config.fromfile(resolve_config('linear_digits_28e')).digits_vit
    vit.arch.pop('_delete_')
    module = DenseViT(**vit)
    module.init_weights()
    path = tmp_path_factory.mktemp('backbone') / 'backbone.pth'
    torch.save(dict(state_dict=module.state_dict()), path)
    return path


@pytest.fixture
def run(request, data, tmp_path):
    """Runs the library's tool with further options; its status and errors."""
    library = request.param
    spec = importlib.util.find_spec(library)
    tool = spec and Path(spec.origin).parent / '.mim' / 'tools' / 'train.py'
    if tool is None or not tool.is_file():
        pytest.skip(f'{library} is not installed with its tools')
    name, options, _ = CASES[library]
    command = [EXECUTABLE, str(tool), resolve_config(name)]
    command += ['--work-dir', str(tmp_path), '--cfg-options', *options]
    settings = dict(cwd=data, capture_output=True, text=True, timeout=300)
    settings['env'] = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    return lambda *more: subprocess.run([*command, *more], **settings)


@pytest.mark.parametrize('run', ['mmpretrain'], indirect=True)
def test_says_which_weights_it_lacks(run):
    refused = run()
    assert refused.returncode != 0
    assert 'model.backbone.init_cfg.checkpoint=PATH' in refused.stderr


@pytest.mark.parametrize(('run', 'library'), [(c, c) for c in CASES], indirect=['run'])
def test_trains_under_its_own_tool(run, library, backbone, tmp_path):
    trained = run(f'model.backbone.init_cfg.checkpoint={backbone}')
    assert trained.returncode == 0, trained.stderr[-3000:]
    logs = sorted(tmp_path.glob('*/vis_data/scalars.json'))
    scalars = [json.loads(line) for line in logs[-1].read_text().splitlines()]
    assert CASES[library][-1] in scalars[-1]
