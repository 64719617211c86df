"""Numbers of a config that are refused wherever they stand, and those that are not."""

import pytest
from mmengine.config import Config

from dseq_mm.cli.valid_options import apply_options
from dseq_mm.cli.value_checks import check_values


@pytest.mark.parametrize(
    ('place', 'value'),
    [
        ('train_dataloader.num_workers', 0),
        ('train_cfg.max_iters', 1e5),
        ('randomness.seed', None),
        ('randomness.seed', 2**32 - 1),
        ('optim_wrapper.clip_grad.max_norm', float('inf')),
        ('optim_wrapper.clip_grad.norm_type', 'inf'),
        ('model.backbone.drop_path_rate', [0.1, 0.2]),
        ('model.mask_generator.seed', 2**40),
        ('train_dataloader.dataset.max_bytes', 2**40),
        ('custom_hooks.0.interval', 2**40),
        ('tta_model.size', 2**40),
    ],
)
def test_what_a_reader_takes(place, value):
    check_values([(place, value)])


@pytest.mark.parametrize(
    ('place', 'value'),
    [
        ('test_dataloader.batch_size', True),
        ('val_dataloader.prefetch_factor', 0),
        ('train_cfg.max_iters', float('nan')),
        ('optim_wrapper.generator.accumulative_counts', 0),
        ('optim_wrapper.generator.clip_grad.max_norm', -1),
        ('model.backbone.drop_path_rate', [0.1, 1.0]),
        ('model.backbone.layer_cfgs.3.drop_path_rate', -0.1),
        ('train_dataloader.dataset.pipeline.2.ratio_range', (0.0, 2.0)),
        ('train_dataloader.dataset.pipeline.2.ratio_range', 2.0),
        ('model.backbone.out_indices.1', -(2**31)),
    ],
)
def test_what_a_reader_cannot_work_with(place, value):
    with pytest.raises(ValueError, match=f'^{place} is .*: '):
        check_values([(place, value)])


def test_a_config_is_looked_at_where_it_is_no_option():
    cfg = Config(dict(model=dict(backbone=dict(drop_path_rate=2))))
    with pytest.raises(ValueError, match='model.backbone.drop_path_rate is 2'):
        apply_options(cfg, {})


def test_a_variable_that_nothing_reads_may_be_anything():
    apply_options(Config(dict(drop_path_rate=2, data_preprocessor=dict(mean=[1]))), {})


def test_a_preprocessor_beside_a_model_without_one_is_read():
    cfg = Config(dict(model=dict(), data_preprocessor=dict(mean=[1])))
    apply_options(cfg, {'data_preprocessor.mean': [2]})
    assert cfg.data_preprocessor.mean == [2]
