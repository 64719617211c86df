"""What a resume compares: it goes on, applies or refuses, and says which."""

import logging

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import IterBasedTrainLoop
from mmpretrain.registry import PARAM_SCHEDULERS
from torch.utils.data import BatchSampler, DataLoader

from dseq_mm.engine import ResumableTrainLoop, checks
from dseq_mm.engine.record import compare_settings, sampler_of
from tests.engine.course import Course, curve


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


def without_record(epoch, iteration, **kwargs):
    """As an earlier version wrote it, of 3 epochs with 11 iterations each."""
    course, checkpoint = changed(**kwargs)
    del checkpoint['meta']['run']
    checkpoint['meta'].update(epoch=epoch, iter=iteration)
    checkpoint['message_hub']['runtime_info'] = dict(max_epochs=3, max_iters=33)
    config = dict(model=dict(type='Model'), train_dataloader=dict(batch_size=2))
    checkpoint['meta']['cfg'] = Config(config).pretty_text
    return course, checkpoint


@pytest.mark.parametrize('place', [(2, 22), (1, 22)])
def test_a_checkpoint_without_record_goes_on_at_the_end_of_an_epoch(caplog, place):
    course, checkpoint = without_record(*place, batch=5)
    with caplog.at_level(logging.WARNING, 'course'):
        course.resume(checkpoint)
    assert 'batch_size was 2, is 5' in caplog.text
    assert (course.epoch, course.iter) == (2, 8)


@pytest.mark.parametrize('place', [(1, 16), (2, 23), (0, 4)])
def test_a_checkpoint_without_record_is_refused_within_an_epoch(place):
    course, checkpoint = without_record(*place)
    with pytest.raises(ValueError, match='within an epoch and has no record'):
        course.resume(checkpoint)


def test_settings_of_a_checkpoint_without_record_are_compared():
    course, checkpoint = without_record(2, 22)
    course.cfg.model.type = 'Other'
    with pytest.raises(ValueError, match="model.type was 'Model', is 'Other'"):
        course.resume(checkpoint)


def test_schedules_of_the_host_cannot_follow_another_number_of_images():
    """Also where the checkpoint has no record, or one insists."""
    for insist in (False, True):
        course, checkpoint = changed() if insist else without_record(2, 22)
        course.strict.insist = insist
        course.train_dataloader.dataset.extend(range(23, 46))
        course.train_loop._max_iters = 69
        host = dict(type='CosineAnnealingLR', T_max=33, by_epoch=False)
        default = dict(optimizer=course.optim_wrapper)
        course.param_schedulers = [PARAM_SCHEDULERS.build(host, default_args=default)]
        with pytest.raises(ValueError, match='69 iterations instead of 33'):
            course.resume(checkpoint)


def test_other_labels_are_other_data():
    course, checkpoint = changed()
    course.train_dataloader.dataset.get_data_info = lambda index: dict(
        img_path=f'/data/{index}.png', gt_label=index % 3
    )
    with pytest.raises(ValueError, match='checksum of the list of training images'):
        course.resume(checkpoint)


def test_a_drawn_seed_is_that_of_the_checkpoint():
    """The sampler was built with another one before anything was read."""
    course, checkpoint = changed()
    course._randomness_cfg, course.seed = dict(seed=None), 8
    course.train_dataloader.sampler.seed = 8
    course.set_randomness = lambda seed: setattr(course, 'seed', seed)
    course.resume(checkpoint)
    assert course.seed == course.train_dataloader.sampler.seed == 5
    assert checkpoint['meta']['seed'] == 5


def test_an_insisted_seed_is_that_of_all_parts():
    course, checkpoint = changed()
    course.seed, course.strict.insist = 6, True
    course.train_dataloader.sampler.seed = 6
    course.resume(checkpoint)
    assert checkpoint['meta']['seed'] == course.train_dataloader.sampler.seed == 6


def test_scaling_of_the_rate_is_told(caplog):
    course, checkpoint = changed()
    course.cfg.auto_scale_lr = dict(enable=True, base_batch_size=2)
    with caplog.at_level(logging.WARNING, 'course'):
        course.resume(checkpoint)
    assert 'auto_scale_lr.enable was False, is True' in caplog.text


def test_state_that_amsgrad_needs_is_missed():
    course, checkpoint = changed()
    course.optim_wrapper.optimizer.param_groups[0]['amsgrad'] = True
    with pytest.raises(ValueError, match='without amsgrad'):
        course.resume(checkpoint)


def test_another_optimizer_that_one_insists_on_starts_anew(caplog):
    course, checkpoint = changed()
    course.cfg.optim_wrapper.optimizer.type = 'SGD'
    course.strict.insist = True
    with caplog.at_level(logging.WARNING, 'course'):
        course.resume(checkpoint)
    assert checkpoint['optimizer']['state'] == {}
    assert 'its moments start anew' in caplog.text


def test_averages_of_the_host_are_not_taken_for_weights():
    course, checkpoint = changed()
    checkpoint['ema_state_dict'] = {}
    with pytest.raises(ValueError, match='its weights are averages'):
        course.resume(checkpoint)


def test_images_that_fill_no_batch_are_told(caplog):
    """12 of 23 images are left, and the batch is 20 now."""
    checkpoint = Course(batch=11).run_until(1)
    with caplog.at_level(logging.WARNING, 'course'):
        Course(batch=20).resume(checkpoint)
    assert '12 images of epoch 1 are left out' in caplog.text


def test_a_finished_training_says_so(caplog):
    checkpoint = Course(images=22).run_until(33)
    course = Course(images=22)
    with caplog.at_level(logging.WARNING, 'course'):
        course.resume(checkpoint).run()
    assert course.rows == [] and course.epoch == 3
    checkpoint['meta']['run'].update(epoch=3, seen=0)
    with caplog.at_level(logging.WARNING, 'course'):
        Course(images=22).resume(checkpoint)
    assert 'Nothing is left to train' in caplog.text


def test_a_place_that_nothing_has_compared_is_refused():
    """The host's resume alone, without our hook."""
    course, checkpoint = changed(batch=5)
    course.train_loop._epoch, course.train_loop._iter = 2, 22
    with pytest.raises(ValueError, match="type='mmpretrain.StrictCheckpointHook'"):
        course.run()
    course = Course()
    course.train_loop._epoch, course.train_loop._iter = 2, 22
    course.run()
    assert course.rows[0][0] == pytest.approx(2 / 3)


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


def test_weights_that_are_not_finite_are_refused():
    course, checkpoint = changed()
    checkpoint['state_dict']['backbone.bias'].fill_(torch.inf)
    with pytest.raises(ValueError, match='not finite .backbone.bias'):
        course.resume(checkpoint)


def test_state_in_the_form_of_another_optimizer_is_left_to_it():
    """Adafactor's is factored, others count in integers."""
    course, checkpoint = changed()
    state = checkpoint['optimizer']['state'][0]
    state.update(row_var=torch.zeros(3), code=torch.zeros(7, dtype=torch.uint8))
    course.resume(checkpoint)


def test_processes_that_read_different_files_are_stopped(monkeypatch):
    """Each finds the newest checkpoint itself, on a file system that may lag."""
    course, checkpoint = changed()
    other = ('x', 1, 0, 1, 11, None)
    monkeypatch.setattr(checks, 'all_gather_object', lambda mine: [mine, other])
    with pytest.raises(ValueError, match='processes read different checkpoints'):
        course.resume(checkpoint)


class Pairs(BatchSampler):
    """A batch sampler that puts images together by a rule of its own."""


def test_a_sampler_that_groups_images_says_that_it_is_not_exact(caplog):
    checkpoint = Course().run_until(3)
    course = Course()
    loader = course.train_dataloader
    pairs = Pairs(loader.sampler, 2, drop_last=True)
    loader = DataLoader(loader.dataset, batch_sampler=pairs)
    course.train_loop = ResumableTrainLoop(course, loader, 3)
    with caplog.at_level(logging.WARNING, 'course'):
        course.resume(checkpoint)
    assert 'Pairs groups images' in caplog.text
    assert sampler_of(course).seed == 5


def test_progress_of_iterations_is_recorded():
    course = Course()
    course.train_loop = IterBasedTrainLoop(course, course.train_dataloader, 40)
    checkpoint = dict(meta=dict(epoch=0, iter=10))
    course.strict.before_save_checkpoint(course, checkpoint)
    assert checkpoint['meta']['run']['progress'] == 0.25
    # and another batch is refused: that loop would skip as many batches of it
    other = Course(batch=5)
    other.train_loop = IterBasedTrainLoop(other, other.train_dataloader, 40)
    checkpoint = Course().run_until(4) | checkpoint
    with pytest.raises(ValueError, match='2 images at a time, this run has 5'):
        other.resume(checkpoint)


def test_how_it_is_computed_may_change():
    before = {'model.neck.depth': 12, 'model.backbone.with_cp': False}
    now = {
        'model.neck.depth': 12,
        'model.compile_layers': True,
        'model.unrolled': True,
        'model.backbone.with_cp': True,
        'model.neck.varlen': True,
    }
    assert compare_settings(before, now) == ([], [])
    other, _ = compare_settings(before, {**now, 'model.neck.depth': 6})
    assert [difference.name for difference in other] == ['model.neck.depth']
