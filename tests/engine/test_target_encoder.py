"""EMA, accumulation and its counter, against the formula."""

import copy

import pytest
import torch
from torch import nn

from dseq_mm.models import TargetEncoder


def moved(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))


def test_linear_momentum_equals_the_formula():
    model = nn.Linear(3, 2).double()
    target = TargetEncoder(model, momentum=0.9, end_momentum=1.0)
    target.total_steps = 5
    expected = copy.deepcopy(model.state_dict())
    for step in range(7):
        moved(model, step)
        momentum = 0.9 + 0.1 * min(step / 5, 1.0)
        for name, value in model.state_dict().items():
            expected[name] = momentum * expected[name] + (1 - momentum) * value
        target.update_parameters(model)
        for name, value in target.module.state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-12)
    assert target.steps == 7


def test_counter_is_restored_with_the_state():
    model = nn.Linear(3, 2)
    target = TargetEncoder(model, momentum=0.5)
    target.total_steps = 4
    moved(model, 0)
    target.update_parameters(model)
    twin = TargetEncoder(nn.Linear(3, 2), momentum=0.5)
    twin.total_steps = 4
    twin.load_state_dict(target.state_dict())
    moved(model, 1)
    for candidate in (target, twin):
        candidate.update_parameters(model)
    for name, value in target.state_dict().items():
        assert torch.equal(value, twin.state_dict()[name]), name


def test_host_interface_moves_one_parameter_alike():
    model = nn.Linear(3, 2)
    target = TargetEncoder(model, momentum=0.5)
    target.total_steps = 4
    averaged = target.module.weight.data.clone()
    moved(model, 0)
    target.avg_func(averaged, model.weight.data, target.steps)
    target.update_parameters(model)
    torch.testing.assert_close(averaged, target.module.weight.data)


def test_no_gradient_enters_the_copy():
    target = TargetEncoder(nn.Linear(3, 2))
    assert not any(parameter.requires_grad for parameter in target.parameters())


@pytest.mark.parametrize('momenta', [(1.1, 1.2), (0.9, 0.8), (-0.1, 1.0)])
def test_momentum_out_of_range_is_refused(momenta):
    with pytest.raises(ValueError, match='0 <= momentum'):
        TargetEncoder(nn.Linear(3, 2), *momenta)
