"""tools/ablate.py: arguments, errors, its end, and a true run on a few digits."""

import json

import pytest

from dseq_mm import tables
from dseq_mm.data.digit_files import make_digit_scenes
from tests.quick_python import EXECUTABLE
from tests.tools.ending import end_from_outside


@pytest.mark.parametrize(
    'arguments',
    [
        ['--seeds', 'a'], ['--seeds', '1,1'], ['--seeds', '-1'], ['--jobs', '0'],
        ['--jobs', '2', '--devices', '0'],
    ],
)  # fmt: skip
def test_wrong_arguments(load_tool, arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        load_tool('ablate').parse_args(['regions', *arguments])
    assert stop.value.code == 2 and arguments[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'no folder data/digitscenes'),
        (['--budget', 'digitscenes_20'], "no budget; did you mean 'digitscenes_20e'"),
        (['regoins'], "'regoins' is no table; did you mean 'regions'"),
        (['--tables', 'none.py'], 'there is no such file'),
        (['--devices', 'none'], "no GPU 'none'"),
        (['--cfg-options', 'a'], 'no KEY=VALUE'),
        (['--evaluate-options', 'a=1'], 'TASK.key=value'),
    ],
)
def test_errors_come_before_anything_runs(
    load_tool, arguments, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_tool('ablate').main(['passes', *arguments])
    assert not list(tmp_path.iterdir())


def test_dry_run_lists_the_commands(load_tool, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ['regions', 'order', '--budget', 'vits16_100e', '--dry-run']
    assert load_tool('ablate').main([*arguments, '--devices', '0,1', '2,3']) == 0
    lines = capsys.readouterr().out.splitlines()
    commands = [line for line in lines if line.startswith('DSEQ_BUDGET=vits16_100e')]
    # nine configs, three seeds, training and measurement each; shared rows once
    assert len(commands) == 9 * 3 * 2
    trainings = [line for line in commands if 'dist_train.sh' in line]
    assert len(trainings) == 27 and all(' 2 --work-dir' in line for line in trainings)
    assert sum('--tasks knn,linear' in line for line in commands) == 27
    assert not list(tmp_path.iterdir())


def test_ended_from_outside_it_ends_its_runs(tmp_path):
    (tmp_path / 'data' / 'digitscenes').mkdir(parents=True)
    end_from_outside(tmp_path, 'ablate', 'passes', '--out', 'out')
    record = json.loads((tmp_path / 'out' / 'dseq' / 'seed0' / 'run.json').read_text())
    assert record['status'] == 'running'  # unfinished, not failed
    assert not (tmp_path / 'out' / 'dseq' / 'seed1').exists()


def test_on_a_few_digits(load_tool, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('sys.executable', EXECUTABLE)
    make_digit_scenes(
        tmp_path / 'data' / 'digitscenes',
        train=80,
        val=20,
        scenes_train=4,
        scenes_val=4,
    )
    rows = tables.TABLES['order'].rows[0], tables.TABLES['methods'].rows[-1]
    table = tables.Table('one order', rows)
    monkeypatch.setitem(tables.TABLES, 'order', table)
    arguments = ['order', '--seeds', '4', '--out', 'out', '--jobs', '2']
    arguments += ['--cfg-options', 'train_cfg.max_epochs=1', 'log_level=ERROR']
    status = load_tool('ablate').main(arguments)
    logs = [path.read_text()[-3000:] for path in tmp_path.glob('out/*/*/log.txt')]
    assert status == 0, '\n'.join(logs)
    measured = json.loads((tmp_path / 'out' / 'order.json').read_text())['rows']
    facts = measured['DSeq-JEPA']['4']
    assert facts['status'] == 'done' and facts['minutes'] > 0
    assert 0 <= facts['metrics']['linear_last'] <= 100
    assert 'torch' in facts['versions']
    assert measured['raw pixels']['null']['metrics']['knn_last'] >= 0
    text = (tmp_path / 'out' / 'order.md').read_text()
    assert '| raw pixels' in text and 'Options changed the settings' in text

    before = (tmp_path / 'out' / 'order.json').read_text()
    capsys.readouterr()
    assert load_tool('ablate').main(arguments) == 0
    assert '2 of 2 runs were done before' in capsys.readouterr().out
    assert (tmp_path / 'out' / 'order.json').read_text() == before
