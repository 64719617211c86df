"""The progress bar on a made-up terminal, and its scalars without one."""

import io
import json
import re
import sys

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from rich.console import Console
from torch.utils.data import DataLoader

from dseq_mm.engine.progress_hook import (
    ProgressHook,
    count_images,
    format_seconds,
)

EPOCHS, BATCHES, BATCH = 2, 3, 4


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


class Toy(BaseModel):
    """One weight; fails at a given call."""

    def __init__(self, fail_at=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.calls, self.fail_at = 0, fail_at

    def forward(self, inputs, data_samples=None, mode='loss'):
        self.calls += 1
        if self.calls == self.fail_at:
            raise RuntimeError('broken step')
        return dict(loss=(self.weight * inputs.mean()) ** 2)


def collate(items):
    return dict(inputs=torch.stack(items), data_samples=[None] * len(items))


def make_runner(tmp_path, hook, by_epoch=True, **toy):
    data = [torch.full((3,), float(i)) for i in range(BATCHES * BATCH)]
    length = dict(max_epochs=EPOCHS) if by_epoch else dict(max_iters=5)
    return Runner(
        model=Toy(**toy),
        work_dir=str(tmp_path),
        train_dataloader=DataLoader(data, BATCH, collate_fn=collate),
        train_cfg=dict(by_epoch=by_epoch, **length),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        log_processor=dict(by_epoch=by_epoch),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
        custom_hooks=[hook],
        experiment_name=f'progress_{tmp_path.name}',
    )


def scalars(tmp_path):
    lines = next(tmp_path.rglob('scalars.json')).read_text().splitlines()
    return [json.loads(line) for line in lines]


def plain(text):
    return re.sub(r'\x1b\[[0-9;?]*[a-zA-Z]', '', text)


def terminal_hook(width=200):
    screen = Terminal()
    console = Console(file=screen, force_terminal=True, width=width)
    return ProgressHook(console=console), screen


def test_without_terminal_only_scalars(tmp_path):
    screen = io.StringIO()
    hook = ProgressHook(console=Console(file=screen, force_terminal=False))
    make_runner(tmp_path, hook).train()
    assert screen.getvalue() == ''
    rows = scalars(tmp_path)
    assert len(rows) == EPOCHS * BATCHES
    for row in rows:
        assert row['images_per_s'] > 0 and 0 <= row['data_wait'] <= 1


def test_throughput_is_images_over_time(tmp_path):
    hook = ProgressHook(console=Console(file=io.StringIO()))
    runner = make_runner(tmp_path, hook)
    runner.train()
    hub = runner.message_hub
    seconds = hub.get_scalar('train/time').data[0][-BATCHES:]
    waiting = hub.get_scalar('train/data_time').data[0][-BATCHES:]
    expected = BATCHES * BATCH / seconds.sum()
    assert hub.get_scalar('train/images_per_s').current() == pytest.approx(expected)
    share = waiting.sum() / seconds.sum()
    assert hub.get_scalar('train/data_wait').current() == pytest.approx(share)


def test_bar_on_a_terminal(tmp_path):
    hook, screen = terminal_hook()
    make_runner(tmp_path, hook).train()
    text = plain(screen.getvalue())
    assert 'epoch 1/2 iter 1/3' in text and 'epoch 2/2 iter 3/3' in text
    assert re.search(r'loss \d+\.\d{4}  \d+ images/s  data \d+%  \d+ s left', text)
    assert screen.getvalue().rstrip().endswith('\x1b[?25h')  # the cursor is back
    assert hook._bar is None


def test_bar_of_an_iteration_based_loop(tmp_path, monkeypatch):
    monkeypatch.setattr('time.sleep', lambda seconds: None)  # at the loader's restart
    hook, screen = terminal_hook()
    make_runner(tmp_path, hook, by_epoch=False).train()
    text = plain(screen.getvalue())
    assert 'iter 5/5' in text and 'epoch' not in text


def test_log_lines_go_above_the_bar(tmp_path, monkeypatch):
    hook, screen = terminal_hook()
    monkeypatch.setattr(sys, 'stdout', Terminal())
    runner = make_runner(tmp_path, hook)
    original = [handler.stream for handler in runner.logger.handlers]
    runner.train()
    assert 'Epoch(train) [1][1/3]' in plain(screen.getvalue())
    assert [handler.stream for handler in runner.logger.handlers] == original
    assert isinstance(sys.stdout, Terminal)


def test_log_lines_of_a_redirected_output_stay_there(tmp_path, monkeypatch):
    hook, screen = terminal_hook()
    monkeypatch.setattr(sys, 'stdout', io.StringIO())
    make_runner(tmp_path, hook).train()
    assert 'Epoch(train) [1][1/3]' in plain(sys.stdout.getvalue())
    assert 'Epoch(train)' not in plain(screen.getvalue())


def test_bar_goes_after_an_error(tmp_path):
    hook, screen = terminal_hook()
    stderr = sys.stderr
    runner = make_runner(tmp_path, hook, fail_at=2)
    with pytest.raises(RuntimeError, match='broken step'):
        runner.train()
    runner.call_hook('close_bar')  # as the tools do
    assert hook._bar is None and sys.stderr is stderr
    assert screen.getvalue().rstrip().endswith('\x1b[?25h')
    hook.close_bar()  # twice does no harm


@pytest.mark.parametrize(
    ('batch', 'images'),
    [
        (dict(inputs=torch.zeros(5, 3), data_samples=[0] * 5), 5),
        (dict(inputs=[torch.zeros(5, 3)] * 2, data_samples=[0] * 5), 5),
        (dict(inputs=torch.zeros(5, 3), data_samples=None), 5),
        (torch.zeros(4, 3), 4),
        ((torch.zeros(4, 3), torch.zeros(4)), 4),
        (dict(), 0),
    ],
)
def test_count_images(batch, images):
    assert count_images(batch) == images


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [
        (0.4, '0 s'),
        (59.7, '1 min 00 s'),
        (249, '4 min 09 s'),
        (11100, '3 h 05 min'),
        (2 * 86400 + 3 * 3600 + 59, '2 d 03 h'),
    ],
)
def test_format_seconds(seconds, text):
    assert format_seconds(seconds) == text
