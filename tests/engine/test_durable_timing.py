"""DurableCheckpointHook: when it saves, and in which process."""

from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from mmengine.fileio import LocalBackend
from mmengine.optim import OptimWrapper, OptimWrapperDict

from dseq_mm.cli.processes import leave_group
from dseq_mm.engine import durable
from dseq_mm.engine.durable import CheckpointNotWrittenError, gradients_pending
from dseq_mm.engine.work_dir import newest_checkpoint
from dseq_mm.transfer.checkpoint import load_checkpoint
from tests.engine.test_durable import (
    At,
    Line,
    build,
    die,
    fail_at,
    hook_of,
    listing,
    place,
    resumed,
)

pytestmark = pytest.mark.usefixtures('safe_loader')


def test_an_epochs_end_waits_for_the_optimizer(tmp_path):
    """5 batches an epoch, a step at 2, 4, 6, ..., 14 and at the end, 15."""
    build(tmp_path, batches=5, accumulated=2).train()
    places = {p.name: place(p) for p in tmp_path.glob('*.pth')}
    assert places == {
        'epoch_1.pth': (1, 6),
        'epoch_2.pth': (2, 10),
        'epoch_3.pth': (3, 15),
    }
    assert (tmp_path / 'last_checkpoint').read_text() == 'epoch_3.pth'


def test_iterations_wait_for_the_optimizer_and_say_where_they_are(tmp_path):
    build(tmp_path, accumulated=4, interval=3, by_epoch=False).train()
    places = {p.name: place(p) for p in tmp_path.glob('*.pth')}
    # 3 -> 4, 6 -> 8, 9 -> 12, and 12 itself
    assert places == {
        'iter_4.pth': (0, 4),
        'iter_8.pth': (1, 8),
        'iter_12.pth': (2, 12),
    }


def test_a_checkpoint_that_waited_knows_the_best_one(tmp_path):
    seen = []
    watch = At(5, lambda _: seen.append(listing(tmp_path)))
    runner = build(
        tmp_path,
        epochs=2,
        batches=3,
        accumulated=2,
        scores=[1, 2],
        save_best='acc',
        rule='greater',
        hooks=[At(4, watch.what)],
    )
    runner.train()
    assert place(tmp_path / 'epoch_1.pth') == (1, 4)
    assert seen == [['best_acc_epoch_1.pth', 'epoch_1.pth', 'last_checkpoint']]
    best = load_checkpoint(tmp_path / 'epoch_1.pth')['message_hub']['runtime_info']
    assert Path(best['best_ckpt']).name == 'best_acc_epoch_1.pth'


def test_training_that_is_stopped_early_is_saved(tmp_path):
    def stop(runner):
        runner.train_loop.stop_training = True

    build(tmp_path, batches=5, accumulated=2, hooks=[At(5, stop)]).train()
    assert place(tmp_path / 'epoch_1.pth') == (1, 5)


def test_pending_gradients_by_kind_of_wrapper():
    model = Line()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), 0.1))
    for accumulated, pending in ((1, False), (2, True)):
        wrapper._accumulative_counts = accumulated
        wrapper._inner_count = 3
        assert gradients_pending(SimpleNamespace(optim_wrapper=wrapper)) == pending
    both = OptimWrapperDict(a=wrapper)
    assert not gradients_pending(SimpleNamespace(optim_wrapper=both))


def save_now(runner):
    hook_of(runner).save_now(runner)


def test_an_interruption_is_saved_and_goes_after_the_next_one(tmp_path):
    seen = []
    hooks = [At(6, save_now), At(7, lambda _: seen.append(listing(tmp_path)))]
    build(tmp_path, max_keep_ckpts=1, hooks=hooks).train()
    assert seen == [['epoch_1.pth', 'interrupted.pth', 'last_checkpoint']]
    assert listing(tmp_path) == ['epoch_3.pth', 'last_checkpoint']


def test_a_run_keeps_its_interruption_until_it_has_a_better_one(tmp_path, monkeypatch):
    stop = At(6, lambda runner: (save_now(runner), die()))
    options = dict(max_keep_ckpts=1)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, hooks=[stop], **options).train()
    assert (tmp_path / 'last_checkpoint').read_text() == 'interrupted.pth'
    assert place(tmp_path / 'interrupted.pth') == (1, 6)
    assert newest_checkpoint(tmp_path)[0].name == 'interrupted.pth'
    fail_at(monkeypatch, 'epoch_2.pth')
    with pytest.raises(CheckpointNotWrittenError, match='interrupted.pth; that one'):
        resumed(tmp_path, **options).train()
    assert 'interrupted.pth' in listing(tmp_path)
    monkeypatch.undo()
    resumed(tmp_path, **options).train()
    assert listing(tmp_path) == ['epoch_3.pth', 'last_checkpoint']


def test_a_new_run_keeps_the_interruption_of_an_earlier_one(tmp_path):
    """Started anew by mistake and interrupted again, both can be resumed."""
    for iteration in (2, 3):
        stop = At(iteration, lambda runner: (save_now(runner), die()))
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path, hooks=[stop]).train()
    (kept,) = tmp_path.glob('interrupted_before_*.pth')
    assert place(kept) == (0, 2) and place(tmp_path / 'interrupted.pth') == (0, 3)


def one_of_two(rank, folder):
    torch.set_num_threads(1)
    store = f'file://{folder}/store'
    dist.init_process_group('gloo', init_method=store, rank=rank, world_size=2)
    if rank:  # must not touch a file
        durable.replace_durably = LocalBackend.remove = die
    hooks = [At(3, save_now)]
    options = dict(max_keep_ckpts=1, hooks=hooks, scores=[1, 2, 3])
    build(folder / 'work', save_best='acc', rule='greater', **options).train()
    leave_group()


def test_of_two_processes_one_writes(tmp_path):
    work = tmp_path / 'work'
    work.mkdir()
    draft = work / f'.x{durable._DRAFT}'
    draft.write_bytes(b'')
    context = get_context('fork')
    both = [
        context.Process(target=one_of_two, args=(rank, tmp_path), daemon=True)
        for rank in range(2)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    wanted = ['best_acc_epoch_3.pth', 'epoch_3.pth', 'last_checkpoint']
    assert listing(work) == wanted
