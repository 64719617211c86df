"""tools/evaluate.py: its arguments and errors, and a true run on a few digits."""

import json

import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import VisionTransformer

from dseq_mm.data.digit_files import make_digit_scenes
from dseq_mm.data.layout import DATA_SETS
from dseq_mm.tables import TASKS
from tests.quick_python import EXECUTABLE
from tests.tools.ending import end_from_outside

ARCH = dict(embed_dims=96, num_layers=4, num_heads=3, feedforward_channels=192)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with a checkpoint of I-JEPA (no class token) and no data."""
    vit = VisionTransformer(
        arch=ARCH, img_size=24, patch_size=4, out_type='featmap', with_cls_token=False
    )
    torch.manual_seed(0)
    vit.init_weights()
    backbone = dict(arch=ARCH, img_size=24, patch_size=4, with_cls_token=False)
    cfg = Config(dict(model=dict(type='IJEPA', backbone=backbone)))
    state = {f'target_encoder.module.{k}': v for k, v in vit.state_dict().items()}
    state.update({f'backbone.{k}': v for k, v in vit.state_dict().items()})
    meta = dict(cfg=cfg.pretty_text, epoch=1)
    torch.save(dict(state_dict=state, meta=meta), tmp_path / 'ijepa.pth')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_check_data_knows_every_data_set():
    assert {task.check for task in TASKS.values()} | {'digitscenes'} <= set(DATA_SETS)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['none.pth', '--tasks', 'knn'], 'no checkpoint none.pth'),
        (['ijepa.pth', '--tasks', 'knn,voc'], "'voc' is no task. Tasks: knn"),
        (['ijepa.pth', '--tasks', 'cub'], 'cub has no DigitScenes twin'),
        (['ijepa.pth', '--tasks', 'linear'], 'check_data.py digitscenes'),
        (
            ['ijepa.pth', '--tasks', 'knn', '--cfg-options', 'a=1'],
            'write TASK.key=value',
        ),
    ],
)
def test_errors_come_before_anything_runs(load_tool, place, arguments, message):
    with pytest.raises(ValueError, match=message):
        load_tool('evaluate').main(arguments)
    assert [path.name for path in place.iterdir()] == ['ijepa.pth']


@pytest.mark.parametrize(
    'arguments',
    [
        ['--seeds', 'a'], ['--seeds', '1,01'], ['--seeds', '-1'], ['--gpus', '0'],
        ['--gpus', '2', '--jobs', '2'],
    ],
)  # fmt: skip
def test_wrong_arguments(load_tool, arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        load_tool('evaluate').parse_args(['x.pth', '--tasks', 'all', *arguments])
    assert stop.value.code == 2 and arguments[0] in capsys.readouterr().err


def test_dry_run_lists_commands(load_tool, place, capsys):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')
    annotations = place / 'data/digitscenes/scenes/annotations'
    annotations.mkdir(parents=True)
    (annotations / 'instances_val.json').touch()
    arguments = ['ijepa.pth', '--tasks', 'all', '--random-init', '--dry-run']
    assert load_tool('evaluate').main([*arguments, '--seeds', '0,1']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines[:3]] == ['inat21', 'cub', 'cars']
    commands = lines[3:]
    # kNN once from the checkpoint; six tasks train and test, with two seeds each
    assert len(commands) == (1 + 2) + 6 * 2 * 2 * 2
    assert sum('--from-scratch' in command for command in commands) == 6 * 2
    assert 'work_dirs/evaluate_ijepa_' in commands[0]
    assert [path.name for path in place.iterdir()] == ['ijepa.pth', 'data']


def test_ended_from_outside_it_ends_its_runs(place):
    (place / 'data' / 'digitscenes').mkdir(parents=True)
    end_from_outside(
        place, 'evaluate', 'ijepa.pth', '--tasks', 'linear', '--out', 'out'
    )
    record = json.loads((place / 'out' / 'linear' / 'seed0' / 'run.json').read_text())
    assert record['status'] == 'running'  # unfinished, not failed


def evaluate(main):
    """Runs the tool, in this process, on two tasks."""
    options = ['linear.train_cfg.max_epochs=1', 'linear.train_dataloader.batch_size=16']
    tasks = ['--tasks', 'knn,linear', '--out', 'out', '--jobs', '2']
    return main(['ijepa.pth', *tasks, '--cfg-options', *options])


def test_on_a_few_digits(place, load_tool, monkeypatch, capsys):
    monkeypatch.setattr('sys.executable', EXECUTABLE)
    make_digit_scenes(
        place / 'data' / 'digitscenes', train=60, val=20, scenes_train=16, scenes_val=8
    )
    main = load_tool('evaluate').main
    status = evaluate(main)
    logs = [path.read_text() for path in place.glob('out/*/*/log.txt')]
    assert status == 0, '\n'.join(log[-3000:] for log in logs)
    table = json.loads((place / 'out' / 'table.json').read_text())
    values = {row['key'] + row['task']: row['values'] for row in table['rows']}
    assert [*values] == ['knn_lastknn', 'knn_last4knn', 'accuracy/top1linear']
    for row in table['rows']:
        assert 0 <= row['mean'] <= 100 and row['dataset'] == 'DigitScenes'
        assert row['paper_not_ours'] is None
    linear = table['rows'][2]
    # the batch of 16 was seen: the rate is a sixteenth of that for 256
    assert 'learning rate 0.000625' in linear['protocol']
    assert '; 1 epochs; batch 16 instead of 256; 24 px' in linear['protocol']
    log = (place / 'out' / 'linear' / 'seed0' / 'log.txt').read_text()
    assert 'starts from' in log and 'Epoch(test)' in log
    versions = linear['runs'][0]['versions']
    assert {'torch', 'mmengine', 'mmpretrain'} <= versions.keys()

    before = (place / 'out' / 'table.json').read_text()
    capsys.readouterr()
    assert evaluate(main) == 0
    assert '2 of 2 runs were done before' in capsys.readouterr().out
    assert (place / 'out' / 'table.json').read_text() == before
