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
    expected = copy.deepcopy(model.state_dict())
    for step in range(7):
        moved(model, step)
        momentum = 0.9 + 0.1 * min(step / 5, 1.0)
        for name, value in model.state_dict().items():
            expected[name] = momentum * expected[name] + (1 - momentum) * value
        target.progress = step / 5
        target.update_parameters(model)
        for name, value in target.module.state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-12)
    assert target.steps == 7


def test_a_step_at_an_unknown_time_is_refused():
    model = nn.Linear(3, 2)
    with pytest.raises(ValueError, match='how much of the training is done'):
        TargetEncoder(model).update_parameters(model)


def test_nothing_of_a_finished_run_stops_the_next_one():
    """Momentum follows the progress, not a counter in the state."""
    model = nn.Linear(3, 2)
    target = TargetEncoder(model, momentum=0.5)
    target.progress = 1.0
    target.update_parameters(model)
    twin = TargetEncoder(nn.Linear(3, 2), momentum=0.5)
    twin.load_state_dict(target.state_dict())
    twin.progress = 0.0
    moved(model, 1)
    expected = (twin.module.weight + model.weight).detach() / 2
    twin.update_parameters(model)
    torch.testing.assert_close(twin.module.weight, expected)


def test_host_interface_moves_one_parameter_alike():
    model = nn.Linear(3, 2)
    target = TargetEncoder(model, momentum=0.5)
    target.progress = 0.25
    averaged = target.module.weight.data.clone()
    moved(model, 0)
    target.avg_func(averaged, model.weight.data, target.steps)
    target.update_parameters(model)
    torch.testing.assert_close(averaged, target.module.weight.data)


def normalized(training):
    """A network with batch norm, its average, and images that are not normal."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).train()
    target = TargetEncoder(model, momentum=0.5).train(training)
    target.progress = 0.0
    return model, target, 5 + 3 * torch.randn(64, 3)


@pytest.mark.parametrize('training', [False, True])
def test_statistics_of_batch_norm_are_those_of_the_context_encoder(training):
    """As MMEngine's averages have them by default."""
    model, target, inputs = normalized(training)
    for step in range(3):
        moved(model, step)
        model(inputs), target(inputs)
        target.update_parameters(model)
    ours, theirs = target.module[1], model[1]
    assert torch.equal(ours.running_mean, theirs.running_mean)
    assert torch.equal(ours.running_var, theirs.running_var)
    assert ours.running_mean.any() and ours.num_batches_tracked == 3
    assert ours.running_mean.data_ptr() != theirs.running_mean.data_ptr()


def test_a_target_encoder_in_evaluation_mode_normalizes():
    model, target, inputs = normalized(training=False)
    for _ in range(100):
        model(inputs)
    target.update_parameters(model)
    assert target(inputs).mean(0).abs().max() < 0.1  # 5 and more without statistics


def test_a_checkpoint_with_statistics_that_were_never_copied_goes_on():
    model, target, inputs = normalized(training=False)
    before = copy.deepcopy(target.state_dict())
    model(inputs)
    target.update_parameters(model)
    assert before.keys() == target.state_dict().keys()
    target.load_state_dict(before)
    assert not target.module[1].running_mean.any()
    target.update_parameters(model)
    assert torch.equal(target.module[1].running_mean, model[1].running_mean)


def test_no_gradient_enters_the_copy():
    target = TargetEncoder(nn.Linear(3, 2))
    assert not any(parameter.requires_grad for parameter in target.parameters())


@pytest.mark.parametrize('momenta', [(1.1, 1.2), (0.9, 0.8), (-0.1, 1.0)])
def test_momentum_out_of_range_is_refused(momenta):
    with pytest.raises(ValueError, match='0 <= momentum'):
        TargetEncoder(nn.Linear(3, 2), *momenta)
