"""One clock: a resumed run lies on the curve of the uninterrupted one.

The real loop, hooks and optimizer, without images: an epoch takes milliseconds.
"""

import logging
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmpretrain.registry import PARAM_SCHEDULERS
from torch import nn
from torch.utils.data import DataLoader

from dseq_mm.engine import (
    ClockHook,
    GuardedOptimWrapper,
    ResumableTrainLoop,
    StrictCheckpointHook,
    TargetEncoderHook,
)
from dseq_mm.models import TargetEncoder

SCHEDULERS = [
    dict(type='LinearSchedule', start_factor=0.1, end=0.1),
    dict(type='CosineSchedule', eta_min=1e-3),
    dict(type='CosineSchedule', param_name='weight_decay', eta_min_ratio=10.0),
]


class Images(list):
    """A data set of numbers with file names."""

    def get_data_info(self, index):
        return dict(img_path=f'/data/{self[index]}.png')


class Model(nn.Module):
    """The least that the hooks move."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(1, 1)
        self.target_encoder = TargetEncoder(self.backbone, 0.9, 1.0)
        self.clock = None

    def train_step(self, batch, optim_wrapper):
        with optim_wrapper.optim_context(self):
            loss = self.backbone(batch.float()[:, None]).square().mean()
        optim_wrapper.update_params(loss)
        return dict(loss=loss.detach())


class Stop(Exception):
    """The run is ended from outside."""


class Course:
    """What the hooks see of a runner, and what an iteration had for settings."""

    def __init__(self, images=23, batch=2, processes=1, accumulated=1, epochs=3, lr=1):
        self.logger = logging.getLogger('course')
        self.visualizer, self.val_loop = SimpleNamespace(), None
        self.world_size, self.seed = processes, 5
        self._randomness_cfg, self._resume = dict(seed=5), False
        self.cfg = Config(
            dict(
                model=dict(type='Model'),
                optim_wrapper=dict(optimizer=dict(lr=lr)),
                train_dataloader=dict(dataset=dict(type='Images')),
            )
        )
        dataset = Images(range(images))
        sampler = DefaultSampler(dataset, seed=5)
        sampler.world_size = processes
        sampler.num_samples = -(-images // processes)
        sampler.total_size = sampler.num_samples * processes
        loader = DataLoader(dataset, batch, sampler=sampler, drop_last=True)
        torch.manual_seed(0)
        self.model = Model()
        optimizer = torch.optim.AdamW(self.model.backbone.parameters(), lr=lr)
        self.optim_wrapper = GuardedOptimWrapper(
            optimizer=optimizer, accumulative_counts=accumulated
        )
        self.train_loop = ResumableTrainLoop(self, loader, epochs)
        self.param_schedulers = [
            PARAM_SCHEDULERS.build(c, default_args=dict(optimizer=self.optim_wrapper))
            for c in SCHEDULERS
        ]
        self.strict = StrictCheckpointHook()
        self.hooks = [ClockHook(), TargetEncoderHook(), self.strict]
        self.rows, self.samples, self.stop_after = [], [], None

    train_dataloader = property(lambda self: self.train_loop.dataloader)
    epoch = property(lambda self: self.train_loop.epoch)
    iter = property(lambda self: self.train_loop.iter)
    max_epochs = property(lambda self: self.train_loop.max_epochs)
    max_iters = property(lambda self: self.train_loop.max_iters)

    def call_hook(self, name, **kwargs):
        for hook in self.hooks:
            getattr(hook, name)(self, **kwargs)
        if name == 'before_train_epoch':
            self.train_dataloader.sampler.set_epoch(self.epoch)
        if name == 'before_train_iter':
            group = self.optim_wrapper.optimizer.param_groups[0]
            self.model.target_encoder.progress = self.model.clock.progress
            momentum = self.model.target_encoder.momentum_now
            self.rows.append(
                (
                    self.model.clock.progress,
                    group['lr'],
                    group['weight_decay'],
                    momentum,
                )
            )
            self.samples.append((self.epoch, kwargs['data_batch'].tolist()))
        if name == 'after_train_iter' and self.iter + 1 == self.stop_after:
            raise Stop

    def run(self):
        self.optim_wrapper.initialize_count_status(
            self.model, self.train_loop.iter, self.train_loop.max_iters
        )
        self.train_loop.run()
        return self

    def run_until(self, iterations):
        """Train, stop as if killed, and give the checkpoint of that moment."""
        self.stop_after = iterations
        try:
            self.run()
        except Stop:
            meta = dict(epoch=self.epoch, iter=self.iter + 1, seed=self.seed)
        else:
            meta = dict(epoch=self.epoch, iter=self.iter, seed=self.seed)
        checkpoint = dict(
            meta=meta,
            message_hub={},
            state_dict=self.model.state_dict(),
            optimizer=self.optim_wrapper.state_dict(),
        )
        self.strict.before_save_checkpoint(self, checkpoint)
        return checkpoint

    def resume(self, checkpoint):
        """As the host's runner does."""
        self._resume = True
        self.strict.after_load_checkpoint(self, checkpoint)
        self.train_loop._epoch = checkpoint['meta']['epoch']
        self.train_loop._iter = checkpoint['meta']['iter']
        self.model.load_state_dict(checkpoint['state_dict'])
        self.optim_wrapper.load_state_dict(checkpoint['optimizer'])
        return self


def curve(progress, epochs):
    """The settings at some progress, by the formulas of the recipe."""
    import math

    decay = 0.1 + (0.01 - 0.1) * (1 + math.cos(math.pi * progress)) / 2
    if progress < 0.1:
        rate = 0.1 + 0.9 * progress / 0.1
    else:
        share = (progress - 0.1) / 0.9
        rate = 1e-3 + (1 - 1e-3) * (1 + math.cos(math.pi * share)) / 2
    return rate, decay, 0.9 + 0.1 * progress


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
    from dseq_mm.engine.loop import RestOfEpoch

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
    dealt = [index for turn in zip(*shares, strict=True) for index in turn]
    assert dealt[: images - seen] == order[seen:]


def changed(**kwargs):
    """A run of two epochs of three, and another one that goes on from it."""
    checkpoint = Course().run_until(2 * 11)
    return Course(**kwargs), checkpoint


def test_another_rate_is_applied_and_told(caplog):
    course, checkpoint = changed(lr=0.5)
    before = checkpoint['optimizer']['param_groups'][0]
    assert before['initial_lr'] == 1
    with caplog.at_level(logging.WARNING, 'course'):
        course.resume(checkpoint).run()
    assert 'optim_wrapper.optimizer.lr was 1, is 0.5' in caplog.text
    rate, *_ = curve(course.rows[0][0], 3)
    assert course.rows[0][1] == pytest.approx(0.001 + (rate - 0.001) * 0.499 / 0.999)


def test_another_batch_and_length_are_told(caplog):
    course, checkpoint = changed(batch=5, epochs=6)
    with caplog.at_level(logging.WARNING, 'course'):
        course.resume(checkpoint)
    assert 'batch_size was 2, is 5; max_epochs was 3, is 6' in caplog.text
    # 22 of 23 images of the second epoch: no batch of it is left
    assert (course.epoch, course.iter) == (1, 2 * 4)


def test_an_unchanged_resume_says_nothing_of_changes(caplog):
    course, checkpoint = changed()
    with caplog.at_level(logging.WARNING, 'course'):
        course.resume(checkpoint)
    assert caplog.text == ''


@pytest.mark.parametrize(
    ('change', 'word'),
    [
        (lambda c: setattr(c, 'seed', 6), 'randomness.seed was 5, is 6'),
        (lambda c: c.cfg.model.update(heads=3), 'model.heads was not set, is 3'),
        (
            lambda c: c.train_dataloader.dataset.append(23),
            'number of training images was 23, is 24',
        ),
        (
            lambda c: c.train_dataloader.dataset.reverse(),
            'checksum of the list of training images',
        ),
    ],
    ids=['seed', 'model', 'more images', 'other images'],
)
def test_another_experiment_is_refused_unless_one_insists(change, word):
    course, checkpoint = changed()
    change(course)
    before = {k: v.clone() for k, v in course.model.state_dict().items()}
    with pytest.raises(ValueError, match=word) as error:
        course.resume(checkpoint)
    assert '--insist' in str(error.value)
    for name, value in course.model.state_dict().items():
        assert torch.equal(value, before[name])
    course.strict.insist = True
    course.resume(checkpoint).run()
    assert course.epoch == 3


def test_moved_data_are_the_same_data():
    course, checkpoint = changed()
    course.train_dataloader.dataset.data_prefix = dict(img_path='/elsewhere')
    course.train_dataloader.dataset.get_data_info = lambda index: dict(
        img_path=f'/elsewhere/data/{index}.png'
    )
    course.resume(checkpoint)


def moment_of_other_shape(checkpoint):
    checkpoint['optimizer']['state'][0]['exp_avg'] = torch.zeros(3)


def moment_of_integers(checkpoint):
    checkpoint['optimizer']['state'][0]['exp_avg'] = torch.zeros(1, 1).long()


def moment_not_finite(checkpoint):
    checkpoint['optimizer']['state'][0]['exp_avg_sq'].fill_(torch.nan)


def other_groups(checkpoint):
    checkpoint['optimizer']['param_groups'][0]['params'].pop()


def no_optimizer(checkpoint):
    del checkpoint['optimizer']


def weights_of_other_type(checkpoint):
    state = checkpoint['state_dict']
    checkpoint['state_dict'] = {k: v.double() for k, v in state.items()}


@pytest.mark.parametrize(
    ('damage', 'word'),
    [
        (moment_of_other_shape, r'exp_avg of parameter 0 is .* of shape \(3,\)'),
        (moment_of_integers, 'exp_avg of parameter 0 is torch.int64'),
        (moment_not_finite, 'not finite'),
        (other_groups, 'groups of'),
        (no_optimizer, 'has no optimizer'),
        (weights_of_other_type, 'float64 in the file'),
    ],
)
def test_state_that_does_not_fit_is_refused_before_it_is_loaded(damage, word):
    course, checkpoint = changed()
    damage(checkpoint)
    with pytest.raises(ValueError, match=word):
        course.resume(checkpoint)
    assert course.iter == 0


def test_schedules_of_the_host_cannot_follow_a_change():
    course, checkpoint = changed(batch=5)
    host = dict(type='CosineAnnealingLR', T_max=33, by_epoch=False)
    default = dict(optimizer=course.optim_wrapper)
    course.param_schedulers = [PARAM_SCHEDULERS.build(host, default_args=default)]
    with pytest.raises(ValueError, match='CosineAnnealingLR .* batch_size was 2, is 5'):
        course.resume(checkpoint)


def test_a_checkpoint_without_record_goes_on_at_the_end_of_an_epoch(caplog):
    course, checkpoint = changed(batch=5)
    del checkpoint['meta']['run']
    checkpoint['meta'].update(epoch=2, iter=22)
    with caplog.at_level(logging.WARNING, 'course'):
        course.resume(checkpoint)
    assert 'no record of its run' in caplog.text
    assert (course.epoch, course.iter) == (2, 8)
    course, checkpoint = changed()
    del checkpoint['meta']['run']
    checkpoint['meta'].update(epoch=2, iter=23)
    with pytest.raises(ValueError, match='within an epoch and has no record'):
        course.resume(checkpoint)


def test_weights_start_a_new_training():
    """``load_from``: all clocks at zero, no comparison of settings."""
    course, checkpoint = changed()
    course.cfg.model.heads = 3
    assert checkpoint['state_dict']['target_encoder.steps'] == 22
    course.strict.after_load_checkpoint(course, checkpoint)
    assert checkpoint['state_dict']['target_encoder.steps'] == 0
    course.model.load_state_dict(checkpoint['state_dict'])
    before = course.model.target_encoder.module.weight.clone()
    course.run()
    assert len(course.rows) == course.max_iters
    assert not torch.equal(before, course.model.target_encoder.module.weight)
