import copy

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from dseq_mm.engine import GuardedOptimWrapper, NonFiniteLossError
from dseq_mm.engine.deferred import DeferredRead


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


@pytest.mark.parametrize(
    ('clip_grad', 'message'),
    [
        (dict(max_nrom=1.0), "clip_grad.*'max_nrom'; did you mean 'max_norm'"),
        (dict(type='value', max_norm=1.0), "clip_grad.*'max_norm'; it has.*clip_value"),
    ],
)
def test_options_of_clipping_are_checked_before_the_first_step(clip_grad, message):
    with pytest.raises(ValueError, match=message):
        wrapper(nn.Linear(2, 1), clip_grad=clip_grad)
    wrapper(nn.Linear(2, 1), clip_grad=dict(max_norm=1.0, foreach=False))
    wrapper(nn.Linear(2, 1), clip_grad=dict(type='value', clip_value=1.0))


def test_infinite_loss_with_finite_gradient_is_caught():
    model = nn.Linear(2, 1)
    optim = wrapper(model)
    loss = model(torch.ones(1, 2)).sum() + float('inf')
    with pytest.raises(NonFiniteLossError):
        optim.update_params(loss)


def test_a_model_may_go_backward_and_step_by_itself():
    model = nn.Linear(2, 1)
    optim = wrapper(model)
    weight = model.weight.detach().clone()
    optim.backward(model(torch.ones(1, 2)).sum())
    optim.step()
    assert not torch.equal(model.weight, weight)
    optim.backward(model(torch.ones(1, 2)).sum() * float('nan'))
    with pytest.raises(NonFiniteLossError):
        optim.step()


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


@pytest.mark.parametrize('accumulated', [1, 2])
@pytest.mark.parametrize('late', [False, True])
def test_clipping_is_the_hosts_and_its_norm_is_logged(accumulated, late, monkeypatch):
    monkeypatch.setattr(DeferredRead, 'on_its_way', late)  # as on a GPU
    ours, host = nn.Linear(2, 1), nn.Linear(2, 1)
    host.load_state_dict(ours.state_dict())
    settings = dict(accumulative_counts=accumulated, clip_grad=dict(max_norm=0.1))
    optims = [
        kind(optimizer=torch.optim.SGD(model.parameters(), lr=0.1), **settings)
        for kind, model in ((GuardedOptimWrapper, ours), (OptimWrapper, host))
    ]
    hub = MessageHub('clip')
    for optim in optims:
        optim.message_hub = hub if optim is optims[0] else MessageHub('host')
    for step in range(3 * accumulated):
        for optim, model in zip(optims, (ours, host), strict=True):
            optim.update_params(model(torch.ones(1, 2)).sum() * (step + 1))
    for name, value in ours.state_dict().items():
        assert torch.equal(value, host.state_dict()[name])
    norms = [
        optim.message_hub.get_scalar('train/grad_norm').data[0].tolist()
        for optim in optims
    ]
    assert len(norms[1]) == 3 and norms[0] == norms[1][: 2 if late else 3]
    optims[0].raise_if_nonfinite()  # as before a checkpoint is written
    assert hub.get_scalar('train/grad_norm').data[0].tolist() == norms[1]


class CountReads(TorchDispatchMode):
    """Count operations that would make the host wait for a GPU."""

    reads = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.reads += name in ('_local_scalar_dense', 'nonzero', 'equal', 'is_nonzero')
        return func(*args, **(kwargs or {}))


def test_clipping_reads_nothing_between_backward_and_update(monkeypatch):
    monkeypatch.setattr(DeferredRead, 'on_its_way', True)  # as on a GPU
    reads = []
    for clip in (None, dict(max_norm=0.1)):
        model = nn.Linear(2, 1)
        optim = wrapper(model, clip_grad=clip)
        monkeypatch.setattr(optim, 'raise_if_nonfinite', lambda: None)
        loss = model(torch.ones(1, 2)).sum()
        with CountReads() as mode:
            optim.update_params(loss)
        reads.append(mode.reads)
    assert reads[0] == reads[1]  # AdamW on the CPU reads its own counters


@pytest.mark.parametrize('late', [False, True])
def test_an_update_that_leaves_the_range_of_numbers_is_caught(late, monkeypatch):
    """Loss and gradient are finite; the weight after the step is not."""
    monkeypatch.setattr(DeferredRead, 'on_its_way', late)  # as on a GPU
    model = nn.Linear(2, 1, bias=False)
    optim = GuardedOptimWrapper(
        optimizer=torch.optim.SGD(model.parameters(), lr=3e38, momentum=0.0)
    )
    optim.describe_batch(4, ['large.png'])

    def step():
        optim.update_params(model(torch.full((1, 2), 1e3)).sum())

    with pytest.raises(NonFiniteLossError, match='update of iteration 4.*large.png'):
        step()
        assert late and not model.weight.isfinite().all()
        optim.raise_if_nonfinite()  # as before a checkpoint is written


def test_accumulation_counts_from_where_a_run_goes_on():
    """A run resumed at iteration 5 of 9 steps at the 3rd and at the 4th, its last."""
    model = nn.Linear(2, 1)
    optim = wrapper(model, accumulated=3)
    optim.initialize_count_status(model, 5, 9)
    stepped = []
    for _ in range(4):
        before = model.weight.detach().clone()
        optim.update_params(model(torch.ones(1, 2)).sum())
        stepped.append(not torch.equal(before, model.weight))
    assert stepped == [False, False, True, True]
