"""The masks are a partition keyed by epoch and image; the step trains and logs."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from dseq_mm.clock import TrainingClock

CONFIG = next((Path(__file__).parent / 'configs').glob('*.py'))


def test_a_step_trains_on_segments_and_logs_their_spread():
    model = MODELS.build(Config.fromfile(CONFIG).model)
    model.clock = TrainingClock(epoch=1)
    samples = [DataSample(metainfo=dict(sample_idx=i)) for i in (4, 0, 9)]
    total, log = model.parse_losses(model.loss(torch.randn(3, 3, 24, 24), samples))
    assert {'loss', 'latent', 'spread'} <= log.keys() and total > log['latent']
    total.backward()
    assert model.backbone.patch_embed.projection.weight.grad.any()


def test_segments_cover_the_image_and_depend_on_epoch_and_image_alone():
    model, index = MODELS.build(Config.fromfile(CONFIG).model), torch.tensor([4, 0, 9])
    encoded = model.encode_target(torch.randn(3, 3, 24, 24))
    plan = model.mask_generator(encoded, index, TrainingClock(epoch=1))
    plan.validate()
    tokens = torch.cat([plan.context_ids, plan.target_ids], dim=1)
    assert all(len(row[row >= 0].unique()) == 36 for row in tokens)
    alone = model.mask_generator(encoded, index[1:2], TrainingClock(epoch=1))
    both = zip(alone.target_ids[0], plan.target_ids[1], strict=False)
    assert all(one == other for one, other in both)
    later = model.mask_generator(encoded, index, TrainingClock(epoch=2))
    assert later.target_ids.tolist() != plan.target_ids.tolist()
