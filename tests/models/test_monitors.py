"""Statistics of a batch against loops, and on inputs whose values are known."""

import pytest
import torch

from dseq_mm.models.monitors import batch_statistics
from dseq_mm.plan import PredictionPlan
from tests.models.builders import build_jepa, images, samples

RANKS = torch.tensor([[0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 1, 2], [0, 0, 0, 2, 1, -1]])


def make(seed=0, dims=5):
    plan = PredictionPlan.from_ranks(RANKS, 3)
    generator = torch.Generator().manual_seed(seed)
    shape = (*plan.target_ids.shape, dims)
    pair = torch.randn(2, *shape, generator=generator)
    pair[:, plan.target_ids < 0] = torch.nan  # padding may be anything
    return pair[0], pair[1], plan


def loops(prediction, target, plan):
    """The same by lists."""
    real = [
        (row, slot)
        for row in range(len(plan.target_ids))
        for slot in range(plan.target_ids.shape[1])
        if plan.target_ids[row, slot] >= 0
    ]
    wanted = torch.stack([target[place] for place in real]).double()
    given = torch.stack([prediction[place] for place in real]).double()
    mean = wanted.mean(0)
    steps = [int(plan.target_step[place]) for place in real]
    error = (given - wanted).square().sum(1)
    spread = (wanted - mean).square().sum(1)

    def size(ids):
        return torch.tensor([sum(i >= 0 for i in row) for row in ids.tolist()])

    found = dict(
        context_patches=size(plan.context_ids).double().mean(),
        target_patches=size(plan.target_ids).double().mean(),
        target_std=wanted.std(0, correction=0).mean(),
        prediction_std=given.std(0, correction=0).mean(),
        unexplained=error.sum() / spread.sum(),
    )
    for step in range(2):
        chosen = torch.tensor([s == step + 1 for s in steps])
        found[f'unexplained_step{step + 1}'] = (
            error[chosen].sum() / spread[chosen].sum()
        )
    unit = torch.nn.functional.normalize(wanted, dim=1)
    found['target_cosine'] = (unit @ unit.T).mean()
    return {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize('seed', range(3))
def test_loops(seed):
    prediction, target, plan = make(seed)
    target = torch.nn.functional.normalize(target, dim=-1)  # of one length
    found = batch_statistics(prediction, target, plan)
    expected = loops(prediction, target, plan)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.item() == pytest.approx(expected[name], rel=1e-5), name


def test_known_values():
    prediction, target, plan = make(dims=7)
    same = torch.ones_like(target) * torch.arange(7.0)
    collapsed = batch_statistics(prediction, same, plan)
    assert collapsed['target_std'] < 1e-3
    assert collapsed['target_cosine'].item() == pytest.approx(1.0)
    perfect = batch_statistics(target, target, plan)
    assert perfect['unexplained'] == 0 and perfect['unexplained_step2'] == 0
    real = plan.target_ids >= 0
    best = target[real].mean(0).expand_as(target)
    constant = batch_statistics(best, target, plan)
    assert constant['unexplained'].item() == pytest.approx(1.0)
    assert constant['prediction_std'] < 1e-3
    wide = torch.randn(64, 12, 256, generator=torch.Generator().manual_seed(0))
    ranks = torch.arange(13).clamp_max(1).expand(64, -1)
    isotropic = batch_statistics(wide, wide, PredictionPlan.from_ranks(ranks, 2))
    assert isotropic['target_std'].item() == pytest.approx(1.0, abs=0.02)
    assert abs(isotropic['target_cosine'].item()) < 0.01
    assert 'unexplained_step1' not in isotropic  # there is one step


@pytest.mark.parametrize('method', ['DSeqJEPA', 'IJEPA', 'NEPA', 'CJEPA'])
def test_a_step_logs_them_and_is_not_changed_by_them(method):
    results = []
    for monitor in (True, False):
        model = build_jepa(method=method, monitor=monitor)
        losses = model.loss(images(2), samples([3, 5]))
        losses['loss'].backward()
        results.append((losses, model.backbone.patch_embed.projection.weight.grad))
    (watched, gradient), (plain, same) = results
    assert torch.equal(watched['loss'], plain['loss'])
    assert torch.equal(gradient, same)
    extra = watched.keys() - plain.keys()
    assert {'target_std', 'target_cosine', 'unexplained'} <= extra
    assert not any('loss' in name for name in extra)
    assert all(
        watched[name].isfinite() and not watched[name].requires_grad for name in extra
    )
    # R2 to R4; four blocks; every patch but the first, which is too many to log
    steps = dict(DSeqJEPA=3, IJEPA=4, CJEPA=4, NEPA=0)[method]
    assert sum(name.startswith('unexplained_step') for name in extra) == steps
