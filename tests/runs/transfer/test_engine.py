"""Runs with pretending tools: order, resuming, failures, ends, threads."""

import json
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest

from dseq_mm.runs.engine import commands, environment
from dseq_mm.runs.transfer_table import write_table


def test_a_run_is_training_and_test(bench):
    good, table = bench.run(
        'linear', seeds=[3], options=['linear.model.head.topk=[1,2]']
    )
    folder = bench.out / 'linear' / 'seed3'
    train, test = bench.calls()
    config = train[1]
    assert config.endswith('transfer/linear_digits_28e.py')
    options = ['--cfg-options', 'model.head.topk=[1,2]', 'randomness.seed=3']
    assert train == [
        'train', config, '--checkpoint', str(bench.subject.path),
        '--work-dir', str(folder / 'train'), '--resume', 'auto', *options,
    ]  # fmt: skip
    assert test == [
        'test', config, str(folder / 'train' / 'epoch_1.pth'),
        '--work-dir', str(folder / 'test'), '--out', str(folder / 'metrics.json'),
        *options,
    ]  # fmt: skip
    assert good and table['rows'][0]['values'] == {'3': 76.0}
    result = json.loads((folder / 'result.json').read_text())
    assert result['metrics'] == {'accuracy/top1': 76.0}
    assert '--resume' in (folder / 'log.txt').read_text()
    assert bench.said[0] == f'linear, seed 3: start, log in {folder / "log.txt"}'
    assert bench.said[1].startswith('linear, seed 3: done in 0.0 min: accuracy/top1 76')


def test_from_random_weights(bench):
    good, table = bench.run('knn,linear', seeds=[0, 1], random_init=True)
    calls = bench.calls()
    knn = [call for call in calls if call[0] == 'knn']
    assert knn[0][2] == str(bench.subject.path) and '--seed' not in knn[0]
    assert [call[2:5] for call in knn[1:]] == [
        ['--init', '--seed', seed] for seed in '01'
    ]
    starts = [call[2] for call in calls if call[0] == 'train']
    assert starts == [
        '--checkpoint',
        '--checkpoint',
        '--from-scratch',
        '--from-scratch',
    ]
    rows = {(row['key'], row['start']): row for row in table['rows']}
    assert rows['knn_last', 'checkpoint']['values'] == dict(any=60.0)
    assert rows['knn_last', 'random weights']['values'] == {'0': 10.0, '1': 11.0}
    assert rows['accuracy/top1', 'random weights']['mean'] == 71.0 and good


def test_several_gpus_go_through_the_scripts(bench):
    job = bench.plan('linear', gpus=2)[0]
    folder = bench.folder / 'tools'
    train, test = commands(job)
    assert train[:4] == ['bash', str(folder / 'dist_train.sh'), job.config, '2']
    assert train[4] == '--checkpoint' and 'train_dataloader.batch_size=128' in train
    assert test[1] == str(folder / 'dist_test.sh')
    assert test[3].endswith('LAST_CHECKPOINT') and test[4] == '2'
    (knn,) = commands(bench.plan('knn', gpus=2)[0])
    assert knn[:2] == [sys.executable, str(folder / 'knn.py')]


def test_what_is_done_is_skipped(bench):
    bench.run('linear,knn')
    bench.calls()
    table = (bench.out / 'table.json').read_text()
    good, _ = bench.run('linear,knn')
    assert good and bench.calls() == []
    assert bench.said == ['2 of 2 runs were done before.']
    assert (bench.out / 'table.json').read_text() == table
    # a further seed, a further task: added to what is there
    bench.run('linear', seeds=[0, 1])
    assert [call[0] for call in bench.calls()] == ['train', 'test']
    _, table = bench.run('clevr-count')
    tasks = [row['task'] for row in table['rows']]
    assert tasks == ['knn', 'knn', 'linear', 'clevr-count']
    assert table['rows'][2]['values'] == {'0': 70.0, '1': 72.0}


def test_a_failure_is_told_and_mended(bench, monkeypatch):
    monkeypatch.setenv('STUB_FAIL', 'clevr-count_digits')
    good, table = bench.run('linear,clevr-count,clevr-dist')
    assert not good
    rows = {row['task']: row for row in table['rows']}
    assert rows['clevr-count']['values'] == {} and rows['clevr-dist']['values']
    (run,) = rows['clevr-count']['runs']
    assert run['status'] == 'failed' and 'the stub was told to fail' in run['reason']
    log = bench.out / run['log']
    assert 'the stub was told to fail' in log.read_text()
    (line,) = [line for line in bench.said if 'failed' in line]
    assert str(log) in line and 'training ended with status 1' in line
    bench.calls()

    monkeypatch.setenv('STUB_FAIL', 'test.py')
    _, table = bench.run('linear,clevr-count,clevr-dist')
    assert [call[0] for call in bench.calls()] == ['train', 'test']
    assert any('clevr-count, seed 0: resume' in line for line in bench.said)
    monkeypatch.delenv('STUB_FAIL')
    good, table = bench.run('linear,clevr-count,clevr-dist')
    train, _ = bench.calls()
    # from the checkpoint in the folder, wherever that was when it was written
    there = log.parent / 'train' / 'epoch_1.pth'
    assert train[train.index('--resume') + 1] == str(there)
    assert good and all(row['values'] == {'0': 70.0} for row in table['rows'])
    assert log.read_text().count('$ ') == 1 + 2 + 2  # nothing of it is lost


def results(bench):
    paths = sorted(bench.out.glob('linear/*/result.json'))
    return [json.loads(path.read_text())['resumed'] for path in paths]


def test_a_training_that_went_on_is_told(bench, monkeypatch):
    # interrupted after its first checkpoint, and again when it goes on
    train = bench.folder / 'tools' / 'train.py'
    quick = train.read_text()
    train.write_text(quick + "\nif '=0' in arguments[-1]: sys.exit('power cut')")
    assert not bench.run('linear', seeds=[0, 1])[0]
    assert not bench.run('linear', seeds=[0, 1])[0]
    train.write_text(quick)
    monkeypatch.setenv('STUB_FAIL', 'test.py')
    assert not bench.run('linear', seeds=[0, 1])[0]
    monkeypatch.delenv('STUB_FAIL')
    good, table = bench.run('linear', seeds=[0, 1])
    assert good and results(bench) == [True, False]
    assert [run['resumed'] for run in table['rows'][0]['runs']] == [True, False]
    text = (bench.out / 'table.md').read_text().partition('## Runs')[2]
    assert text.count('done, resumed') == 1 and 'cannot be repeated bit by bit' in text


def test_a_failure_outside_the_training_is_no_resuming(bench, monkeypatch):
    monkeypatch.setenv('STUB_FAIL', 'test.py')
    assert not bench.run('linear')[0]  # the training was finished
    monkeypatch.setenv('STUB_FAIL', 'train.py')
    assert not bench.run('linear', seeds=[1])[0]  # it had no checkpoint yet
    monkeypatch.delenv('STUB_FAIL')
    good, _ = bench.run('linear', seeds=[0, 1])
    assert good and results(bench) == [False, False]
    assert 'resumed' not in (bench.out / 'table.md').read_text()


@pytest.mark.parametrize(
    ('measured', 'reason'),
    [
        ({'coco/bbox_mAP': -1}, 'coco/bbox_mAP is -1'),
        ({'coco/segm_mAP': None}, 'coco/segm_mAP is None'),
    ],
)
def test_no_number_is_a_failure(bench, monkeypatch, measured, reason):
    monkeypatch.setenv('STUB_METRICS', json.dumps(measured))
    good, table = bench.run('coco')
    assert not good and reason in table['rows'][0]['runs'][0]['reason']


def test_detection_in_percent(bench):
    _, table = bench.run('coco')
    assert [row['values'] for row in table['rows']] == [{'0': 50.0}, {'0': 25.0}]
    assert [row['metric'] for row in table['rows']] == ['AP box', 'AP mask']


def test_a_training_without_checkpoint_fails(bench):
    (bench.folder / 'tools' / 'train.py').write_text('')
    good, table = bench.run('linear')
    assert not good
    assert 'left no checkpoint' in table['rows'][0]['runs'][0]['reason']


SLOW = """
import pathlib, sys, time
pathlib.Path({folder!r}, 'started').touch()
time.sleep(60)
"""


def wait_for(path):
    for _ in range(200):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f'no {path}')


def test_stopped_runs_are_unfinished_and_locked(bench, monkeypatch):
    slow = bench.folder / 'tools' / 'train.py'
    quick = slow.read_text()
    slow.write_text(SLOW.format(folder=str(bench.folder)))
    jobs, engine = bench.plan('linear'), bench.engine()
    ended = []
    worker = threading.Thread(
        target=lambda: ended.append(
            engine.run(jobs, lambda: write_table(bench.subject, bench.out))
        )
    )
    begun = time.monotonic()
    worker.start()
    try:
        wait_for(bench.folder / 'started')
        # a second process keeps away from it
        assert not bench.engine().run(jobs, list)
        assert 'another process is at it' in bench.said[-1]
    finally:
        engine.stop()
        worker.join()
    assert time.monotonic() - begun < 30 and ended == [False]
    table = json.loads((bench.out / 'table.json').read_text())
    assert table['rows'][0]['runs'][0]['status'] == 'running'
    assert 'unfinished (0)' in (bench.out / 'table.md').read_text()
    slow.write_text(quick)
    good, _ = bench.run('linear')
    assert good and bench.said[0].startswith('linear, seed 0: resume')


def test_jobs_run_at_once(bench):
    # each run waits for the other
    meet = """
import pathlib, sys, time
folder = pathlib.Path({folder!r})
own = sys.argv[-1].replace('=', '_')
(folder / own).touch()
for _ in range(400):
    if len(list(folder.glob('randomness.seed_*'))) == 2:
        break
    time.sleep(0.05)
else:
    sys.exit('alone')
"""
    train = bench.folder / 'tools' / 'train.py'
    text = train.read_text()
    train.write_text(text + meet.format(folder=str(bench.folder)))
    good, table = bench.run('linear', seeds=[0, 1], jobs=2)
    assert good and table['rows'][0]['values'] == {'0': 70.0, '1': 72.0}


def test_the_scripts_find_this_python(bench, monkeypatch):
    monkeypatch.setenv('PATH', '/nowhere')
    paths = environment()['PATH']
    found = shutil.which('python', path=paths)
    assert Path(found).parent == Path(sys.executable).parent
    assert paths.endswith(':/nowhere')


def test_threads_are_shared(bench, monkeypatch):
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    assert 'OMP_NUM_THREADS' not in environment()
    assert environment(jobs=999)['OMP_NUM_THREADS'] == '1'
    monkeypatch.setenv('OMP_NUM_THREADS', '7')
    assert environment(jobs=999)['OMP_NUM_THREADS'] == '7'
