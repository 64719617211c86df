import copy

import pytest
import torch
from torch import nn

from dseq_mm.engine import GuardedOptimWrapper, NonFiniteLossError


def wrapper(model, accumulated=1, fused=False, **kwargs):
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=0.1, weight_decay=0.5, fused=fused
    )
    return GuardedOptimWrapper(
        optimizer=optimizer, accumulative_counts=accumulated, **kwargs
    )


@pytest.mark.parametrize('fused', [False, True])
@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
@pytest.mark.parametrize('accumulated', [1, 2])
def test_bad_loss_stops_before_the_weights_change(bad, accumulated, fused):
    model = nn.Linear(2, 1)
    optim = wrapper(model, accumulated, fused)
    for step in range(accumulated):
        optim.describe_batch(step, [f'good_{step}.png'])
        optim.update_params(model(torch.ones(1, 2)).sum())
    weights = copy.deepcopy(model.state_dict())
    state = copy.deepcopy(optim.optimizer.state_dict())
    with pytest.raises(NonFiniteLossError, match='iteration .*11.*bad.png'):
        for step in range(accumulated):
            optim.describe_batch(11 - step, ['bad.png'])
            optim.update_params(
                model(torch.ones(1, 2)).sum() * (bad if step == 0 else 1)
            )
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name])
    for index, values in optim.optimizer.state_dict()['state'].items():
        for name, value in values.items():
            assert torch.equal(value, state['state'][index][name])


def test_infinite_loss_with_finite_gradient_is_caught():
    model = nn.Linear(2, 1)
    optim = wrapper(model)
    loss = model(torch.ones(1, 2)).sum() + float('inf')
    with pytest.raises(NonFiniteLossError):
        optim.update_params(loss)


def test_bad_gradient_with_finite_loss_is_caught():
    model = nn.Linear(2, 1)
    optim = wrapper(model)
    value = model(torch.zeros(1, 2)).sum()
    loss = torch.sqrt((value - value.detach()).abs()).sum()  # infinite slope at 0
    assert loss.isfinite()
    with pytest.raises(NonFiniteLossError):
        optim.update_params(loss)


def test_bfloat16_autocast_runs_and_is_off_by_default():
    model = nn.Linear(2, 1)
    for dtype, expected in ((None, torch.float32), ('bfloat16', torch.bfloat16)):
        optim = wrapper(model, dtype=dtype)
        with optim.optim_context(model):
            assert model(torch.ones(1, 2)).dtype == expected


def test_float16_is_refused_with_advice():
    with pytest.raises(ValueError, match='AmpOptimWrapper'):
        wrapper(nn.Linear(2, 1), dtype='float16')


def test_fused_optimizer_skips_a_flagged_update():
    """What the wrapper relies on where it does not wait for the flag."""
    model = nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    weights = copy.deepcopy(model.state_dict())
    state = copy.deepcopy(optimizer.state_dict()['state'])
    model.weight.grad.fill_(float('nan'))
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step()
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name])
    for index, values in optimizer.state_dict()['state'].items():
        for name, value in values.items():
            assert torch.equal(value, state[index][name]), name
    model.weight.grad.fill_(1.0)
    optimizer.found_inf = torch.tensor(0.0)
    optimizer.step()
    assert not torch.equal(model.weight, weights['weight'])
