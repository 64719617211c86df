from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dseq_mm.plan import PredictionPlan, TokenCounts
from tests.oracles.plans import random_plan, sees, sequence, tokens_of

PLANS = st.builds(
    lambda rows, patches, steps, seed, growing: random_plan(
        rows, patches, steps, torch.Generator().manual_seed(seed), growing
    ),
    st.integers(1, 4),
    st.integers(2, 9),
    st.integers(1, 4),
    st.integers(0, 10**6),
    st.booleans(),
)
quick = settings(deadline=None, max_examples=40)


@quick
@given(PLANS)
def test_random_plans_are_valid_and_visible_context_excludes_targets(plan):
    plan.validate()
    plan.unroll().validate()


@quick
@given(PLANS, st.booleans())
def test_visibility_equals_the_rule_token_by_token(plan, with_copies):
    copies = plan.num_context_steps if with_copies else 0
    encoder = plan.context_visibility(copies).mask
    predictor = plan.predictor_visibility().mask
    for row in range(len(plan.context_ids)):
        context, _ = tokens_of(plan, row, copies)
        real = len(context)
        for i, query in enumerate(context):
            expected = [sees(query, key) for key in context]
            assert encoder[row, i, :real].tolist() == expected
        assert not encoder[row, :real, real:].any()
        assert torch.equal(
            encoder[row, real:], torch.eye(encoder.shape[-1], dtype=torch.bool)[real:]
        )
        context, target = tokens_of(plan, row)
        slots = list(range(len(context)))
        slots += [plan.context_ids.shape[1] + i for i in range(len(target))]
        tokens = context + target
        for i, query in zip(slots, tokens, strict=False):
            expected = {
                j for j, key in zip(slots, tokens, strict=False) if sees(query, key)
            } | {i}
            assert set(predictor[row, i].nonzero().flatten().tolist()) == expected


@quick
@given(PLANS)
def test_packing_keeps_the_real_tokens_and_zeroes_padding(plan):
    for candidate in (plan, plan.unroll()):
        real = candidate.context_ids >= 0
        assert real.sum() == candidate.tokens.context
        assert (candidate.target_ids >= 0).sum() == candidate.tokens.target
        for visible, ids in (
            (candidate.context_visibility(), candidate.context_ids),
            (
                candidate.predictor_visibility(),
                torch.cat([candidate.context_ids, candidate.target_ids], dim=1),
            ),
        ):
            tokens = torch.randn(*ids.shape, 2)
            packed = visible.pack(tokens)
            assert torch.equal(packed, tokens[ids >= 0])
            expected = torch.where(ids[..., None] >= 0, tokens, 0.0)
            assert torch.equal(visible.pad(packed), expected)


@quick
@given(PLANS)
def test_unroll_makes_one_plan_per_step_sample_major(plan):
    unrolled = plan.unroll()
    assert len(unrolled.context_ids) == len(plan.context_ids) * plan.num_steps
    assert unrolled.num_samples == plan.num_samples
    for row in range(len(plan.context_ids)):
        context, target = tokens_of(plan, row)
        for step in range(1, plan.num_steps + 1):
            now_context, now_target = tokens_of(
                unrolled, row * plan.num_steps + step - 1
            )
            assert now_context == [('context', 0, p) for _, s, p in context if s < step]
            assert now_target == [('target', 1, p) for _, s, p in target if s == step]


@quick
@given(PLANS)
def test_roll_brings_unrolled_slots_back(plan):
    unrolled = plan.unroll()
    marks = torch.stack(
        [
            unrolled.target_ids,
            torch.arange(len(unrolled.target_ids))[:, None].expand_as(
                unrolled.target_ids
            ),
        ],
        dim=-1,
    )
    rolled = plan.roll(marks)
    real = plan.target_ids >= 0
    rows = torch.arange(len(real))[:, None] * plan.num_steps + plan.target_step - 1
    assert torch.equal(rolled[..., 0][real], plan.target_ids[real])
    if plan.num_steps > 1:
        assert torch.equal(rolled[..., 1][real], rows[real])


@quick
@given(PLANS)
def test_weights_average_patches_then_groups_then_samples(plan):
    for candidate in (plan, plan.unroll()):
        weights = candidate.target_weights()
        if all((plan.target_ids >= 0).any(1)):
            torch.testing.assert_close(weights.sum(), torch.tensor(1.0))
        assert (weights[candidate.target_ids < 0] == 0).all()
    weights = plan.target_weights()
    for row in range(len(plan.target_ids)):
        _, target = tokens_of(plan, row)
        sizes = {}
        for _, step, _ in target:
            sizes[step] = sizes.get(step, 0) + 1
        for slot, (_, step, _) in enumerate(target):
            expected = 1 / sizes[step] / len(sizes) / len(plan.target_ids)
            assert weights[row, slot].item() == pytest.approx(expected, rel=1e-6)


@quick
@given(
    st.integers(2, 5).flatmap(
        lambda num_ranks: st.tuples(
            st.just(num_ranks),
            st.integers(0, 8).flatmap(
                lambda patches: st.lists(
                    st.lists(
                        st.integers(-2, num_ranks + 1),
                        min_size=patches,
                        max_size=patches,
                    ).map(lambda row: [*row[:3], 0, *row[3:], num_ranks - 1]),
                    min_size=1,
                    max_size=4,
                )
            ),
        )
    )
)
def test_ranks_become_a_sequence(drawn):
    num_ranks, ranks = drawn
    plan = PredictionPlan.from_ranks(torch.tensor(ranks), num_ranks)
    plan.validate()
    expected = [sequence(row, num_ranks) for row in ranks]
    assert [tokens_of(plan, row) for row in range(len(ranks))] == expected
    sizes = [
        sum(step == token[1] for token in target)
        for _, target in expected
        for step in range(1, num_ranks)
    ]
    assert plan.tokens == TokenCounts(
        context=sum(len(context) for context, _ in expected),
        target=sum(sizes),
        unrolled_context=int((plan.unroll().context_ids >= 0).sum()),
        groups=sum(size > 0 for size in sizes),
    )
    assert plan.group_length == max(sizes)
    assert plan.num_steps == plan.num_context_steps == num_ranks - 1
    assert plan.num_patches == len(ranks[0]) and plan.num_samples == len(ranks)
    slots = [max(len(row[kind]) for row in expected) for kind in (0, 1)]
    assert slots == [plan.context_ids.shape[1], plan.target_ids.shape[1]]


def test_one_rank_is_no_sequence():
    with pytest.raises(ValueError, match='num_ranks=1'):
        PredictionPlan.from_ranks(torch.zeros(1, 4).long(), 1)
    for second, message in (([1, 1, 2], 'to predict from'), ([0, 3, -1], 'higher')):
        with pytest.raises(ValueError, match=f'row 1 of the ranks .* {message}'):
            PredictionPlan.from_ranks(torch.tensor([[0, 1, 2], second]), 3)


def test_exact_mode_refuses_growing_context():
    context = torch.tensor([[0, 1, -1]])
    targets = torch.tensor([[[False, True, False], [False, False, True]]])
    with pytest.raises(ValueError, match='context steps'):
        PredictionPlan.from_masks(context, targets, 2, context_sees_targets=True)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(context_ids=torch.tensor([[0, 9]])), 'patch index'),
        (dict(context_ids=torch.tensor([[0, 0]])), 'twice'),
        (dict(context_step=torch.tensor([[0, 3]])), 'step outside'),
        (dict(target_step=torch.tensor([[0]])), 'step outside'),
        (dict(target_ids=torch.tensor([[0]])), 'visible as context'),
        (dict(context_ids=torch.tensor([[0, -1]])), 'padding'),
    ],
)
def test_validate_names_what_is_wrong(change, message):
    fields = dict(
        context_ids=torch.tensor([[0, 1]]),
        context_step=torch.tensor([[0, 0]]),
        target_ids=torch.tensor([[2]]),
        target_step=torch.tensor([[1]]),
        num_patches=3,
        num_steps=1,
        num_context_steps=1,
        group_length=1,
        tokens=TokenCounts(2, 1, 2, 1),
    )
    PredictionPlan(**fields).validate()
    with pytest.raises(ValueError, match=message):
        PredictionPlan(**{**fields, **change}).validate()


@pytest.mark.parametrize('unrolled', [False, True])
def test_pooling_is_the_mean_of_each_group_and_of_each_context(unrolled):
    context_step = torch.tensor([[0, 0, 1, -1, -1, -1], [0, 1, -1, -1, -1, -1]])
    targets = torch.zeros(2, 2, 6, dtype=torch.bool)
    targets[0, 0, [2, 5]] = targets[0, 1, [3]] = targets[1, 0, [3]] = True
    plan = PredictionPlan.from_masks(context_step, targets, 2)
    assert plan.has_empty_group  # the second image has nothing at its second step
    if unrolled:
        plan = plan.unroll()
    assert plan.has_empty_group
    image = torch.randn(2, 6, 3, dtype=torch.float64)
    tokens = plan.gather(image, plan.target_ids)
    tokens[plan.target_ids < 0] = torch.nan
    pooled = plan.pool_targets(tokens)
    assert pooled.shape == (2, 2, 3)
    torch.testing.assert_close(pooled[0, 0], (image[0, 2] + image[0, 5]) / 2)
    torch.testing.assert_close(pooled[0, 1], image[0, 3])
    torch.testing.assert_close(pooled[1, 0], image[1, 3])
    assert (pooled[1, 1] == 0).all()
    tokens = plan.gather(image, plan.context_ids)
    tokens[plan.context_ids < 0] = torch.nan
    pooled = plan.pool_context(tokens)
    first, whole = image[0, :2].mean(0), image[0, :3].mean(0)
    expected = [first, whole] if unrolled else [whole]
    torch.testing.assert_close(pooled[0], torch.stack(expected))


@pytest.mark.parametrize(
    'rank', [torch.zeros(2, 3, 4).long(), torch.zeros(2, 12), torch.zeros(12).long()]
)
def test_ranks_of_another_shape_or_type_are_refused(rank):
    with pytest.raises(ValueError, match=r'ranks are int64.*\(R, P\)'):
        PredictionPlan.from_ranks(rank, 3)


@quick
@given(PLANS)
def test_a_moved_plan_has_all_that_is_derived_of_it(plan):
    here, there = replace(plan), plan.to(torch.device('cpu', 0))
    assert there is not plan
    tokens = torch.rand(plan.num_samples, plan.num_patches, 2)
    for one, other in ((here, there), (here.unroll(), there.unroll())):
        for copies in (0, one.num_context_steps):
            assert_same(
                one.context_visibility(copies), other.context_visibility(copies)
            )
        assert_same(one.predictor_visibility(), other.predictor_visibility())
        for name in ('context_ids', 'target_ids'):
            ours = one.gather(tokens, getattr(one, name))
            assert torch.equal(ours, other.gather(tokens, getattr(other, name)))
        assert torch.equal(one.target_weights(), other.target_weights())


def assert_same(one, other):
    assert torch.equal(one.mask, other.mask) and torch.equal(one.slots, other.slots)


def test_the_exact_predictor_moves_with_its_plan():
    targets = torch.tensor([[[0, 1, 1, 0], [0, 0, 1, 0]]]) > 0
    context = torch.tensor([[0, -1, -1, 0]])
    plan = PredictionPlan.from_masks(context, targets, 1, context_sees_targets=True)
    there = plan.to(torch.device('cpu', 0))
    assert_same(
        plan.unroll().predictor_visibility(), there.unroll().predictor_visibility()
    )
    made = torch.arange(4.0).view(2, 2, 1)
    assert torch.equal(plan.roll(made), there.roll(made))


def test_a_changed_plan_derives_anew():
    plan = PredictionPlan.from_ranks(torch.tensor([[0, 1, 1, 2], [0, 1, 1, 1]]), 3)
    weights = plan.target_weights()
    assert plan.target_weights() is weights
    single = replace(plan, rows_per_sample=2).target_weights()  # both rows of one image
    expected = torch.tensor([6.0, 6.0, 3.0, 9.0, 9.0, 9.0]).reciprocal()
    torch.testing.assert_close(single[single > 0], expected)
    one = replace(plan, target_step=plan.target_step.clamp(max=1))
    assert not torch.equal(one.target_weights(), weights)


def test_a_context_step_out_of_range_is_refused():
    with pytest.raises(ValueError, match='context_step 2 must lie below .*=2'):
        PredictionPlan.from_masks(
            torch.tensor([[0, 2]]), torch.ones(1, 1, 2, dtype=torch.bool), 2
        )


@quick
@given(PLANS, st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_an_additive_mask_says_the_same(plan, dtype):
    visible = plan.predictor_visibility()
    bias = visible.additive(dtype).mask
    assert bias.dtype == dtype and bias.stride(-2) % 16 == 0
    assert torch.equal(bias == 0, visible.mask)
    assert torch.equal(bias == -torch.inf, ~visible.mask)
