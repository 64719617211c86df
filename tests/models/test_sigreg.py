"""SIGReg against loops over points, and against what a normal sample must give."""

import math
from types import SimpleNamespace

import pytest
import torch
from mmpretrain.registry import MODELS
from torch.testing import assert_close

from dseq_mm.engine import ClockHook, TargetEncoderHook
from dseq_mm.models import SIGRegHead, TrainingClock
from dseq_mm.models.heads.sigreg import random_directions, sigreg
from dseq_mm.randomness import Purpose, hash_integers
from tests.models.builders import build_jepa, images, jepa_config, samples
from tests.models.test_jepa import regularized
from tests.oracles import regularizers as oracle
from tests.oracles.plans import random_plan

CLOCK = TrainingClock(1, 3, 0.5)
QUADRATURES = ('code', 'paper')
exact = dict(rtol=1e-12, atol=1e-12)


def normal(*size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, generator=generator, dtype=torch.float64)


def ragged(steps=3, rows=5, dims=4):
    """A plan with ragged blocks; context and prediction with NaN in the padding."""
    plan = random_plan(rows, 12, steps, torch.Generator().manual_seed(0))
    assert not plan.has_empty_group
    context = normal(*plan.context_ids.shape, dims)
    prediction = normal(*plan.target_ids.shape, dims, seed=1)
    context[plan.context_ids < 0] = torch.nan
    prediction[plan.target_ids < 0] = torch.nan
    return plan, context, prediction


def directions_of(head, channels, iteration=CLOCK.iteration):
    key = hash_integers(head.seed or 0, iteration, Purpose.DIRECTIONS)
    return random_directions(key, channels, head.slices, 'cpu')


@pytest.mark.parametrize('quadrature', QUADRATURES)
@pytest.mark.parametrize(('num', 'channels', 'slices'), [(1, 1, 1), (5, 3, 4)])
def test_it_is_the_trapezoid_of_17_points(num, channels, slices, quadrature):
    z = 0.3 + 1.7 * normal(num, channels)
    directions = random_directions(7, channels, slices, 'cpu')
    expected = oracle.sigreg(z, directions, quadrature)
    assert_close(sigreg(z, directions, quadrature).item(), expected, **exact)


@pytest.mark.parametrize('quadrature', QUADRATURES)
@pytest.mark.parametrize(
    ('sigma', 'num', 'channels', 'repeats'),
    [
        (1.0, 16, 1, 1500),
        (1.0, 16, 32, 500),
        (1.0, 256, 1, 1500),
        (1.0, 256, 8, 200),
        (1.0, 256, 64, 100),
        (0.5, 256, 8, 60),
        (2.0, 256, 8, 60),
    ],
)
def test_normal_samples_give_the_expectation(sigma, num, channels, repeats, quadrature):
    """Of the integral in closed form; the sampling error is known from the repeats."""
    z = sigma * normal(repeats, num, channels)
    slices = 16 if channels > 1 else 1
    values = torch.stack(
        [
            sigreg(one, random_directions(i, channels, slices, 'cpu'), quadrature)
            for i, one in enumerate(z)
        ]
    )
    error = values.std() / math.sqrt(repeats)
    expected = oracle.expected_sigreg(sigma, num, quadrature)
    assert error < 0.03 * expected
    assert abs(values.mean() - expected) < 3.5 * error + 1e-3 * expected


def test_expectations_are_the_known_figures():
    """Closed forms; the last two are of a single sample of the released code."""
    line = math.sqrt(2 * math.pi)
    known = {
        (1.0, 1, 'paper'): (line * (1 - 1 / math.sqrt(3)), 1e-4),
        (1.0, 4096, 'paper'): (1.0594, 1e-4),
        (1.0, 4096, 'code'): (1.0527, 1e-4),
        (0.0, 1, 'paper'): (line * (1 - math.sqrt(2) + 1 / math.sqrt(3)), 1e-4),
        (0.0, 1, 'code'): (0.402, 1e-3),
        (0.5, 256, 'code'): (39.5, 0.02),
        (2.0, 256, 'code'): (61.3, 0.02),
    }
    for arguments, (value, rel) in known.items():
        assert oracle.expected_sigreg(*arguments) == pytest.approx(value, rel=rel)


@pytest.mark.parametrize('quadrature', QUADRATURES)
@pytest.mark.parametrize('num', [2, 33])
def test_collapse_at_zero_is_stationary_and_costs_more_with_more_images(
    num, quadrature
):
    z = torch.zeros(num, 3, dtype=torch.float64, requires_grad=True)
    value = sigreg(z, random_directions(1, 3, 5, 'cpu'), quadrature)
    (gradient,) = torch.autograd.grad(value, z)
    assert (gradient == 0).all()
    expected = oracle.expected_sigreg(0.0, num, quadrature)
    assert_close(value.item(), expected, rtol=2e-3, atol=0)
    sampled = num * oracle.epps_pulley([0.0], quadrature)
    assert_close(value.item(), sampled, **exact)


@pytest.mark.parametrize('quadrature', QUADRATURES)
def test_large_scales_are_a_plateau(quadrature):
    num, directions = 512, random_directions(1, 4, 64, 'cpu')
    z = normal(num, 4)
    # the point t = 0 stays 0 at any scale, at the others f is noise of 1 / n
    weights = [(t, w * math.exp(-t * t / 2)) for t, w in oracle.points(quadrature)]
    plateau = num * sum(w * (math.exp(-t * t) + 1 / num) for t, w in weights if t)
    for scale in (1e2, 1e4):
        scaled = (scale * z).requires_grad_()
        value = sigreg(scaled, directions, quadrature)
        assert value.item() == pytest.approx(plateau, rel=0.02)
    assert oracle.expected_sigreg(2.0, num, quadrature) < plateau


def test_a_cloud_off_center_is_pulled_to_zero_and_a_narrow_one_apart():
    directions = random_directions(1, 3, 64, 'cpu')
    z = (0.3 * normal(128, 3)).requires_grad_()
    (gradient,) = torch.autograd.grad(sigreg(z, directions), z)
    assert (gradient * z).sum() < 0  # downhill is outward
    z = (normal(128, 3) + 2.0).requires_grad_()
    (gradient,) = torch.autograd.grad(sigreg(z, directions), z)
    assert (gradient.sum(0) > 0).all()


def test_directions_are_unit_isotropic_and_keyed_alone():
    state = torch.get_rng_state()
    directions = random_directions(5, 3, 20_000, 'cpu')
    assert torch.equal(torch.get_rng_state(), state)
    assert directions.shape == (3, 20_000)
    assert_close(directions.norm(dim=0), torch.ones(20_000).double(), **exact)
    second = directions @ directions.T / 20_000
    assert_close(second, torch.eye(3).double() / 3, rtol=0, atol=0.01)
    assert (directions.mean(1).abs() < 0.02).all()
    # on the sphere in three dimensions each coordinate is uniform in [-1, 1]
    sorted_, _ = directions.sort(dim=1)
    line = torch.linspace(-1, 1, 20_000, dtype=torch.float64).expand_as(sorted_)
    assert_close(sorted_, line, rtol=0, atol=0.03)
    torch.manual_seed(9)
    assert torch.equal(random_directions(5, 3, 20_000, 'cpu'), directions)
    assert not torch.isclose(random_directions(6, 3, 20_000, 'cpu'), directions).all()


def test_iteration_and_seed_choose_the_directions_and_nothing_else_does():
    plan, context, prediction = ragged()

    def loss(seed, clock):
        head = SIGRegHead(4, slices=3, projector=(), seed=seed)
        return head.loss(context, prediction, None, plan, clock)[0]

    first = loss(1, TrainingClock(0, 3, 0.1))
    assert torch.equal(loss(1, TrainingClock(5, 3, 0.9)), first)
    assert loss(1, TrainingClock(0, 4, 0.1)) != first
    assert loss(2, TrainingClock(0, 3, 0.1)) != first
    assert torch.equal(loss(None, TrainingClock(0, 3, 0.1, seed=1)), first)
    assert torch.equal(loss(1, TrainingClock(0, 3, 0.1, seed=2)), first)


def test_clock_hook_hands_over_the_seed_of_the_run():
    model = MODELS.build(jepa_config(**regularized('IJEPA', type='SIGRegHead')))
    runner = SimpleNamespace(
        model=model,
        hooks=[TargetEncoderHook()],
        seed=11,
        iter=0,
        max_epochs=1,
        max_iters=1,
        param_schedulers=None,
        train_loop=None,
        train_dataloader=SimpleNamespace(dataset=None),
    )
    hook = ClockHook()
    hook.before_train(runner)
    runner.epoch = 0
    hook.before_train_iter(runner, 0)
    assert model.clock.seed == 11


@pytest.mark.parametrize('quadrature', QUADRATURES)
@pytest.mark.parametrize('on', ['context', 'prediction'])
@pytest.mark.parametrize('unrolled', [False, True])
def test_loss_is_the_mean_over_views(on, quadrature, unrolled):
    plan, context, prediction = ragged()
    if unrolled:
        plan = plan.unroll()
        context = normal(*plan.context_ids.shape, 4)
        prediction = normal(*plan.target_ids.shape, 4, seed=1)
    head = SIGRegHead(
        4, on=on, weight=0.3, slices=3, quadrature=quadrature, projector=(), seed=5
    )
    loss, log = head.loss(context, prediction, None, plan, CLOCK)
    means = (
        oracle.context_means(plan, context)
        if on == 'context'
        else oracle.block_means(plan, prediction)
    )
    views = oracle.stack(means).transpose(0, 1)  # (V, n, D)
    assert len(views) == (3 if unrolled or on == 'prediction' else 1)
    directions = directions_of(head, 4)
    terms = [oracle.sigreg(view, directions, quadrature) for view in views]
    expected = sum(terms) / len(terms)
    assert_close(log['sigreg'].item(), expected, **exact)
    assert_close(loss.item(), 0.3 * expected, **exact)


def test_projector_comes_before_the_test():
    plan, context, prediction = ragged()
    torch.manual_seed(0)
    head = SIGRegHead(4, slices=8, projector=(6, 3), weight=1.0).double()
    loss, _ = head.loss(context, prediction, None, plan, CLOCK)
    rows = [views[0] for views in oracle.context_means(plan, context)]
    z = torch.stack(oracle.project(head.projector, rows)).detach()
    expected = oracle.sigreg(z, directions_of(head, 3), 'code')
    assert_close(loss.item(), expected, **exact)


@pytest.mark.parametrize('on', ['context', 'prediction'])
def test_autocast_keeps_the_term_in_float32(on):
    plan, context, prediction = ragged()
    context, prediction = context.bfloat16(), prediction.bfloat16()
    torch.manual_seed(0)
    head = SIGRegHead(4, on=on, slices=8, projector=(6, 3))
    plain, _ = head.loss(context.float(), prediction.float(), None, plan, CLOCK)
    with torch.autocast('cpu', torch.bfloat16):
        loss, log = head.loss(context, prediction, None, plan, CLOCK)
    assert loss.dtype == log['sigreg'].dtype == torch.float32
    assert torch.equal(loss, plain)


@pytest.mark.parametrize('method', ['IJEPA', 'DSeqJEPA'])
def test_term_is_logged_and_added(method):
    head = dict(type='SIGRegHead', weight=0.5, slices=16)
    model = build_jepa(**regularized(method, **head))
    model.clock = CLOCK
    losses = model.loss(images(4), samples(range(4)))
    total = losses['latent'] + 0.5 * losses['sigreg']
    assert_close(losses['loss'].detach(), total)
    assert not losses['sigreg'].requires_grad


def test_it_joins_other_regularizers():
    heads = [
        dict(type='VICRegHead', projector=(8, 8)),
        dict(type='SIGRegHead', projector=(8, 8), slices=16),
    ]
    losses = build_jepa(method='CJEPA', regularizers=heads).loss(
        images(4), samples(range(4))
    )
    losses['loss'].backward()
    assert {'latent', 'vicreg_sim', 'sigreg'} <= losses.keys()


def test_a_single_image_is_refused():
    plan, context, prediction = ragged(rows=1)
    head = SIGRegHead(4, projector=())
    with pytest.raises(ValueError, match='2 images.*batch_size'):
        head.loss(context, prediction, None, plan, CLOCK)


def test_an_empty_region_is_refused_where_it_is_looked_at():
    plan = random_plan(4, 4, 4, torch.Generator().manual_seed(1))
    assert plan.has_empty_group
    tokens = (normal(*ids.shape, 4) for ids in (plan.context_ids, plan.target_ids))
    context, prediction = tokens
    head = SIGRegHead(4, projector=())
    assert head.loss(context, prediction, None, plan, CLOCK)[0].isfinite()
    with pytest.raises(ValueError, match='released=False'):
        SIGRegHead(4, on='prediction').loss(context, prediction, None, plan, CLOCK)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(on='target'), "'context' or 'prediction'"),
        (dict(quadrature='simpson'), "'code' or 'paper'"),
        (dict(weight=-0.1), 'weight=-0.1 of SIGRegHead: .* from 0'),
        (dict(slices=0), 'slices=0 of SIGRegHead: .* whole number from 1'),
        (dict(slices=1.5), 'slices=1.5 of SIGRegHead'),
        (dict(projector=(-1,)), 'widths must be positive'),
    ],
)
def test_nonsense_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SIGRegHead(4, **options)
