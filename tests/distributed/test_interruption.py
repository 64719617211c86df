"""Two gloo processes: one gets a signal, both end alike, and the run goes on exactly.

With gradients accumulated over two iterations, so that the end has to wait for a step.
"""

import os

import torch
import torch.distributed as dist

from dseq_mm.cli.processes import leave_group, prepare_distributed
from dseq_mm.engine import TrainingInterrupted
from dseq_mm.transfer.checkpoint import load_checkpoint
from tests.distributed.test_two_processes import run_two
from tests.end_to_end.runs import RecordHook, digits_config, train, write_images
from tests.end_to_end.test_interruption import SignalHook  # noqa: F401
from tests.end_to_end.test_resume import same

BATCH, ACCUMULATED = 2, 2


def run(folder, name, *hooks, batch=BATCH, **options):
    """What each iteration of a training of this process had; how it ended."""
    cfg = digits_config(folder / 'images', folder / name, 'ijepa', 3, batch)
    cfg.custom_hooks = [dict(type='RecordHook'), *hooks]
    cfg.optim_wrapper.accumulative_counts = ACCUMULATED
    cfg.merge_from_dict(options)
    prepare_distributed(cfg, 'pytorch')
    try:
        train(cfg)
    except TrainingInterrupted as end:
        return RecordHook.records, end.code
    return RecordHook.records, 0


def worker(rank, file, out):
    os.environ.update(RANK=str(rank), WORLD_SIZE='2', LOCAL_RANK=str(rank))
    torch.set_num_threads(1)
    dist.init_process_group(
        'gloo', init_method=f'file://{file}', rank=rank, world_size=2
    )
    from pathlib import Path

    folder = Path(file).parent
    if rank == 0:
        write_images(folder / 'images', 16)
    dist.barrier()
    results = dict(whole=run(folder, 'whole'))
    # the signal comes to the second process, in the first half of an accumulation
    signal = [dict(type='SignalHook', at=4, name='SIGUSR1')] if rank == 1 else []
    results['first'] = run(folder, 'resumed', *signal)
    place = dict(resume=True, load_from=str(folder / 'resumed' / 'interrupted.pth'))
    results['second'] = run(folder, 'resumed', **place)
    # and at another batch: the same progress
    results['other'] = run(folder, 'other', batch=1, **place | dict(
        load_from=str(folder / 'whole' / 'epoch_1.pth')
    ))  # fmt: skip
    torch.save(results, f'{out}.{rank}')
    leave_group()


def test_a_signal_to_one_process_ends_both_and_the_run_goes_on(tmp_path):
    for result in run_two(worker, tmp_path):
        (whole, _), (first, status) = result['whole'], result['first']
        second, other = result['second'][0], result['other'][0]
        assert (status, result['second'][1]) == (75, 0)
        assert sorted(whole) == list(range(12))
        # the second step after the signal is the last, in both
        assert sorted(first) == list(range(8)) and sorted(second) == list(range(8, 12))
        for iteration, record in {**first, **second}.items():
            same(whole[iteration], record, f'iteration {iteration}')
        assert sorted(other) == list(range(8, 24))  # 8 iterations make an epoch now
        assert (
            other[8]['lr'] == whole[4]['lr'] and other[8]['decay'] == whole[4]['decay']
        )
    ends = [
        load_checkpoint(tmp_path / name / 'epoch_3.pth')
        for name in ('whole', 'resumed')
    ]
    for part in ('state_dict', 'optimizer'):
        same(ends[0][part], ends[1][part], part)
