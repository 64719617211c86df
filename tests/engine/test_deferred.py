"""The log of a deferring hook is the host's, only later."""

import pytest
import torch
from mmengine.logging import MessageHub

from dseq_mm.engine.deferred import DeferredRead, DeferredRuntimeInfoHook


class LateRead(DeferredRead):
    """Says that it is on its way, as on an accelerator, until it is waited for."""

    on_its_way = True


class LateHook(DeferredRuntimeInfoHook):
    def _read(self, values):
        return LateRead(values)


class Runner:
    def __init__(self, name):
        self.message_hub = MessageHub.get_instance(name)

    def history(self, key):
        return self.message_hub.get_scalar(f'train/{key}').data[0].tolist()


@pytest.mark.parametrize('hook', [DeferredRuntimeInfoHook, LateHook])
def test_every_value_is_logged_once_and_in_order(hook):
    runner, hook = Runner(f'whole_{hook.__name__}'), hook()
    for step in range(4):
        outputs = dict(loss=torch.tensor(1.0 + step), share=0.5 * step)
        if step % 2:
            outputs['extra'] = torch.tensor(10.0 * step)
        hook.after_train_iter(runner, step, outputs=outputs)
    hook.after_train_epoch(runner)
    hook.after_train_epoch(runner)  # nothing twice
    assert runner.history('loss') == [1, 2, 3, 4]
    assert runner.history('extra') == [10, 30]
    assert runner.history('share') == [0, 0.5, 1, 1.5]


def test_a_late_value_waits_for_the_next_iteration():
    runner, hook = Runner('late'), LateHook()
    hook.after_train_iter(runner, 0, outputs=dict(loss=torch.tensor(1.0)))
    assert 'train/loss' not in runner.message_hub.log_scalars
    hook.after_train_iter(runner, 1, outputs=dict(loss=torch.tensor(2.0)))
    assert runner.history('loss') == [1]


def test_a_checkpoint_has_the_whole_history():
    runner, hook = Runner('saved'), LateHook()
    hook.after_train_iter(runner, 0, outputs=dict(loss=torch.tensor(1.0)))
    checkpoint = dict(message_hub=runner.message_hub.state_dict())
    hook.before_save_checkpoint(runner, checkpoint)
    saved = checkpoint['message_hub']['log_scalars']['train/loss']
    assert saved.data[0].tolist() == [1]
