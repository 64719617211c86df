"""Schedules against closed forms, and the lengths that users give."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.optim import LinearLR, OptimWrapper
from mmpretrain.registry import PARAM_SCHEDULERS

from dseq_mm.engine.schedules import apply_schedules, schedule_warnings


def wrapper_of(lr=1.0, decay=0.5):
    """An optimizer of two groups, the second without decay."""
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [
        dict(params=[parameters[0]], weight_decay=decay),
        dict(params=[parameters[1]], weight_decay=0.0),
    ]
    return OptimWrapper(torch.optim.AdamW(groups, lr=lr))


def build(wrapper, *configs):
    return [
        PARAM_SCHEDULERS.build(config, default_args=dict(optimizer=wrapper))
        for config in configs
    ]


def values(configs, at, max_epochs=10, max_iters=1000, name='lr'):
    """The setting of the first group at some progress."""
    wrapper = wrapper_of()
    schedules = build(wrapper, *configs)
    found = []
    for progress in at:
        apply_schedules(schedules, progress, max_epochs, max_iters)
        found.append(wrapper.optimizer.param_groups[0][name])
    return found


WARM_UP = dict(type='LinearSchedule', start_factor=0.1, end=0.25)
COSINE = dict(type='CosineSchedule', eta_min=0.02)


def recipe(progress, peak=1.0, share=0.25):
    """Warm-up and cosine, as one formula."""
    if progress < share:
        return peak * (0.1 + 0.9 * progress / share)
    done = (progress - share) / (1 - share)
    return 0.02 + (peak - 0.02) * 0.5 * (1 + math.cos(math.pi * done))


@settings(deadline=None)
@given(st.floats(0, 1), st.integers(1, 700))
def test_warm_up_and_cosine_follow_progress_whatever_the_length(progress, max_epochs):
    (value,) = values([WARM_UP, COSINE], [progress], max_epochs)
    assert value == pytest.approx(recipe(progress), rel=1e-12)


def test_whole_numbers_are_epochs():
    configs = [WARM_UP | dict(end=2), COSINE]
    for max_epochs in (4, 10, 40):
        at = [0.0, 1 / max_epochs, 2 / max_epochs, 0.8]
        expected = [recipe(p, share=2 / max_epochs) for p in at]
        assert values(configs, at, max_epochs) == pytest.approx(expected, rel=1e-12)


def test_iterations_count_with_by_epoch_false():
    configs = [WARM_UP | dict(end=250, by_epoch=False), COSINE | dict(by_epoch=False)]
    at = [0.0, 0.1, 0.25, 0.9]
    assert values(configs, at) == pytest.approx([recipe(p) for p in at], rel=1e-12)


def test_order_of_calls_does_not_matter():
    at = [0.9, 0.1, 0.5, 0.1, 0.0]
    expected = [recipe(p) for p in at]
    assert values([WARM_UP, COSINE], at) == pytest.approx(expected, rel=1e-12)


def test_ratio_leaves_groups_without_decay_at_zero():
    wrapper = wrapper_of(decay=0.04)
    config = dict(type='CosineSchedule', param_name='weight_decay', eta_min_ratio=10.0)
    schedules = build(wrapper, config)
    for progress in (0.0, 0.3, 1.0):
        apply_schedules(schedules, progress, 10, 100)
        cosine = (1 + math.cos(math.pi * progress)) / 2
        first, second = (g['weight_decay'] for g in wrapper.optimizer.param_groups)
        assert first == pytest.approx(0.4 + (0.04 - 0.4) * cosine) and second == 0


def test_poly_steps_and_a_shorter_cosine():
    at = [0.0, 0.25, 0.6, 1.0]
    poly = dict(type='PolySchedule', power=2.0, eta_min=0.1)
    expected = [0.1 + 0.9 * (1 - p) ** 2 for p in at]
    assert values([poly], at) == pytest.approx(expected)
    steps = dict(type='StepSchedule', milestones=[0.25, 6], gamma=0.1)
    assert values([steps], at) == pytest.approx([1.0, 0.1, 0.01, 0.01])
    # 3 epochs of cosine, then its last value
    short = values([COSINE | dict(T_max=3)], [0.15, 0.3, 0.9])
    assert short == pytest.approx([0.51, 0.02, 0.02])


def test_steps_at_shares_of_epochs_are_at_the_epochs():
    """8 / 28 is no binary fraction; the step is at the first image of epoch 8."""
    configs = [dict(type='StepSchedule', milestones=[8 / 28, 16 / 28, 24 / 28])]
    at = [epoch / 28 for epoch in range(28)]
    expected = [0.1 ** sum(e >= m for m in (8, 16, 24)) for e in range(28)]
    assert values(configs, at, 28) == pytest.approx(expected)


@pytest.mark.parametrize(
    'wrong', [dict(end=1.5), dict(begin=-1), dict(end='3'), dict(end=True)]
)
def test_lengths_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match='whole number of epochs.*or a fraction'):
        build(wrapper_of(), dict(type='LinearSchedule', **wrong))


@pytest.mark.parametrize(
    ('kind', 'wrong'),
    [
        ('LinearSchedule', dict(start_factor=-1)),
        ('LinearSchedule', dict(end_factor='x')),
        ('CosineSchedule', dict(eta_min=-0.1)),
        ('PolySchedule', dict(eta_min_ratio=-0.1)),
        ('PolySchedule', dict(power=-1)),
        ('StepSchedule', dict(milestones=[1], gamma=-0.1)),
    ],
)
def test_negative_factors_are_refused(kind, wrong):
    """The learning rate would be negative: the loss would be climbed."""
    name, value = [*wrong.items()][-1]
    words = f'{name}={value!r} of {kind}: give a number from 0'
    with pytest.raises(ValueError, match=words):
        build(wrapper_of(), dict(type=kind, **wrong))


def test_two_ends_are_refused():
    with pytest.raises(ValueError, match='eta_min=0.1 or eta_min_ratio=0.2, not both'):
        build(wrapper_of(), COSINE | dict(eta_min=0.1, eta_min_ratio=0.2))


def test_a_schedule_that_no_clock_sets_is_refused():
    """A rate that silently stays what it is would train wrongly."""
    (schedule,) = build(wrapper_of(), COSINE)
    with pytest.raises(ValueError, match="type='dseq_mm.ClockHook'"):
        schedule.step()  # as the host's hook does after the first iteration
    apply_schedules([schedule], 0.5, 1, 1)
    schedule.step()


def test_ends_that_are_not_that_of_the_training_are_told():
    def told(*configs, max_epochs=4):
        return schedule_warnings(build(wrapper_of(), *configs), max_epochs, 40)

    assert told(WARM_UP, COSINE) == []
    assert told(WARM_UP, COSINE | dict(end=4)) == []
    (line,) = told(WARM_UP, COSINE | dict(end=20))
    assert 'CosineSchedule of lr ends at epoch 20, the training at 4' in line
    (line,) = told(COSINE | dict(T_max=3))
    assert 'ends at epoch 3' in line
    host = LinearLR(wrapper_of(), begin=0, end=80, by_epoch=False)
    (line,) = schedule_warnings([host], 4, 40)
    assert 'LinearLR of lr ends at iteration 80, the training at 40' in line


def test_nothing_is_restored():
    (schedule,) = build(wrapper_of(), COSINE)
    assert schedule.state_dict() == {}
    before = dict(schedule.__dict__)
    schedule.load_state_dict(dict(base_values=[7.0], last_step=3))
    assert schedule.__dict__ == before


def test_schedules_of_others_are_left_alone():
    apply_schedules([SimpleNamespace(param_name='lr')], 0.5, 1, 1)
