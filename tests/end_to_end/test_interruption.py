"""A run that goes on within an epoch equals one that never stopped, to the bit."""

import os
import signal

import pytest
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from dseq_mm.engine import TrainingInterrupted
from dseq_mm.engine.preemption import INTERRUPTED
from dseq_mm.engine.work_dir import newest_checkpoint
from dseq_mm.transfer.checkpoint import load_checkpoint
from tests.end_to_end.runs import RecordHook, digits_config, train, write_images
from tests.end_to_end.test_resume import same


@HOOKS.register_module()
class SignalHook(Hook):
    """Get a signal while an iteration is under way."""

    def __init__(self, at, name='SIGTERM'):
        self.at, self.name = at, name

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        """Send it to this process."""
        if runner.iter == self.at:
            os.kill(os.getpid(), getattr(signal, self.name))


def compare(tmp_path, whole, records, begin):
    """Iterations from ``begin`` on, and the final checkpoints."""
    assert sorted(records) == list(range(begin, 16))
    for iteration, record in records.items():
        same(whole[iteration], record, f'iteration {iteration}')
    ends = [load_checkpoint(tmp_path / n / 'epoch_4.pth') for n in ('whole', 'resumed')]
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        same(ends[0][part], ends[1][part], part)


def config_of(tmp_path, name, workers=0, accumulated=1, method='dseq'):
    images = tmp_path / 'images'
    if not images.exists():
        write_images(images, 16)
    cfg = digits_config(images, tmp_path / name, method, epochs=4, batch=4)
    cfg.custom_hooks = [dict(type='RecordHook')]
    cfg.optim_wrapper.accumulative_counts = accumulated
    cfg.train_dataloader.num_workers = workers
    cfg.train_dataloader.persistent_workers = workers > 0
    return cfg


@pytest.mark.parametrize('workers', [0, 2])
def test_a_checkpoint_by_iteration_is_resumed_there(tmp_path, workers):
    cfg = config_of(tmp_path, 'whole', workers)
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=3)
    train(cfg)
    whole = RecordHook.records
    cfg = config_of(tmp_path, 'resumed', workers)
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=3)
    cfg.resume, cfg.load_from = True, str(tmp_path / 'whole' / 'iter_6.pth')
    train(cfg)
    for name in ('whole', 'resumed'):
        (tmp_path / name / 'iter_16.pth').rename(tmp_path / name / 'epoch_4.pth')
    compare(tmp_path, whole, RecordHook.records, 6)


@pytest.mark.parametrize(
    ('name', 'at', 'accumulated', 'workers', 'method'),
    [
        ('SIGTERM', 5, 1, 0, 'dseq'),
        ('SIGUSR1', 6, 1, 2, 'ijepa'),
        ('SIGTERM', 6, 3, 0, 'ijepa'),  # the third of an accumulation is to come
        ('SIGTERM', 3, 1, 0, 'ijepa'),  # the last iteration of an epoch
    ],
)
def test_a_signal_saves_and_the_requeued_run_equals_one_that_never_stopped(
    tmp_path, name, at, accumulated, workers, method
):
    train(config_of(tmp_path, 'whole', workers, accumulated, method))
    whole = RecordHook.records
    handlers = {n: signal.getsignal(getattr(signal, n)) for n in ('SIGTERM', 'SIGUSR1')}
    cfg = config_of(tmp_path, 'resumed', workers, accumulated, method)
    cfg.custom_hooks.append(dict(type='SignalHook', at=at, name=name))
    with pytest.raises(TrainingInterrupted) as end:
        train(cfg)
    assert end.value.code == INTERRUPTED == 75
    assert handlers == {n: signal.getsignal(getattr(signal, n)) for n in handlers}
    first = RecordHook.records
    found, _ = newest_checkpoint(cfg.work_dir)
    interrupted = tmp_path / 'resumed' / 'interrupted.pth'
    assert interrupted.exists()  # perhaps beside one that was due there, too
    begin = at // accumulated * accumulated + accumulated
    assert load_checkpoint(found)['meta']['run']['seen'] == (begin * 4 - 1) % 16 + 1
    cfg = config_of(tmp_path, 'resumed', workers, accumulated, method)
    cfg.resume, cfg.load_from = True, str(found)
    train(cfg)
    assert sorted(first) == list(range(begin))
    compare(tmp_path, whole, RecordHook.records, begin)
    assert not interrupted.exists()  # a regular one has taken its place


def test_a_loop_of_the_host_cannot_go_on_within_an_epoch(tmp_path):
    """It would begin the epoch anew without a word."""
    cfg = config_of(tmp_path, 'whole')
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=3)
    train(cfg)
    cfg = config_of(tmp_path, 'resumed')
    cfg.train_cfg.type = 'EpochBasedTrainLoop'
    cfg.resume, cfg.load_from = True, str(tmp_path / 'whole' / 'iter_6.pth')
    with pytest.raises(ValueError, match='EpochBasedTrainLoop cannot go on'):
        train(cfg)
    cfg.load_from = str(tmp_path / 'whole' / 'iter_12.pth')  # the end of an epoch
    with pytest.raises(ValueError, match='cannot go on'):
        train(cfg)
