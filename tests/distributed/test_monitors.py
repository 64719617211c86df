"""What a run logs of its health: two gloo processes tell what one does."""

from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from mmengine.logging import MessageHub

from dseq_mm.cli.processes import leave_group
from dseq_mm.evaluation import EffectiveRankHook
from tests.distributed.test_two_processes import run_two
from tests.models.builders import build_jepa

NAMES = ('rank_me', 'lidar')


def measure(rank, world):
    """Three batches of eight images, dealt out to the processes."""
    model = build_jepa().double()
    hub = MessageHub('monitors')
    runner = SimpleNamespace(model=model, message_hub=hub, iter=2)
    hook = EffectiveRankHook(interval=3, size=16)
    hook.before_train(runner)
    tokens = torch.randn(3, 8, 9, 12, generator=torch.Generator().manual_seed(0))
    for batch in tokens:
        model.sample.add(batch[rank::world])
    hook.after_train_iter(runner, 2)
    return {name: float(hub.get_scalar(f'train/{name}').current()) for name in NAMES}


def worker(rank, file, out):
    dist.init_process_group(
        'gloo', init_method=f'file://{file}', rank=rank, world_size=2
    )
    torch.set_num_threads(1)
    torch.save(measure(rank, 2), f'{out}.{rank}')
    leave_group()


def test_two_processes_tell_what_one_does(tmp_path):
    alone = measure(0, 1)
    for found in run_two(worker, tmp_path):
        assert found.keys() == alone.keys()
        for name in NAMES:
            assert found[name] == pytest.approx(alone[name], rel=1e-5), name
