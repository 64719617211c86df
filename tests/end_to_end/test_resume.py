"""4 epochs = 2 epochs + resume + 2 epochs, to the bit, on the CPU."""

import pytest
import torch

from dseq_mm.transfer.checkpoint import load_checkpoint
from tests.end_to_end.runs import RecordHook, digits_config, train, write_images


def same(one, other, path=''):
    """Compare nested states; name the first difference."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            same(one[key], other[key], f'{path}.{key}')
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), path
        for index, pair in enumerate(zip(one, other, strict=False)):
            same(*pair, f'{path}[{index}]')
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    else:
        assert one == other, path


@pytest.mark.parametrize(
    ('method', 'workers', 'accumulated'),
    [('dseq', 0, 1), ('dseq', 2, 1), ('ijepa', 0, 2)],
)
def test_resumed_run_equals_the_uninterrupted_one(
    tmp_path, method, workers, accumulated
):
    images = write_images(tmp_path / 'images', 16)

    def config(name):
        cfg = digits_config(images, tmp_path / name, method, epochs=4, batch=4)
        cfg.custom_hooks = [dict(type='RecordHook')]
        cfg.optim_wrapper.accumulative_counts = accumulated
        cfg.train_dataloader.num_workers = workers
        cfg.train_dataloader.persistent_workers = workers > 0
        return cfg

    train(config('whole'))
    whole = RecordHook.records
    resumed = config('resumed')
    resumed.resume = True
    resumed.load_from = str(tmp_path / 'whole' / 'epoch_2.pth')
    train(resumed)
    assert sorted(whole) == list(range(16)) and sorted(RecordHook.records) == list(
        range(8, 16)
    )
    for iteration, record in RecordHook.records.items():
        same(whole[iteration], record, f'iteration {iteration}')
    assert whole[0]['pixels'] != whole[4]['pixels']
    ends = [
        load_checkpoint(tmp_path / name / 'epoch_4.pth')
        for name in ('whole', 'resumed')
    ]
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        same(ends[0][part], ends[1][part], part)
    assert ends[0]['state_dict']['target_encoder.steps'] == 16 // accumulated


def test_schedules_follow_the_recipe(tmp_path):
    """Per iteration: warm-up, cosine, weight-decay ramp that leaves no-decay groups."""
    images = write_images(tmp_path / 'images', 16)
    cfg = digits_config(images, tmp_path / 'run', epochs=4, batch=4)
    cfg.custom_hooks = [dict(type='RecordHook')]
    runner = train(cfg)
    records = RecordHook.records
    assert records[0]['lr'][0] == pytest.approx(1e-4)
    assert max(r['lr'][0] for r in records.values()) == pytest.approx(1e-3)
    assert records[15]['lr'][0] < 1e-4
    groups = runner.optim_wrapper.optimizer.param_groups
    flat = [all(p.ndim == 1 for p in group['params']) for group in groups]
    assert sorted(flat) == [False, True]  # one group each, for the fused optimizer
    for iteration, record in records.items():
        cosine = (1 + torch.cos(torch.tensor(torch.pi * iteration / 16)).item()) / 2
        expected = 0.4 + (0.04 - 0.4) * cosine
        for is_flat, decay in zip(flat, record['decay'], strict=False):
            assert decay == (0 if is_flat else pytest.approx(expected, rel=1e-4))


def test_accumulation_moves_the_target_encoder_like_large_batches(tmp_path):
    """Batch 2 accumulated twice updates the EMA as often as batch 4."""
    images = write_images(tmp_path / 'images', 16)
    steps = []
    for name, batch, accumulated in (('large', 4, 1), ('small', 2, 2)):
        cfg = digits_config(images, tmp_path / name, 'ijepa', epochs=2, batch=batch)
        cfg.optim_wrapper.accumulative_counts = accumulated
        target = train(cfg).model.target_encoder
        steps.append(target.steps.item())
    assert steps[0] == steps[1] == 8
