"""Runs with pretending tools: order, resuming, devices, failures, tables."""

import json
import shutil
from dataclasses import replace

import pytest

from dseq_mm.cli.processes import check_devices
from dseq_mm.runs import Engine, plan_study
from dseq_mm.runs.engine import lock
from dseq_mm.runs.study import check_data
from dseq_mm.runs.table import grid
from dseq_mm.tables import TABLES, Budget, Row, Table


def test_each_run_is_trained_and_measured_once(bench):
    good, table = bench.run()
    calls = bench.calls()
    assert good and len(calls) == 2 * 2 * 2 + 2 + 1
    name, environment, arguments = calls[0]
    folder = bench.out / 'dseq' / 'seed0'
    assert name == 'train' and arguments[0].endswith('dseq_digitscenes_20e.py')
    assert environment['DSEQ_BUDGET'] == 'digitscenes_20e'
    assert arguments[1:] == [
        '--work-dir', str(folder / 'train'), '--resume', 'auto', '--auto-scale-lr',
        '--cfg-options', 'randomness.seed=0',
    ]  # fmt: skip
    assert calls[1][0] == 'knn' and calls[1][2][1:] == [
        str(folder / 'train' / 'epoch_1.pth'), '--linear',
        '--out', str(folder / 'metrics.json'),
    ]  # fmt: skip
    assert table['DSeq']['1']['metrics'] == dict(knn_last=82.0, linear_last=79.0)
    assert table['pixels']['null']['metrics']['linear_last'] == 91.0
    assert set(table['before']) == {'0', '1'}


def test_all_rows_of_a_seed_come_before_the_next_seed(bench):
    trials, notes = bench.plan()
    assert [trial.seed for trial in trials] == [0, 0, 0, None, 1, 1, 1]
    assert notes == ['Left out: nothing: it has no config for digitscenes_20e.']


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ("raise ValueError('wrong')", '{file}, line 1: ValueError: wrong'),
        ("\nopen('nothing')", "{file}, line 2: FileNotFoundError.*'nothing'"),
        ("_base_ = './nothing.py'", '{file}: .*nothing.py, named in _base_, does not'),
        ("_base_ = './nothing_{{$DSEQ_BUDGET:x}}.py'", None),
    ],
)
def test_a_broken_config_is_not_a_missing_one(bench, tmp_path, text, message):
    file = tmp_path / 'own.py'
    file.write_text(text)
    table = Table('own', (Row('own', str(file)),))
    if message is None:
        trials, notes = plan_study(bench.study((0,), 'vits16_100e'), [table])
        assert trials == []
        assert notes == ['Left out: own: it has no config for vits16_100e.']
        return
    with pytest.raises(ValueError, match=message.format(file=file)):
        plan_study(bench.study((0,)), [table])


def test_what_is_done_is_not_done_again(bench):
    bench.run()
    bench.calls()
    good, table = bench.run(seeds=(0, 1, 2))
    assert [call[2][-1] for call in bench.calls() if call[0] == 'train'] == [
        'randomness.seed=2'
    ] * 2
    assert good and set(table['DSeq']) == {'0', '1', '2'}
    assert bench.said[0] == '7 of 10 runs were done before.'


def test_a_failure_is_said_and_mended_by_the_next_call(bench, monkeypatch):
    monkeypatch.setenv('STUB_FAIL', 'ijepa_digitscenes_20e.py --work-dir')
    good, table = bench.run(seeds=(0,))
    assert not good and table['I-JEPA']['0']['status'] == 'failed'
    assert 'training ended with status 1 (the stub was told' in ''.join(bench.said)
    assert table['DSeq']['0']['status'] == 'done'
    monkeypatch.delenv('STUB_FAIL')
    good, table = bench.run(seeds=(0,))
    assert good and table['I-JEPA']['0']['status'] == 'done'


def test_other_settings_are_refused(bench):
    bench.run(seeds=(0,))
    with pytest.raises(ValueError, match='Choose another --out'):
        bench.run(seeds=(0,), options=['train_cfg.max_epochs=2'])


def test_options_reach_training_and_measurement(bench):
    bench.run(seeds=(3,), options=['train_cfg.max_epochs=2'])
    for name, _, arguments in bench.calls():
        at = arguments.index('--cfg-options')
        seed = ['randomness.seed=3'] * (name == 'train')
        assert arguments[at + 1 :] == ['train_cfg.max_epochs=2', *seed]


def test_devices_are_shared_out(bench):
    bench.run(processes=2, places=dict(devices=('0,1', '2,3')))
    calls = bench.calls()
    assert {call[1]['CUDA_VISIBLE_DEVICES'] for call in calls} == {'0,1', '2,3'}
    for name, environment, arguments in calls:
        assert int(environment['PORT']) > 0
        if name == 'train':  # dist_train.sh hands the number of processes on
            assert arguments[1] == '2'


def test_another_number_of_processes_is_another_run(bench):
    bench.run(seeds=(0,))
    with pytest.raises(ValueError, match='another number of processes'):
        bench.run(seeds=(0,), processes=2)


@pytest.mark.parametrize(
    ('devices', 'visible', 'message'),
    [
        (('0', '4'), None, "no GPU '4'.*0, 1, 2, 3"),
        (('cuda:0',), None, "no GPU 'cuda:0'"),
        (('0,',), None, "no GPU ''"),
        (('0', '0'), None, 'each GPU once'),
        (('0', '1,2'), None, 'as many GPUs'),
        (('0',), '4,5', "no GPU '0'.*4, 5"),
    ],
)
def test_devices_that_cannot_be_meant(devices, visible, message):
    with pytest.raises(ValueError, match=message):
        check_devices(devices, 4, visible)


def test_devices_that_exist():
    check_devices((), 0)
    check_devices(('0,1', '2,3'), 4)
    check_devices(('4', '5'), 4, '4,5')


def test_a_large_budget_is_measured_by_the_suite(bench):
    probe = ('linear.train_dataloader.batch_size=8',)
    trials, notes = bench.plan((0,), 'vitb16_600e', probe=probe)
    assert [job.facts['start'] for job in trials] == ['train', 'train']
    assert 'Left out: before: measured on small budgets only.' in notes
    _, table = bench.run(seeds=(0,), budget='vitb16_600e', probe=probe)
    measured = [call[2] for call in bench.calls() if call[0] == 'evaluate']
    assert len(measured) == 2
    assert measured[0][-4:] == ['--gpus', '1', '--cfg-options', *probe]
    metrics = table['DSeq']['0']['metrics']
    assert metrics == dict(knn_last=1.5, linear_last4=2.5)


def test_data_are_looked_for_before_anything_is_trained(bench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match='no folder data/digitscenes'):
        check_data(bench.study(), bench.plan()[0])
    with pytest.raises(ValueError, match='data/imagenet.*--evaluate-options'):
        large = (0,), 'vitb16_600e'
        check_data(bench.study(*large), bench.plan(*large)[0])
    (tmp_path / 'data' / 'digitscenes').mkdir(parents=True)
    check_data(bench.study(), bench.plan()[0])


def test_after_a_stop_nothing_is_started(bench):
    engine = Engine(say=bench.said.append)
    engine.stop()
    assert not engine.run(bench.plan()[0], lambda: None)
    assert bench.calls() == [] and not bench.out.exists()


def test_weights_of_unknown_settings_are_not_measured(bench):
    folder = bench.out / 'dseq' / 'seed0'
    bench.run(seeds=(0,))
    (folder / 'run.json').unlink()
    with pytest.raises(ValueError, match='something else, without run.json'):
        bench.run(seeds=(0,), options=['train_cfg.max_epochs=3'])


def test_what_another_call_did_meanwhile_is_kept(bench):
    mine = bench.plan((0,))[0]
    other = bench.plan((0,), options=['train_cfg.max_epochs=3'])[0]
    assert bench.carry_out(mine)
    results = {t.folder: (t.folder / 'result.json').read_text() for t in mine}
    bench.calls()
    for trial in other:  # planned before, in the same folders
        (trial.folder / 'result.json').unlink()
    assert not bench.carry_out(other) and bench.calls() == []
    assert 'was made with another config' in bench.said[0]
    for folder, text in results.items():
        (folder / 'result.json').write_text(text)
    assert bench.carry_out(mine) and bench.calls() == []


def test_a_locked_run_is_left_alone(bench):
    trials = bench.plan((0,))[0]
    trials[0].folder.mkdir(parents=True)
    with (trials[0].folder / 'log.txt').open('ab') as log:
        assert lock(log)
        assert not bench.carry_out(trials)
    assert 'another process is at it' in bench.said[0]
    assert not (trials[0].folder / 'run.json').exists()
    assert (trials[1].folder / 'result.json').exists()


@pytest.mark.parametrize('what', ['missing', 'nan'])
def test_a_measurement_that_gives_no_number_is_a_failure(bench, monkeypatch, what):
    if what == 'missing':
        monkeypatch.setenv('STUB_SILENT', '1')
    else:
        monkeypatch.setenv('STUB_METRICS', '{"linear_last": NaN}')
    good, table = bench.run(seeds=(0,))
    assert not good
    assert {runs[seed]['status'] for runs in table.values() for seed in runs} == {
        'failed'
    }


def test_a_measurement_that_failed_finds_the_checkpoint_of_its_own_training(
    bench, monkeypatch
):
    monkeypatch.setenv('STUB_FAIL', 'knn.py')
    bench.run(seeds=(0,))
    first = json.loads((bench.out / 'dseq' / 'seed0' / 'run.json').read_text())
    monkeypatch.delenv('STUB_FAIL')
    bench.calls()
    _, table = bench.run(seeds=(0,))
    train = next(call[2] for call in bench.calls() if call[0] == 'train')
    at = train.index('--resume') + 1
    assert train[at] == str(bench.out / 'dseq' / 'seed0' / 'train' / 'epoch_1.pth')
    facts = table['DSeq']['0']
    assert not facts['resumed']  # its training had come to its end
    assert facts['minutes'] > first['minutes'] > 0
    assert 'were interrupted' not in bench.table()


def test_tables_keep_what_other_calls_measured(bench):
    bench.run(seeds=(0,))
    _, table = bench.run(seeds=(5,))
    assert set(table['DSeq']) == {'0', '5'}
    assert 'seeds 0, 5' in bench.table()


def test_the_table_has_means_spreads_and_the_papers_figures(bench):
    bench.run()
    text = bench.table()
    assert '| DSeq | 79.5 (79.0 to 80.0) | 81.0 (80.0 to 82.0) |' in text
    assert '| 2 | 55.5 |' in text and 'paper (not ours)' in text
    assert '| gain | +10.0 (+10.0 to +10.0) | +10.0 (+10.0 to +10.0) | +1.1 |' in text
    assert '| nothing | - | - | - | 0 | |' in text


def test_differences_are_paired_by_seed(bench):
    bench.run(seeds=(0, 1))
    result = bench.out / 'ijepa' / 'seed0' / 'result.json'
    facts = json.loads(result.read_text())
    facts['metrics']['linear_last'] = 90.0
    result.write_text(json.dumps(facts))
    bench.run(seeds=(0, 1))
    text = bench.table()
    # seed 0: 80 - 90, seed 1: 79 - 69
    assert '| gain | +0.0 (-10.0 to +10.0) |' in text


def test_the_papers_signs():
    signs = {c.label: c.paper for c in TABLES['regions'].contrasts()}
    assert signs['sequential - flat, discriminative'] == pytest.approx(1.5)
    assert signs['sequential - flat, uniform'] == pytest.approx(-0.1)
    assert signs['interaction: the first of these minus the second'] == pytest.approx(
        1.6
    )
    assert signs['sequential - flat, uniform disjoint'] is None
    for contrast in TABLES['order'].contrasts():
        assert contrast.paper > 0


def test_methods_are_compared_with_the_first_and_within_their_families():
    signs = {c.label: c.paper for c in TABLES['methods'].contrasts()}
    assert signs['DSeq-JEPA - I-JEPA'] == pytest.approx(1.1)
    assert signs['DSeq-C-JEPA - C-JEPA'] == pytest.approx(0.3)
    assert signs['DMT-JEPA - I-JEPA'] is None


def test_no_figure_of_the_paper_beside_other_settings(bench):
    bench.run(seeds=(0,), options=['train_dataloader.num_workers=0'])
    assert '| 1 | 55.5 |' in bench.table() and '| +1.1 |' in bench.table()
    shutil.rmtree(bench.out)
    bench.run(seeds=(0,), options=['train_cfg.max_epochs=2'])
    text = bench.table()
    assert '55.5' not in text and '+1.1' not in text
    assert 'Options changed the settings, so no figure of the paper stands' in text


def test_runs_of_other_settings_are_not_mixed_by_other_seeds(bench):
    bench.run(seeds=(0,))
    with pytest.raises(ValueError, match='its options: none; now: train_cfg.max_ep'):
        bench.plan(seeds=(1,), options=['train_cfg.max_epochs=2'])


def test_two_rows_may_not_share_a_folder(bench, tmp_path):
    own = Table('twins', (Row('a', 'one/x.py'), Row('b', 'two/x.py')))
    with pytest.raises(ValueError, match='would share the folder x: rename'):
        plan_study(bench.study(), [own])


def test_cells_cannot_break_the_table():
    assert grid(['a|b', 'c'], [['x\ny', '1|2']]).splitlines() == [
        '| a\\|b   | c    |',
        '|--------|------|',
        '| x y    | 1\\|2 |',
    ]


def test_a_budget_names_tasks_that_there_are(bench):
    asked = replace(bench.study(), measure=Budget('own', 'knn,linaer', 'vitb16'))
    with pytest.raises(ValueError, match="'linaer' is no task; did you mean 'linear'"):
        plan_study(asked, [])


def test_a_table_of_untrained_rows_has_no_differences():
    assert Table('t', (Row('a', 'x', start='init'),)).contrasts() == ()


def test_a_table_of_the_suite_without_rows_is_a_failed_run(bench):
    tool = bench.tools / 'evaluate.py'
    tool.write_text(tool.read_text().replace('dict(rows=rows)', '{}'))
    good, table = bench.run(seeds=(0,), budget='vitb16_600e')
    assert not good
    assert table['DSeq']['0']['reason'] == 'nothing was measured'


def test_a_config_beside_own_tables_hides_ours_for_its_budget_alone(bench, tmp_path):
    (tmp_path / 'dseq_mine.py').write_text('a = 1')
    row = Row('DSeq', str(tmp_path / 'dseq_{budget}.py'))
    trials, notes = plan_study(bench.study((0,)), [Table('own', (row,))])
    assert notes == [] and trials[0].config.endswith('/configs/dseq_digitscenes_20e.py')
