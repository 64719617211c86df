"""One-pass encoder, predictor and loss against loops over tokens, in float64."""

import pytest
import torch

from dseq_mm.models.jepa import TrainingClock
from tests.models.builders import build_jepa, images, samples
from tests.oracles import plans as oracle

CLOCK = TrainingClock(3, 17, 1.0)
exact = dict(rtol=0, atol=1e-10)


def encoded_by_loops(model, inputs, plan):
    rows = range(len(plan.context_ids))
    return [
        oracle.encode_context(
            model.backbone, inputs[row // plan.rows_per_sample], plan, row
        )
        for row in rows
    ]


@pytest.mark.parametrize('cls_token', [True, False])
@pytest.mark.parametrize(('steps', 'growing'), [(1, False), (3, True), (2, False)])
def test_one_pass_equals_loops(cls_token, steps, growing):
    model = build_jepa(method='IJEPA', cls_token=cls_token).double()
    inputs = images(2, dtype=torch.float64)
    generator = torch.Generator().manual_seed(steps)
    plan = oracle.random_plan(2, 12, steps, generator, growing)
    for candidate in (plan, plan.unroll()):
        context = model.backbone(inputs, candidate)
        prediction = model.neck(context, candidate)
        expected = encoded_by_loops(model, inputs, candidate)
        for row in range(len(candidate.context_ids)):
            tokens, targets = oracle.tokens_of(candidate, row)
            real = context[row][candidate.context_ids[row] >= 0]
            for token, vector in zip(tokens, real, strict=False):
                torch.testing.assert_close(vector, expected[row][token[1:]], **exact)
            predicted = oracle.predict(model.neck, expected[row], candidate, row)
            real = prediction[row][candidate.target_ids[row] >= 0]
            for token, vector in zip(targets, real, strict=False):
                torch.testing.assert_close(vector, predicted[token[1:]], **exact)


@pytest.mark.parametrize('cls_token', [True, False])
def test_unrolled_and_one_pass_agree_on_the_first_step_only(cls_token):
    model = build_jepa(method='IJEPA', cls_token=cls_token).double()
    inputs = images(3, dtype=torch.float64)
    plan = oracle.random_plan(3, 12, 3, torch.Generator().manual_seed(1))
    one_pass = model.neck(model.backbone(inputs, plan), plan)
    single = plan.unroll()
    unrolled = plan.roll(model.neck(model.backbone(inputs, single), single))
    first = plan.target_step == 1
    later = plan.target_step > 1
    torch.testing.assert_close(one_pass[first], unrolled[first], **exact)
    assert not torch.allclose(one_pass[later], unrolled[later], atol=1e-6)


def test_unrolled_and_one_pass_agree_on_single_step_plans():
    model = build_jepa(method='IJEPA', cls_token=True).double()
    inputs = images(3, dtype=torch.float64)
    plan = oracle.random_plan(3, 12, 1, torch.Generator().manual_seed(1))
    single = plan.unroll()
    torch.testing.assert_close(
        model.neck(model.backbone(inputs, plan), plan),
        model.neck(model.backbone(inputs, single), single),
        rtol=0,
        atol=0,
    )


def targets_by_loops(model, inputs):
    """Full-image target tokens through a plan that shows every patch at step 0."""
    num = model.backbone.pos_embed.shape[1] - model.backbone.num_extra_tokens
    full = oracle.PredictionPlan.from_masks(
        torch.zeros(1, num, dtype=torch.long),
        torch.ones(1, 1, num, dtype=torch.bool),
        1,
    )
    return [
        {
            patch: vector
            for (_, patch), vector in oracle.encode_context(
                model.target_encoder.module, image, full, 0
            ).items()
        }
        for image in inputs
    ]


@pytest.mark.parametrize('unrolled', [False, True])
def test_loss_of_a_dseq_step_equals_the_equations(unrolled):
    model = build_jepa(unrolled=unrolled).double()
    model.target_encoder.copy_parameters(build_jepa(seed=5).double().backbone)
    model.clock = CLOCK
    inputs = images(3, dtype=torch.float64)
    loss = model.loss(inputs, samples([4, 0, 9]))['loss']

    index = torch.tensor([4, 0, 9])
    plan = model.mask_generator(model.encode_target(inputs), index, CLOCK)
    predictions = []
    for row in range(3):
        if unrolled:  # Eq. 5 to the letter: each step on its own
            single, predicted = plan.unroll(), {}
            for step in range(1, plan.num_steps + 1):
                at = row * plan.num_steps + step - 1
                context = oracle.encode_context(model.backbone, inputs[row], single, at)
                result = oracle.predict(model.neck, context, single, at)
                predicted.update({(step, p): v for (_, p), v in result.items()})
        else:
            context = oracle.encode_context(model.backbone, inputs[row], plan, row)
            predicted = oracle.predict(model.neck, context, plan, row)
        predictions.append(predicted)
    expected = oracle.step_loss(predictions, targets_by_loops(model, inputs))
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize('sees_targets', [True, False])
def test_loss_of_an_ijepa_step_equals_the_equations(sees_targets):
    generator = dict(type='MultiBlockMaskGenerator', context_sees_targets=sees_targets)
    model = build_jepa(method='IJEPA', mask_generator=generator).double()
    model.target_encoder.copy_parameters(
        build_jepa(seed=5, method='IJEPA').double().backbone
    )
    model.clock = CLOCK
    inputs = images(3, dtype=torch.float64)
    loss = model.loss(inputs, samples([4, 0, 9]))['loss']

    index = torch.tensor([4, 0, 9])
    plan = model.mask_generator(model.encode_target(inputs), index, CLOCK)
    assert plan.context_sees_targets == sees_targets
    predictions = []
    for row in range(3):
        context = oracle.encode_context(model.backbone, inputs[row], plan, row)
        predicted = {}
        for step in range(1, plan.num_steps + 1):
            predicted.update(
                oracle.predict(model.neck, context, plan, row, sees_targets, step)
            )
        predictions.append(predicted)
    expected = oracle.step_loss(predictions, targets_by_loops(model, inputs))
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-7)
