"""What a training step asks of a device, as counts."""

import importlib.util
import json
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / 'tools' / 'benchmarks' / 'step.py'


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('step', PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(('method', 'masks'), [('DSeq-JEPA', 60), ('I-JEPA', 30)])
def test_a_step_launches_few_kernels(tool, method, masks):
    counted = tool.count_stages(tool.model_config(tool.METHODS[method], 'base'))
    assert counted.kernels.total() <= 1800
    assert counted.kernels['masks and plan'] <= masks
    # two encoders of twelve layers, each with an attention and four products
    assert counted.kernels['target encoder'] >= 12 * 5
    assert counted.kernels['backward'] >= 18 * 10
    assert counted.bytes['backward'] > counted.bytes['context encoder'] > 1e8


def test_padding_is_under_one_percent(tool):
    config = tool.model_config(tool.METHODS['DSeq-JEPA'], 'base')
    assert 0 < tool.padding(config, 256) <= 0.01


def test_rows_are_timed_in_turn_and_written(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tool, 'print_counts', lambda result: None)
    monkeypatch.setattr(tool, 'gflop', lambda kind, config: 1.0)
    out = tmp_path / 'step.json'
    words = '--time --device cpu --arch small --batch 1 --rounds 2 --warmup 0 --out'
    tool.main([*words.split(), str(out)])
    times = json.loads(out.read_text())['times']
    assert list(times) == ['DSeq-JEPA', 'I-JEPA', 'released strategy']
    assert times['DSeq-JEPA']['ratio'] == 1.0
    assert all(len(row['seconds']) == 2 for row in times.values())
    assert times['released strategy']['ratio'] > 1
    assert '| I-JEPA |' in capsys.readouterr().out


def test_checks_hold_where_the_device_is_the_host(tool, monkeypatch):
    """Each check of the GPU, run against the CPU, where nothing may differ."""
    check = tool.gpu_check
    monkeypatch.setattr('torch.nn.Module.cuda', lambda model, *_: model)
    for method in ('DSeqJEPA', 'IJEPA'):
        check.check_step_equals_cpu(method)
        check.check_half_precision(method)
        check.check_option(method, None, 1e-5, parts=dict(with_cp=True))
    with pytest.raises(AssertionError):
        one, other = check.step(check.build('IJEPA')), check.step(check.build('IJEPA'))
        other[1]['neck.embed.weight'] += 1
        check.assert_close(one, other, 1e-3)
