import time
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.runner import LogProcessor

from dseq_mm.engine import HistoryHook

EPOCH = 30


def make_run(name, **log):
    """What log processor and hook read of a runner."""
    hub = MessageHub.get_instance(f'history_{name}_{time.time()}')
    return SimpleNamespace(
        message_hub=hub,
        log_processor=LogProcessor(**log),
        train_dataloader=range(EPOCH),
        train_loop=SimpleNamespace(dataloader=range(EPOCH)),
    )


def train(run, iterations, hook=None, start=0):
    """Values of the log at each iteration."""
    if hook:
        hook.before_train(run)
    logged = []
    for run.iter in range(start, start + iterations):
        iteration = run.iter
        for name in ('loss', 'time'):
            value = float(torch.sin(torch.tensor(iteration * len(name) * 0.7)))
            run.message_hub.update_scalar(f'train/{name}', value)
        if hook:
            hook.after_train_iter(run, iteration % EPOCH)
        parsed = run.log_processor._parse_windows_size(
            run, iteration % EPOCH, run.log_processor.custom_cfg
        )
        logged.append(run.log_processor._collect_scalars(parsed, run, 'train'))
    return logged


@pytest.mark.parametrize(
    'custom',
    [
        [],
        [dict(data_src='loss', method_name='mean', window_size=25)],
        [dict(data_src='loss', method_name='mean', window_size='epoch')],
        [dict(data_src='loss', method_name='mean', window_size='global')],
    ],
)
def test_the_log_says_the_same(custom):
    log = dict(window_size=10, by_epoch=True, custom_cfg=custom)
    bounded, whole = make_run('bounded', **log), make_run('whole', **log)
    assert train(bounded, 200, HistoryHook(keep=5)) == train(whole, 200)
    lengths = {
        name: len(history.data[0])
        for name, history in bounded.message_hub.log_scalars.items()
    }
    window = custom[0]['window_size'] if custom else 10
    longest = {'epoch': EPOCH, 'global': 10}.get(window, window)
    assert lengths['train/time'] == longest
    assert lengths['train/loss'] == (200 if window == 'global' else longest)


def test_a_longer_history_of_before_is_cut_and_goes_on():
    run, whole = make_run('run'), make_run('whole')
    train(run, 500)
    assert train(run, 20, HistoryHook(50), 500) == train(whole, 520)[500:]
    assert len(run.message_hub.log_scalars['train/loss'].data[0]) == 50
    assert len(run.message_hub.log_scalars['train/loss'].data[1]) == 50


def test_what_is_validated_stays_whole():
    run, hook = make_run('val'), HistoryHook(3)
    for _ in range(20):
        run.message_hub.update_scalar('val/accuracy', 1.0)
    train(run, 20, hook)
    assert len(run.message_hub.log_scalars['val/accuracy'].data[0]) == 20
