"""Runs with pretending tools: order, resuming, devices, failures, tables."""

import json

import pytest

from dseq_mm.evaluation.ablation import TABLES, Study


def test_each_run_is_trained_and_measured_once(bench):
    good, table = bench.run()
    calls = bench.calls()
    assert good and len(calls) == 2 * 2 * 2 + 2 + 1
    name, environment, arguments = calls[0]
    folder = bench.out / 'dseq' / 'seed0'
    assert name == 'train' and arguments[0].endswith('dseq_digitscenes_20e.py')
    assert environment['DSEQ_BUDGET'] == 'digitscenes_20e'
    assert arguments[1:] == [
        '--work-dir', str(folder / 'train'), '--resume', '--auto-scale-lr',
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
    assert notes == ['Left out: nothing has no config for digitscenes_20e.']


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
    bench.run(devices=('0', '2,3'))
    calls = bench.calls()
    assert {call[1]['CUDA_VISIBLE_DEVICES'] for call in calls} == {'0', '2,3'}
    assert len({call[1]['PORT'] for call in calls}) == 2
    for name, environment, arguments in calls:
        if name == 'train':  # dist_train.sh hands the number of processes on
            several = environment['CUDA_VISIBLE_DEVICES'] == '2,3'
            assert (arguments[1] == '2') == several


def test_a_large_budget_is_measured_by_the_suite(bench):
    _, table = bench.run(seeds=(0,), budget='vitb16_600e')
    tools = [call[0] for call in bench.calls()]
    assert tools.count('evaluate') == 2
    metrics = table['DSeq']['0']['metrics']
    assert metrics == dict(knn_last=1.5, linear_last4=2.5)


def test_after_a_stop_nothing_is_started(bench):
    study = Study(bench.tools)
    study.stop()
    assert not study.carry_out(bench.plan()[0], bench.said.append, lambda: None)
    assert bench.calls() == [] and not bench.out.exists()


def test_the_table_has_means_spreads_and_the_papers_figures(bench):
    bench.run()
    text = (bench.out / 'tables.md').read_text()
    assert '| DSeq | 79.5 (79.0 to 80.0) | 81.0 (80.0 to 82.0) |' in text
    assert '| 2 | 73.5 |' in text and 'paper (not ours)' in text
    assert '| gain | +10.0 (+10.0 to +10.0) | +10.0 (+10.0 to +10.0) | +1.1 |' in text
    assert '| nothing | - | - | - | 0 |  |' in text


def test_differences_are_paired_by_seed(bench):
    bench.run(seeds=(0, 1))
    result = bench.out / 'ijepa' / 'seed0' / 'result.json'
    facts = json.loads(result.read_text())
    facts['metrics']['linear_last'] = 90.0
    result.write_text(json.dumps(facts))
    bench.run(seeds=(0, 1))
    text = (bench.out / 'tables.md').read_text()
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
