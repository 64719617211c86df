"""The hook measures the last images, at its times, and asks nothing of others."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from torch import nn

from dseq_mm.evaluation import EffectiveRankHook, lidar, rank_me
from tests.models.builders import build_jepa, images, samples


def run(model, name, iterations=4, **settings):
    hub, said = MessageHub(name), []
    runner = SimpleNamespace(
        model=model, message_hub=hub, logger=SimpleNamespace(info=said.append)
    )
    hook = EffectiveRankHook(**settings)
    hook.before_train(runner)
    for runner.iter in range(iterations):
        if isinstance(model, nn.Module) and hasattr(model, 'sample'):
            model.loss(images(4, seed=runner.iter), samples([1, 2, 3, 4]))
        hook.after_train_iter(runner, runner.iter)
    hook.after_train(runner)
    return hub.log_scalars, said


def test_it_measures_the_target_encoder_on_the_last_images():
    model = build_jepa()
    scalars, said = run(model, 'rank', interval=2, size=6)
    assert said == []
    assert model.sample is None and not any(
        'sample' in key for key in model.state_dict()
    )
    last = torch.cat([images(4, seed=2)[2:], images(4, seed=3)])
    patches = model.encode_target(last).patches.float()
    count = patches.shape[1] - 1
    places = [round(i * count / 7) for i in range(8)]
    assert scalars['train/rank_me'].current() == pytest.approx(
        rank_me(patches.mean(1)), rel=1e-4
    )
    assert scalars['train/lidar'].current() == pytest.approx(
        lidar(patches[:, places]), rel=1e-4
    )
    assert len(scalars['train/rank_me'].data[0]) == 2  # at its interval


def test_algorithms_of_others_are_named_and_left_alone():
    scalars, said = run(nn.Linear(2, 2), 'no-rank', interval=1)
    assert not scalars
    assert 'Linear keeps no sample' in said[0]


@pytest.mark.parametrize('settings', [dict(interval=0), dict(size=1), dict(size=2.5)])
def test_refused_numbers(settings):
    with pytest.raises(ValueError, match='a whole number from'):
        EffectiveRankHook(**settings)
