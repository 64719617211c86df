"""The tools that measure and draw: no code from a file is run, errors are one line."""

import subprocess

import pytest
import torch
from mmengine.runner import CheckpointLoader

from tests.end_to_end.runs import CONFIGS, TOOLS, run_tool, write_images
from tests.quick_python import EXECUTABLE

CONFIG = str(CONFIGS / 'dseq_digitscenes_20e.py')
KINDS = ['model.backbone.init_cfg.type=Pretrained']


@pytest.fixture(autouse=True)
def host_loader():
    """MMEngine's loaders, put back after a tool has replaced them."""
    before = dict(CheckpointLoader._schemes)
    yield
    CheckpointLoader._schemes = before


@pytest.fixture
def data(tmp_path):
    """Options that point a DigitScenes config to a few images."""
    for split in ('train', 'val'):
        write_images(tmp_path / 'digits' / split, count=4)
    roots = ('custom_hooks.0.bank.dataset', 'custom_hooks.0.query.dataset')
    options = [f'{root}.data_root={tmp_path}' for root in roots]
    return [*options, 'custom_hooks.0.k=2']


@pytest.fixture
def bad(tmp_path, attack):
    """A file with code, and the file that the code would make."""
    torch.save(dict(state_dict={}, x=attack(tmp_path / 'ran')), tmp_path / 'bad.pth')
    yield tmp_path / 'bad.pth'
    assert not (tmp_path / 'ran').exists()


def test_knn_runs_no_code(data, bad, capsys):
    start = f'model.backbone.init_cfg.checkpoint={bad}'
    for arguments in (['--init'], [bad]):
        with pytest.raises(ValueError, match='never runs code'):
            run_tool('knn', CONFIG, *arguments, '--cfg-options', *data, *KINDS, start)


def test_visualize_runs_no_code(data, bad, tmp_path):
    start = f'model.backbone.init_cfg.checkpoint={bad}'
    out = tmp_path / 'out.png'
    with pytest.raises(ValueError, match='never runs code'):
        run_tool('visualize_regions', CONFIG, bad, out, '--cfg-options', *KINDS, start)
    loaders = {loader.__module__ for loader in CheckpointLoader._schemes.values()}
    assert loaders == {'dseq_mm.transfer.checkpoint'}
    assert not out.exists()


def test_knn_checks_the_place_of_its_file_first(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(ValueError, match='--out .*file is no folder'):
        run_tool('knn', CONFIG, '--init', '--out', tmp_path / 'file' / 'x.json')


def test_knn_says_what_is_wrong_with_a_config_name():
    with pytest.raises(ValueError, match='neither a file nor a config'):
        run_tool('knn', 'dseq_digitscenes_20', '--init')


@pytest.mark.parametrize('kind', ['exported', 'none', 'empty'])
def test_visualize_ends_in_one_line(tmp_path, pretraining, kind):
    path, _, target = pretraining()
    message = 'is no pre-training checkpoint of'
    if kind == 'exported':
        torch.save(dict(state_dict=target.state_dict()), path)
    elif kind == 'none':
        path, message = 'none.pth', 'no checkpoint none.pth'
    else:
        torch.save(dict(state_dict={}), path)
        message = 'has no weights'
    command = [EXECUTABLE, str(TOOLS / 'visualize_regions.py'), CONFIG]
    command += [str(path), str(tmp_path / 'out.png')]
    run = dict(cwd=CONFIGS.parent, capture_output=True, text=True)
    result = subprocess.run(command, **run)
    lines = result.stderr.strip().splitlines()
    assert result.returncode == 2 and message in lines[-1]
    assert 'Traceback' not in result.stderr
