"""What a run logs of its health: two gloo processes tell what one does."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import torch.distributed as dist
from mmengine.logging import MessageHub
from mmpretrain.structures import DataSample

from dseq_mm.cli.processes import leave_group
from dseq_mm.evaluation import AlignmentHook, EffectiveRankHook, OnlineProbeHook
from tests.distributed.test_two_processes import run_two
from tests.models.builders import build_jepa

NAMES = (
    'train/probe_top1',
    'train/weight',
    'train/rank_me',
    'train/lidar',
    'val/saliency_auc',
    'val/r1_iou',
)


def measure(rank, world, folder):
    """Three batches of eight images, dealt out to the processes, and five masks."""
    model = build_jepa()
    hub = MessageHub('monitors')
    runner = SimpleNamespace(model=model, message_hub=hub, iter=2, epoch=0)
    runner.max_epochs = 1
    runner.visualizer = SimpleNamespace(add_scalars=lambda values, step: None)
    runner.logger = SimpleNamespace(info=print)
    hook = EffectiveRankHook(interval=3, size=16)
    hook.before_train(runner)
    probe = OnlineProbeHook(num_classes=3, lr=0.1)
    probe.before_train(runner)
    tokens = torch.randn(3, 8, 9, 16, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(8) % 3
    for batch in tokens:
        model.sample.add(batch[rank::world])
        samples = [DataSample().set_gt_label(int(i)) for i in labels[rank::world]]
        probe.after_train_iter(runner, 0, dict(data_samples=samples))
    (weight,) = (p for p in probe._probe.parameters() if p.ndim == 2)
    hub.update_scalar('train/weight', weight.detach().abs().sum().item())
    hook.after_train_iter(runner, 2)
    masks = AlignmentHook(f'{folder}/images', f'{folder}/masks', batch_size=2)
    masks.before_train(runner)
    masks.after_train_epoch(runner)
    return {name: float(hub.get_scalar(name).current()) for name in NAMES}


def draw(folder):
    """Five images and masks."""
    random = np.random.default_rng(0)
    for place in ('images', 'masks'):
        (folder / place).mkdir()
    for number in range(5):
        mask = random.integers(0, 2, (12, 16), np.uint8)
        image = random.integers(0, 256, (12, 16, 3), np.uint8)
        cv2.imwrite(f'{folder}/images/{number}.png', image)
        cv2.imwrite(f'{folder}/masks/{number}.png', mask)


def worker(rank, file, out):
    dist.init_process_group(
        'gloo', init_method=f'file://{file}', rank=rank, world_size=2
    )
    torch.set_num_threads(1)
    torch.save(measure(rank, 2, Path(file).parent), f'{out}.{rank}')
    leave_group()


def test_two_processes_tell_what_one_does(tmp_path):
    draw(tmp_path)
    alone = measure(0, 1, tmp_path)
    for found in run_two(worker, tmp_path):
        assert found.keys() == alone.keys()
        for name in NAMES:
            assert found[name] == pytest.approx(alone[name], rel=1e-5), name
