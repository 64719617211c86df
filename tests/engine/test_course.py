"""One clock: a resumed run lies on the curve of the uninterrupted one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.dataset import DefaultSampler

from dseq_mm.engine.loop import RestOfEpoch
from tests.engine.course import Course, curve

courses = st.fixed_dictionaries(
    dict(
        batch=st.integers(1, 5),
        processes=st.integers(1, 3),
        accumulated=st.integers(1, 3),
        epochs=st.integers(2, 5),
    )
)


@settings(deadline=None, max_examples=60)
@given(courses, courses, st.integers(1, 60))
def test_a_changed_and_resumed_run_stays_on_the_curve(before, after, moment):
    first = Course(**before)
    steps = before['accumulated']
    moment = -(-min(moment, first.max_iters) // steps) * steps  # the end of a step
    checkpoint = first.run_until(min(moment, first.max_iters))
    record = checkpoint['meta']['run']
    seen = record['epoch'] * 23 + record['seen']
    assert record['progress'] == pytest.approx(seen / (23 * before['epochs']))
    second = Course(**after)
    if seen > 23 * after['epochs'] or record['epoch'] == after['epochs'] < seen / 23:
        with pytest.raises(ValueError, match='nothing is left to train'):
            second.resume(checkpoint)
        return
    second.resume(checkpoint).run()
    assert second.epoch == after['epochs'] and second.iter == second.max_iters
    if second.rows and record['seen'] < 23:
        expected = seen / (23 * after['epochs'])
        skipped = second.samples[0][0] > record['epoch']  # less than a batch was left
        assert second.rows[0][0] == pytest.approx(expected) or skipped
    for course, epochs in ((first, before['epochs']), (second, after['epochs'])):
        progress = [row[0] for row in course.rows]
        assert progress == sorted(progress) and all(0 <= p < 1 for p in progress)
        for now, *found in course.rows:
            # progress counts images: an uninterrupted run has the same curve
            assert found == pytest.approx(curve(now, epochs), rel=1e-9)


@settings(deadline=None, max_examples=30)
@given(courses, st.integers(1, 40))
def test_an_unchanged_resumed_run_equals_the_uninterrupted_one(kwargs, moment):
    whole = Course(**kwargs).run()
    steps = kwargs['accumulated']
    moment = min(-(-moment // steps) * steps, whole.max_iters)
    first = Course(**kwargs)
    checkpoint = first.run_until(moment)
    second = Course(**kwargs).resume(checkpoint).run()
    assert first.rows + second.rows == whole.rows
    assert first.samples + second.samples == whole.samples
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


@settings(deadline=None)
@given(
    images=st.integers(1, 40),
    processes=st.integers(1, 5),
    seen=st.integers(0, 45),
)
def test_what_is_left_of_an_epoch_is_what_was_not_seen(images, processes, seen):
    """All processes together, in the order of one; each gets as many."""
    seen = min(seen, images)
    order = list(DefaultSampler(range(images), seed=3))
    shares = []
    for rank in range(processes):
        sampler = DefaultSampler(range(images), seed=3)
        sampler.rank, sampler.world_size = rank, processes
        sampler.num_samples = -(-images // processes)
        sampler.total_size = sampler.num_samples * processes
        rest = RestOfEpoch(sampler)
        rest.seen = seen
        shares.append(list(rest))
        assert len(shares[-1]) == rest.left
        if seen % processes == 0:  # its own part, padding included
            assert shares[-1] == list(sampler)[seen // processes :]
    dealt = [index for turn in zip(*shares, strict=True) for index in turn]
    assert dealt[: images - seen] == order[seen:]
