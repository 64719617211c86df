import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dseq_mm.models import (
    DiscriminativeMaskGenerator,
    EncodedImage,
    MultiBlockMaskGenerator,
    TrainingClock,
)
from dseq_mm.regions import Source

quick = settings(deadline=None, max_examples=25)
GRIDS = st.tuples(st.integers(3, 12), st.integers(3, 12))


def encoded(grid, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(count, grid[0] * grid[1] + 1, 6, generator=generator)
    return EncodedImage(hidden[:, 1:], grid, hidden={9: hidden})


def rows_of(plan):
    """Each row as sets of (step, patch), free of padding."""
    return [
        (
            {(s, i) for s, i in zip(cs, ci, strict=True) if i >= 0},
            {(s, i) for s, i in zip(ts, ti, strict=True) if i >= 0},
        )
        for cs, ci, ts, ti in zip(
            plan.context_step.tolist(),
            plan.context_ids.tolist(),
            plan.target_step.tolist(),
            plan.target_ids.tolist(),
            strict=True,
        )
    ]


@quick
@given(GRIDS, st.integers(0, 1000), st.booleans())
def test_multi_block_plans_are_valid_and_have_context(grid, epoch, released):
    generator = MultiBlockMaskGenerator(released=released)
    plan = generator(
        encoded(grid, 4), torch.arange(4), TrainingClock(epoch, epoch, 0.5)
    )
    plan.validate()
    least = min(10, grid[0] * grid[1] // 4)
    context = (plan.context_ids >= 0).sum(1)
    assert (context >= 1).all() if released else (context >= least).all()
    targets = plan.target_ids[plan.target_ids >= 0]
    assert len(targets) > 0


def test_released_sampler_truncates_and_never_reaches_the_last_row_and_column():
    generator = MultiBlockMaskGenerator(released=True)
    seen = torch.zeros(14 * 14, dtype=torch.bool)
    for epoch in range(20):
        clock = TrainingClock(epoch, epoch, 0.5)
        plan = generator(encoded((14, 14), 32), torch.arange(32), clock)
        assert (plan.context_ids >= 0).all()
        assert len((plan.target_ids >= 0).sum(1).unique()) == 1
        seen[plan.context_ids.flatten()] = True
        seen[plan.target_ids[plan.target_ids >= 0]] = True
    seen = seen.view(14, 14)
    assert not seen[-1].any() and not seen[:, -1].any() and seen[:8, :13].all()


def test_our_sampler_reaches_every_patch_as_context_and_as_target():
    generator = MultiBlockMaskGenerator()
    context = torch.zeros(14 * 14)
    target = torch.zeros(14 * 14)
    for epoch in range(20):
        clock = TrainingClock(epoch, epoch, 0.5)
        plan = generator(encoded((14, 14), 64), torch.arange(64), clock)
        for ids, counts in ((plan.context_ids, context), (plan.target_ids, target)):
            counts += torch.bincount(ids[ids >= 0], minlength=196)
    assert (target > 0).all() and (context > 0).all()
    by_row = context.view(14, 14).sum(1)
    assert by_row[0] / by_row[13] == pytest.approx(1, abs=0.15)  # no bias to the top


@pytest.mark.parametrize('unit', ['sample', 'region', 'batch'])
@pytest.mark.parametrize('progress', [0.0, 0.4, 1.0])
def test_discriminative_plan_is_the_sequence_of_regions(unit, progress):
    generator = DiscriminativeMaskGenerator(curriculum=dict(unit=unit))
    image, index = encoded((7, 9), 6), torch.arange(6)
    clock = TrainingClock(1, 12, progress)
    plan = generator(image, index, clock)
    plan.validate()
    if plan.context_sees_targets:  # a rejected batch
        assert unit == 'batch'
        return
    probability = 1.0 if unit == 'batch' else progress
    regions = generator.regions(image, index, clock, probability=probability)
    for row, (context, target) in enumerate(rows_of(plan)):
        rank = regions.rank[row].flatten().tolist()
        assert context == {(r, patch) for patch, r in enumerate(rank) if r < 4}
        assert target == {(r, patch) for patch, r in enumerate(rank) if r > 0}


def test_flat_prediction_predicts_each_region_from_the_rest():
    generator = DiscriminativeMaskGenerator(prediction='flat')
    image, index = encoded((7, 9), 6), torch.arange(6)
    clock = TrainingClock(1, 12, 1.0)
    plan = generator(image, index, clock)
    plan.validate()
    regions = generator.regions(image, index, clock, probability=1.0)
    for row, (context, target) in enumerate(rows_of(plan)):
        rank = regions.rank[row].flatten().tolist()
        assert context == {(0, patch) for patch, r in enumerate(rank) if r == 4}
        assert target == {(r + 1, patch) for patch, r in enumerate(rank) if r < 4}


def test_truncation_drops_the_later_steps():
    options = dict(num_regions=5, seed=3)
    whole = DiscriminativeMaskGenerator(**options)
    short = DiscriminativeMaskGenerator(keep_regions=3, **options)
    arguments = encoded((7, 9), 6), torch.arange(6), TrainingClock(1, 12, 1.0)
    for (context, target), (kept, predicted) in zip(
        rows_of(whole(*arguments)), rows_of(short(*arguments)), strict=True
    ):
        assert kept == {pair for pair in context if pair[0] < 2}
        assert predicted == {pair for pair in target if pair[0] <= 2}


@pytest.mark.parametrize(
    'generator',
    [
        MultiBlockMaskGenerator(),
        DiscriminativeMaskGenerator(),
        DiscriminativeMaskGenerator(curriculum=dict(unit='region')),
        DiscriminativeMaskGenerator(order='random'),
    ],
)
def test_plan_depends_on_seed_epoch_and_index_alone(generator):
    image = encoded((8, 8), 6)
    index = torch.tensor([11, 5, 42, 7, 0, 3])
    clock = TrainingClock(2, 100, 0.5)
    expected = rows_of(generator(image, index, clock))
    for rows in ([2, 0], [5], [1, 3, 4]):  # another batch, another place
        part = EncodedImage(image.patches[rows], (8, 8), {9: image.hidden[9][rows]})
        again = rows_of(generator(part, index[rows], clock))
        assert again == [expected[row] for row in rows]
    assert rows_of(generator(image, index, clock._replace(iteration=7))) == expected
    assert rows_of(generator(image, index, clock._replace(epoch=3))) != expected
    generator.seed = 1
    assert rows_of(generator(image, index, clock)) != expected
    generator.seed = None


@pytest.mark.slow
def test_curriculum_accepts_the_share_that_lambda_says():
    image, index = encoded((8, 8), 1500), torch.arange(1500)
    for unit in ('sample', 'region'):
        generator = DiscriminativeMaskGenerator(curriculum=dict(unit=unit))
        full = generator.regions(image, index, TrainingClock(), probability=1.0)
        born = (full.source < Source.RANDOM)[:, :-1]
        part = generator.regions(image, index, TrainingClock(), probability=0.3)
        kept = (part.source < Source.RANDOM)[:, :-1]
        share = kept.sum() / born.sum()
        assert share.item() == pytest.approx(0.3, abs=0.05)
        mixed = (kept != born).any(1) & kept.any(1)
        assert mixed.any() == (unit == 'region')
    generator = DiscriminativeMaskGenerator(curriculum=dict(unit='batch'))
    exact = [
        generator(encoded((5, 5), 1), index[:1], TrainingClock(0, i, 0.3))
        for i in range(200)
    ]
    share = 1 - sum(plan.context_sees_targets for plan in exact) / 200
    assert share == pytest.approx(0.3, abs=0.1)


def test_sources_follow_their_regions_into_another_order():
    image, index = encoded((7, 9), 6), torch.arange(6)
    clock = TrainingClock(0, 0, 1.0)
    plain = DiscriminativeMaskGenerator().regions(image, index, clock, probability=1.0)
    for order in ('inverse', 'random', 'spatial'):
        other = DiscriminativeMaskGenerator(order=order)
        other = other.regions(image, index, clock, probability=1.0)
        for row in range(6):
            for patch in range(63):
                before = plain.source[row, plain.rank[row].flatten()[patch]]
                after = other.source[row, other.rank[row].flatten()[patch]]
                assert before == after


def test_defaults_are_ijepas():
    generator = MultiBlockMaskGenerator()
    assert generator.num_targets == 4 and generator.min_patches == 10
    assert generator.target_scale == (0.15, 0.2)
    assert generator.target_aspect == (0.75, 1.5)
    assert generator.context_scale == (0.85, 1.0)
    assert generator.context_sees_targets and not generator.released


def test_released_rule_without_a_component_falls_back_to_random_regions():
    generator = DiscriminativeMaskGenerator(rule=dict(released=True))
    image, index = encoded((14, 14), 64), torch.arange(64)  # rough maps: few components
    plan = generator(image, index, TrainingClock(0, 0, 1.0))
    plan.validate()
    assert ((plan.target_ids >= 0).sum(1) > 0).all()
    assert ((plan.context_ids >= 0).sum(1) > 0).all()


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda: MultiBlockMaskGenerator(target_scale=(0.3, 0.2)), 'target_scale'),
        (lambda: MultiBlockMaskGenerator(context_scale=(0.5, 1.5)), 'context_scale'),
        (lambda: MultiBlockMaskGenerator(target_aspect=(0, 1)), 'target_aspect'),
        (lambda: MultiBlockMaskGenerator(num_targets=0), 'num_targets'),
        (lambda: DiscriminativeMaskGenerator(curriculum=dict(end=1.5)), r'\[0, 1\]'),
        (lambda: DiscriminativeMaskGenerator(curriculum=dict(unit='image')), 'unit'),
        (lambda: DiscriminativeMaskGenerator(curriculum=dict(stop=1.0)), 'stop'),
        (lambda: DiscriminativeMaskGenerator(prediction='deep'), 'prediction'),
        (lambda: DiscriminativeMaskGenerator(keep_regions=6), 'keep_regions'),
        (lambda: DiscriminativeMaskGenerator(order='up'), 'spatial'),
        (
            lambda: DiscriminativeMaskGenerator(order='inverse', prediction='flat'),
            'flat',
        ),
        (lambda: DiscriminativeMaskGenerator(num_regions=1), 'num_regions'),
        (lambda: DiscriminativeMaskGenerator(rule=dict(max_area=1.2)), 'area'),
        (
            lambda: DiscriminativeMaskGenerator(rule=dict(min_aera=0.1)),
            "rule has no argument 'min_aera'; did you mean 'min_area'",
        ),
        (lambda: DiscriminativeMaskGenerator(rule=dict(num_regions=3)), 'beside rule'),
        (lambda: DiscriminativeMaskGenerator(rule=['split']), 'rule is a dict'),
        (lambda: DiscriminativeMaskGenerator(curriculum=dict(strat=0.1)), "'start'"),
        (
            lambda: DiscriminativeMaskGenerator(
                saliency=dict(type='ClassTokenAttention', blok=1)
            ),
            "has no argument 'blok'; did you mean 'block'",
        ),
        (
            lambda: DiscriminativeMaskGenerator(saliency='GradCAM'),
            r"dict\(type='GradCAM'\)",
        ),
        (lambda: DiscriminativeMaskGenerator(keep_regions=2.5), 'lie in 2'),
        (lambda: MultiBlockMaskGenerator(num_targets=1.5), 'num_targets=1.5 of Multi'),
        (lambda: MultiBlockMaskGenerator(min_patches=0), 'min_patches=0 of MultiBlock'),
        (lambda: MultiBlockMaskGenerator(min_patches=-3), 'min_patches=-3'),
    ],
)
def test_options_out_of_range_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_more_regions_than_patches_are_refused():
    generator = DiscriminativeMaskGenerator(num_regions=10)
    with pytest.raises(ValueError, match='patches'):
        generator(encoded((3, 3), 2), torch.arange(2), TrainingClock(0, 0, 1.0))


def test_regions_of_a_batch_curriculum_need_a_probability():
    generator = DiscriminativeMaskGenerator(curriculum=dict(unit='batch'))
    arguments = encoded((7, 9), 2), torch.arange(2), TrainingClock(1, 12, 0.5)
    with pytest.raises(ValueError, match='give the probability'):
        generator.regions(*arguments)
    assert generator.regions(*arguments, probability=1.0).rank.shape == (2, 7, 9)


def test_arguments_of_another_proxy_are_refused():
    with pytest.raises(ValueError, match="GradCAM has no.*'block'.*_delete_=True"):
        DiscriminativeMaskGenerator(saliency=dict(type='GradCAM', block=1))
