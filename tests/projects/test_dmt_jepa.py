"""DMT-JEPA against its equations, and what keeps it from mixing images."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from torch.testing import assert_close

from dseq_mm.engine import StrictCheckpointHook, TargetEncoderHook
from dseq_mm.models import EncodedImage, TrainingClock
from dseq_mm.plan import PredictionPlan
from dseq_mm.transfer.checkpoint import load_checkpoint
from projects.dmt_jepa import LocalAggregation
from projects.dmt_jepa.aggregation import QUERIES
from projects.dmt_jepa.measure_targets import (
    differences,
    smooth_features,
    targets_at_start,
)
from projects.dmt_jepa.neighbors import semantic_neighbors, window_candidates
from tests.end_to_end.test_resume import same
from tests.models.builders import build_jepa, images, jepa_config, samples
from tests.models.test_synchronisation import waits_of_step
from tests.oracles.plans import normalized, random_plan
from tests.projects import dmt_oracle as oracle

CONFIGS = Path(__file__).parents[2] / 'projects' / 'dmt_jepa' / 'configs'
GRID, COUNT = (3, 4), 12
OPTIONS = [dict(query=query) for query in QUERIES]
OPTIONS += [dict(query='image_mean', released=True), dict(window=5, neighbors=9)]
exact = dict(rtol=0, atol=1e-10)


def features(batch=3, grid=GRID, dims=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, grid[0] * grid[1], dims)
    tokens = torch.randn(shape, generator=generator, dtype=torch.float64)
    return torch.nn.functional.layer_norm(tokens, [dims])


def build_head(dims=16, **options):
    """A head whose parameters are all clearly not what they start from."""
    torch.manual_seed(1)
    head = LocalAggregation(dims, 2, **options).double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return head


def build(seed=0, **kwargs):
    return build_jepa(seed, method='DMTJEPA', **kwargs)


def plan_of(model, batch):
    tokens = torch.zeros(batch, COUNT, 16)
    return model.mask_generator(
        EncodedImage(tokens, GRID), torch.arange(batch), model.clock
    )


@pytest.fixture(scope='module')
def plan():
    """Three ragged rows whose context does not grow, with patches in several groups."""
    generator = torch.Generator().manual_seed(0)
    made = random_plan(3, COUNT, 3, generator, growing=False)
    assert (made.context_ids < 0).any() and (made.target_ids < 0).any()
    row = made.target_ids[0][made.target_ids[0] >= 0]
    assert len(row.unique()) < len(row)
    return made


def test_candidates_of_an_oblong_grid():
    found = [{p for p in row if p >= 0} for row in window_candidates(GRID, 3).tolist()]
    assert found[0] == {1, 4, 5}  # corners
    assert found[11] == {6, 7, 10}
    assert found[2] == {1, 3, 5, 6, 7}  # edges
    assert found[4] == {0, 1, 5, 8, 9}
    assert found[6] == {1, 2, 3, 5, 7, 9, 10, 11}  # interior
    for grid, side in (((4, 6), 5), ((1, 5), 3), ((2, 2), 7)):
        rows = window_candidates(grid, side).tolist()
        for patch, row in enumerate(rows):
            assert len(row) == side * side - 1
            assert sorted(p for p in row if p >= 0) == sorted(
                oracle.window(patch, grid, side)
            )


def test_released_windows_reach_over_the_edges():
    rows = window_candidates((14, 14), 3, toroidal=True).tolist()
    assert set(rows[0]) == {1, 13, 14, 15, 27, 182, 183, 195}
    wrapped = 0
    for patch, row in enumerate(rows):
        assert set(row) == oracle.window(patch, (14, 14), toroidal=True)
        wrapped += len(set(row) - oracle.window(patch, (14, 14))) > 0
    assert wrapped == 52  # the edge of the grid


@pytest.mark.parametrize(('side', 'count'), [(3, 1), (3, 4), (3, 8), (5, 9)])
def test_neighbors_are_the_most_similar_candidates(side, count):
    tokens = features() * torch.rand(3, COUNT, 1)  # lengths must not matter
    found = semantic_neighbors(tokens, GRID, side, count)
    for image in range(3):
        for patch in range(COUNT):
            expected = oracle.neighbors(tokens[image], patch, GRID, side, count)
            padding = [-1] * (count - len(expected))
            assert found[image, patch].tolist() == expected + padding
    if (side, count) == (3, 4):
        assert (found < 0).sum() == 3 * 4  # one at each corner


def test_autocast_changes_no_neighbor():
    near = features()[:, :1] + 0.05 * features(seed=1)
    expected = semantic_neighbors(near, GRID, 3, 4)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(semantic_neighbors(near.float(), GRID, 3, 4), expected)
        unit = torch.nn.functional.normalize(near.float(), dim=-1)
        assert (unit @ unit.mT).unique().numel() < COUNT  # what it would do


@pytest.mark.parametrize('unrolled', [False, True])
@pytest.mark.parametrize('options', OPTIONS)
def test_targets_are_those_of_the_equations(plan, options, unrolled):
    plan = plan.unroll() if unrolled else plan
    head, tokens = build_head(**options), features()
    with torch.no_grad():
        found = head.targets(tokens, GRID, plan)
        for row, ids in enumerate(plan.target_ids.tolist()):
            image = row // plan.rows_per_sample
            for slot, patch in enumerate(ids):
                if patch >= 0:
                    expected = oracle.target(head, tokens, image, patch, GRID)
                    assert_close(found[row, slot], expected, **exact)


def test_targets_come_from_the_average_and_from_normalized_tokens(plan):
    model = build().double()
    raw = (5 * features() + 1).requires_grad_()
    found = model.targets(EncodedImage(raw, GRID), plan)
    assert not found.requires_grad
    head = model.target_head.module
    with torch.no_grad():
        tokens = [[normalized(token) for token in image] for image in raw]
        for slot, patch in enumerate(plan.target_ids[1].tolist()):
            if patch >= 0:
                expected = oracle.target(head, tokens, 1, patch, GRID)
                assert_close(found[1, slot], expected, **exact)


@pytest.mark.parametrize('unrolled', [False, True])
def test_context_head_is_that_of_the_equations(plan, unrolled):
    plan = plan.unroll() if unrolled else plan
    head = build_head()
    context = plan.gather(features(seed=2), plan.context_ids)
    context[plan.context_ids < 0] = 1e6  # padding must reach nothing
    with torch.no_grad():
        found = head(context, plan)
        for row, real in enumerate(plan.context_ids >= 0):
            expected = oracle.mix(head, list(context[row][real]))
            assert_close(found[row][real], torch.stack(expected), **exact)


def test_released_query_is_the_mean_of_another_image():
    """Which targets change with image j: its own, and those that it is donor of."""
    model = build(aggregation=dict(query='image_mean', released=True))
    batch, j = 5, 2
    plan = plan_of(model, batch)
    tokens = features(batch).float()
    before = model.targets(EncodedImage(tokens, GRID), plan)
    tokens[j] = features(1, seed=3)[0].float()
    after = model.targets(EncodedImage(tokens, GRID), plan)
    foreign = 0
    for image, ids in enumerate(plan.target_ids.tolist()):
        for slot, patch in enumerate(ids):
            if patch >= 0:
                donated = (image * COUNT + patch) % batch == j
                same = torch.equal(before[image, slot], after[image, slot])
                assert same == (image != j and not donated)
                foreign += donated and image != j
    assert foreign > 0


@pytest.mark.parametrize('query', QUERIES)
def test_image_j_changes_only_row_j(query):
    model = build(aggregation=dict(query=query)).eval()
    inputs = images(4)

    def rows():
        encoded = model.encode_target(inputs)
        plan = model.mask_generator(encoded, torch.arange(4), model.clock)
        prediction = model.neck(model.encode_context(inputs, plan), plan)
        return plan, model.targets(encoded, plan), prediction

    plan, *before = rows()
    inputs[2] += torch.randn(3, 12, 16)
    _, *after = rows()
    real = plan.target_ids >= 0
    for one, other in zip(before, after, strict=True):
        assert_close(one[[0, 1, 3]], other[[0, 1, 3]], rtol=0, atol=1e-5)
        moved = (one - other).abs().amax(-1)
        assert (moved[2][real[2]] > 1e-4).all()


SEQUENTIAL = dict(
    unrolled=True,
    cls_token=True,
    mask_generator=dict(
        type='DiscriminativeMaskGenerator',
        saliency=dict(type='ClassTokenSimilarity', block=1),
        num_regions=3,
    ),
)


@pytest.mark.parametrize('kwargs', [{}, dict(cls_token=True), SEQUENTIAL])
def test_gradient_reaches_every_parameter_and_no_average(kwargs):
    model = build(**kwargs)
    model.clock = TrainingClock(0, 3, 1.0)
    loss = model.loss(images(4), samples(range(4)))['loss']
    assert loss.isfinite()
    loss.backward()
    for name, parameter in model.named_parameters():
        if name.startswith(('target_encoder.', 'target_head.')) or 'pos_embed' in name:
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            # a softmax does not feel a shift that all keys share
            assert parameter.grad.abs().sum() > 0 or name.endswith('k.bias'), name


def test_autocast_keeps_means_targets_and_loss_in_float32(monkeypatch):
    model, made = build(), []

    def recorded(compute):
        return lambda *args: made.append(compute(*args)) or made[-1]

    monkeypatch.setattr(
        PredictionPlan, 'pool_context', recorded(PredictionPlan.pool_context)
    )
    model.targets = recorded(model.targets)
    with torch.autocast('cpu', torch.bfloat16):
        made.append(model.loss(images(2), samples(range(2)))['loss'])
    assert len(made) == 4  # a mean for each block, targets, loss
    assert all(found.dtype == torch.float32 for found in made)
    assert made[-1].isfinite()


def test_averages_start_equal_and_stay_in_eval_mode():
    model = build(spread=False).train()
    same(model.context_head.state_dict(), model.target_head.module.state_dict())
    assert model.context_head.training
    assert not any(part.training for part in model.target_head.modules())
    assert not any(part.training for part in model.target_encoder.modules())


def test_hook_averages_the_head_by_the_formula():
    model = build(target_encoder=dict(momentum=0.9)).double()
    wrapper = SimpleNamespace(_accumulative_counts=1, should_update=lambda: True)
    runner = SimpleNamespace(
        model=model, iter=0, max_iters=5, train_loop=None, optim_wrapper=wrapper
    )
    runner.message_hub = MessageHub('course')
    hook = TargetEncoderHook()
    hook.before_train(runner)
    names = [name for name, _ in model.context_head.named_parameters()]
    expected = {k: v.clone() for k, v in model.target_head.module.state_dict().items()}
    for step in range(3):
        runner.iter = step
        with torch.no_grad():
            for parameter in model.context_head.parameters():
                parameter.add_(torch.randn_like(parameter))
        hook.after_train_iter(runner, step)
        momentum = 0.9 + 0.1 * step / 5
        for name in names:
            online = model.context_head.get_parameter(name)
            expected[name] = momentum * expected[name] + (1 - momentum) * online
            found = model.target_head.module.get_parameter(name)
            assert_close(found, expected[name], **exact)
    assert model.target_head.steps == model.target_encoder.steps == 3


def test_checkpoint_restores_both_heads_and_one_without_them_is_refused(tmp_path):
    model, other = build(), build(seed=1)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'a.pth')
    checkpoint = load_checkpoint(tmp_path / 'a.pth')
    hook, runner = StrictCheckpointHook(), SimpleNamespace(model=other)
    hook.after_load_checkpoint(runner, checkpoint)
    other.load_state_dict(checkpoint['state_dict'])
    same(model.state_dict(), other.state_dict())
    for part in ('context_head.', 'target_head.'):
        state = checkpoint['state_dict'].items()
        rest = {k: v for k, v in state if not k.startswith(part)}
        assert len(rest) < len(state)
        with pytest.raises(ValueError, match=part):
            hook.after_load_checkpoint(runner, dict(state_dict=rest))


def test_optimizer_has_the_online_head_alone():
    model = build()
    wrapper = Config.fromfile(CONFIGS / 'dmt_digitscenes_20e.py').optim_wrapper
    built = Runner.build_optim_wrapper(SimpleNamespace(model=model), wrapper)
    decayed = {}
    for group in built.optimizer.param_groups:
        for parameter in group['params']:
            decayed[id(parameter)] = group['weight_decay'] > 0
    for name, parameter in model.named_parameters():
        if name.startswith(('target_encoder.', 'target_head.')):
            assert id(parameter) not in decayed, name
        elif name.startswith('context_head.'):
            assert decayed[id(parameter)] == (parameter.ndim > 1), name


@pytest.mark.parametrize('options', OPTIONS)
def test_a_step_never_waits_for_the_device(options):
    assert waits_of_step(build(aggregation=options)) == []


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(window=4), 'window=4'),
        (dict(window=1), 'window=1'),
        (dict(neighbors=9), '8 candidates'),
        (dict(neighbors=0), '8 candidates'),
        (dict(query='mean'), 'selected_mean, image_mean, self_patch'),
        (dict(query='self_patch', released=True), "query='image_mean'"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(jepa_config('DMTJEPA', aggregation=options))


def test_context_that_grows_is_refused():
    with pytest.raises(ValueError, match='unrolled=True'):
        build(**dict(SEQUENTIAL, unrolled=False))


def test_plans_of_another_generator_that_grow_are_refused():
    model = build(mask_generator=dict(type='RasterMaskGenerator'))
    with pytest.raises(ValueError, match='unrolled=True'):
        model.loss(images(2), samples(range(2)))


def test_grad_cam_differentiates_the_loss_of_the_model_itself():
    generator = dict(SEQUENTIAL['mask_generator'], saliency=dict(type='GradCAM'))
    model = build(**dict(SEQUENTIAL, mask_generator=generator)).double()
    tokens = features(2).requires_grad_()
    plan = random_plan(2, COUNT, 3, torch.Generator().manual_seed(0), growing=False)
    context = model.context_head(plan.gather(tokens, plan.context_ids), plan)
    clean = torch.nn.functional.layer_norm(tokens.detach(), [16])
    target = model.target_head.module.targets(clean, GRID, plan)
    expected = model.head.loss(model.neck(context, plan), target, plan)
    assert_close(model.latent_loss(tokens, plan), expected, **exact)
    loss = model.float().loss(images(2), samples(range(2)))['loss']
    assert loss.isfinite()


def test_a_window_wider_than_the_grid_is_no_torus():
    with pytest.raises(ValueError, match='2x4 grid twice'):
        window_candidates((2, 4), 3, toroidal=True)


def test_differences_are_means_over_pairs():
    targets = features(2)
    pairs, losses = [], []
    for tokens in targets:
        mean = sum(tokens) / COUNT
        for i in range(COUNT):
            gap = (tokens[i] - mean).abs()
            losses += torch.where(gap < 1, gap**2 / 2, gap - 0.5).tolist()
            pairs += [
                oracle.cosine(tokens[i], tokens[j]) for j in range(COUNT) if j != i
            ]
    expected = 1 - sum(pairs) / len(pairs), sum(losses) / len(losses)
    assert differences(targets) == pytest.approx(expected, abs=1e-10)


def test_targets_from_the_image_mean_hardly_differ_before_training():
    """What the README says of the three queries."""
    tokens = smooth_features(4, (14, 14), 96, sigma=2.0)
    assert_close(tokens.mean(-1), torch.zeros(4, 196), rtol=0, atol=1e-5)
    made = {q: targets_at_start(tokens, (14, 14), 3, query=q) for q in QUERIES}
    spread = {query: differences(targets)[0] for query, targets in made.items()}
    assert spread['image_mean'] < 0.1
    for query in ('selected_mean', 'self_patch'):
        assert spread[query] > 0.9 * differences(tokens)[0] > 0.5
