"""What a user can get wrong ends in a clear message, and nothing is lost."""

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from dseq_mm.engine import NonFiniteLossError
from dseq_mm.transfer.checkpoint import load_checkpoint
from tests.end_to_end.runs import digits_config, train, write_images


@HOOKS.register_module()
class PoisonHook(Hook):
    """Makes the loss of one iteration NaN by poisoning the pixels of one batch."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            data_batch['inputs'] = data_batch['inputs'].float() * float('nan')


def test_non_finite_loss_stops_names_files_and_keeps_the_last_checkpoint(tmp_path):
    images = write_images(tmp_path / 'images', 16)
    cfg = digits_config(images, tmp_path / 'run', 'dseq', epochs=3, batch=4)
    cfg.custom_hooks = [dict(type='PoisonHook', iteration=6)]
    with pytest.raises(NonFiniteLossError, match=r'iteration 6.*class\d.*\.png'):
        train(cfg)
    assert (tmp_path / 'run' / 'epoch_1.pth').exists()
    assert not (tmp_path / 'run' / 'epoch_2.pth').exists()
    state = load_checkpoint(tmp_path / 'run' / 'epoch_1.pth')['state_dict']
    assert all(value.isfinite().all() for value in state.values())


def test_unreadable_images_are_skipped_then_too_many_stop_the_run(tmp_path):
    images = write_images(tmp_path / 'images', 16)
    (images / 'class0' / '000.png').write_bytes(b'no image')
    train(digits_config(images, tmp_path / 'run', epochs=2))
    for name in ('002', '004', '006'):
        (images / 'class0' / f'{name}.png').write_bytes(b'none either')
    with pytest.raises(RuntimeError, match='could not be read'):
        train(digits_config(images, tmp_path / 'again', epochs=2))


def test_checkpoint_of_another_architecture_is_refused(tmp_path):
    images = write_images(tmp_path / 'images', 16)
    train(digits_config(images, tmp_path / 'run', epochs=2))
    other = digits_config(images, tmp_path / 'other', epochs=3)
    other.model.backbone.arch.embed_dims = 32
    other.resume, other.load_from = True, str(tmp_path / 'run' / 'epoch_2.pth')
    with pytest.raises(ValueError, match=r'(?s)does not fit.*mismatched 81'):
        train(other)


def test_folder_without_images_is_refused(tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='empty'):
        train(digits_config(tmp_path / 'empty', tmp_path / 'run'))


def test_iteration_based_loop_is_refused(tmp_path):
    images = write_images(tmp_path / 'images', 16)
    cfg = digits_config(images, tmp_path / 'run')
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=4)
    cfg.param_scheduler = []
    with pytest.raises(ValueError, match='ResumableTrainLoop'):
        train(cfg)


def test_plans_and_crops_do_not_depend_on_workers(tmp_path):
    from tests.end_to_end.runs import RecordHook
    from tests.end_to_end.test_resume import same

    images = write_images(tmp_path / 'images', 16)
    records = []
    for workers in (0, 1, 2):
        cfg = digits_config(images, tmp_path / str(workers), 'dseq', epochs=2)
        cfg.custom_hooks = [dict(type='RecordHook')]
        cfg.train_dataloader.num_workers = workers
        cfg.train_dataloader.persistent_workers = workers > 0
        train(cfg)
        records.append(RecordHook.records)
    same(records[0], records[1])
    same(records[0], records[2])


def test_bfloat16_run_on_the_cpu(tmp_path):
    images = write_images(tmp_path / 'images', 16)
    cfg = digits_config(images, tmp_path / 'run', epochs=2)
    cfg.optim_wrapper.dtype = 'bfloat16'
    model = train(cfg).model
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert all(p.isfinite().all() for p in model.parameters())
