"""The online probe learns from the step's own features, and changes nothing."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from mmpretrain.structures import DataSample

from dseq_mm.evaluation import OnlineProbeHook
from tests.models.builders import build_jepa, images


def batch(start, count=6, label=None):
    """Images of two kinds: bright and dark."""
    pixels, samples = images(count, seed=start), []
    for index in range(count):
        kind = (start + index) % 2
        pixels[index] += 0.6 * kind - 0.3
        sample = DataSample(metainfo=dict(sample_idx=start + index))
        samples.append(sample.set_gt_label(kind if label is None else label))
    return dict(inputs=pixels, data_samples=samples)


def run(hook, model, name, steps=60):
    hub = MessageHub(name)
    runner = SimpleNamespace(model=model, message_hub=hub)
    hook.before_train(runner)
    for runner.iter in range(steps):
        data = batch(runner.iter)
        model.loss(**data)
        hook.after_train_iter(runner, runner.iter, data)
    return hub.log_scalars['train/probe_top1'].data[0]


def test_it_learns_and_changes_nothing():
    model = build_jepa()
    before, seed = [p.clone() for p in model.parameters()], torch.get_rng_state()
    found = run(OnlineProbeHook(2, lr=0.02), model, 'probe', 150)
    assert len(found) == 150 and found[-20:].mean() > 95 > found[:2].mean()
    assert all(map(torch.equal, model.parameters(), before))
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), seed)
    assert not any('probe' in key for key in model.state_dict())


def test_it_goes_on_from_a_checkpoint():
    model, hook = build_jepa(), OnlineProbeHook(2, lr=0.02)
    run(hook, model, 'first', 150)
    checkpoint = {}
    hook.before_save_checkpoint(None, checkpoint)
    again = OnlineProbeHook(2, lr=0.02)
    again.after_load_checkpoint(None, checkpoint)
    assert run(again, build_jepa(), 'second', 5).mean() > 90
    other = OnlineProbeHook(3)  # of other classes: it starts anew
    other.after_load_checkpoint(None, checkpoint)
    run(other, build_jepa(), 'third', 1)


def test_what_it_cannot_learn_from():
    model, hook = build_jepa(), OnlineProbeHook(2)
    runner = SimpleNamespace(model=model, message_hub=MessageHub('none'))
    hook.before_train(runner)
    data = batch(0)
    model.loss(**data)
    with pytest.raises(ValueError, match='num_classes=2.*from 5 to 5'):
        hook.after_train_iter(runner, 0, batch(0, label=5))
    bare = [DataSample(metainfo=dict(sample_idx=0))]
    with pytest.raises(ValueError, match='a label of each image'):
        hook.after_train_iter(runner, 0, dict(data_samples=bare))
    with pytest.raises(ValueError, match='take KNNHook'):
        hook.before_train(SimpleNamespace(model=torch.nn.Linear(2, 2)))
    with pytest.raises(ValueError, match='num_classes=1'):
        OnlineProbeHook(1)
