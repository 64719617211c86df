"""A training that is killed, or finds a full disk, goes on from a whole checkpoint."""

import errno
import os
import shutil
import signal
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from mmengine.fileio import LocalBackend

from dseq_mm.engine import durable
from dseq_mm.engine.durable import CheckpointNotWrittenError
from dseq_mm.engine.work_dir import WorkDirLock, newest_checkpoint
from dseq_mm.transfer.checkpoint import load_checkpoint
from tests.end_to_end.runs import digits_config, train, write_images


def config(images, work_dir, epochs=3):
    """A training that keeps one checkpoint only."""
    cfg = digits_config(images, work_dir, 'ijepa', epochs=epochs, batch=4)
    cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=1)
    return cfg


def resume(cfg):
    """Go on as the tools do."""
    path, _ = newest_checkpoint(cfg.work_dir)
    cfg.resume, cfg.load_from = True, str(path)
    return train(cfg)


def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def half_written(self, contents):
    with self.open('wb') as file:
        file.write(contents[: len(contents) // 2])
        file.flush()
        kill()


def at_second(function, instead):
    """Call a function once, and another from then on."""
    calls = []

    def called(*args):
        calls.append(args)
        return function(*args) if len(calls) == 1 else instead(*args)

    return called


def write_first(write, instead):
    """Write the first checkpoint and its name; the next is written otherwise."""

    def called(self, contents):
        return (instead if 'epoch_2' in self.name else write)(self, contents)

    return called


def killed(images, work_dir, moment):
    """Train in this process until it is killed while epoch 2 is being saved."""
    torch.set_num_threads(1)  # OpenMP does not survive a fork
    WorkDirLock(work_dir).acquire()
    replace = durable.replace_durably
    if moment == 'within the file':
        Path.write_bytes = write_first(Path.write_bytes, half_written)
    elif moment == 'before its renaming':
        durable.replace_durably = lambda draft, out: (
            kill() if 'epoch_2' in out.name else replace(draft, out)
        )
    elif moment == 'before last_checkpoint':
        durable.DurableBackend.put_text = at_second(
            durable.DurableBackend.put_text, kill
        )
    elif moment == 'before the removal':
        LocalBackend.remove = kill
    else:
        remove = LocalBackend.remove
        LocalBackend.remove = lambda *args: (remove(*args), kill())
    train(config(images, work_dir))


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Images, and the last checkpoint of a training that nobody interrupted."""
    folder = tmp_path_factory.mktemp('whole')
    images = write_images(folder / 'images', 8)
    train(config(images, folder / 'work'))
    return images, load_checkpoint(folder / 'work' / 'epoch_3.pth')


@pytest.mark.parametrize(
    ('moment', 'left', 'newest'),
    [
        ('within the file', {'epoch_1.pth'}, 'epoch_1.pth'),
        ('before its renaming', {'epoch_1.pth'}, 'epoch_1.pth'),
        ('before last_checkpoint', {'epoch_1.pth', 'epoch_2.pth'}, 'epoch_2.pth'),
        ('before the removal', {'epoch_1.pth', 'epoch_2.pth'}, 'epoch_2.pth'),
        ('after the removal', {'epoch_2.pth'}, 'epoch_2.pth'),
    ],
)
def test_a_killed_training_goes_on_as_if_nothing_had_happened(
    tmp_path, whole, moment, left, newest
):
    images, expected = whole
    work_dir = tmp_path / 'work'
    child = get_context('fork').Process(target=killed, args=(images, work_dir, moment))
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL
    assert {path.name for path in work_dir.glob('*.pth')} == left
    drafts = len(list(work_dir.glob(f'.*{durable._DRAFT}')))
    assert drafts == (moment in ('within the file', 'before its renaming'))
    # the folder may have been moved in the meantime
    moved = shutil.move(work_dir, tmp_path / 'moved')
    assert newest_checkpoint(moved)[0] == Path(moved, newest)
    with WorkDirLock(moved):  # the dead one holds it no more
        resume(config(images, moved))
    assert {path.name for path in Path(moved).glob('*.pth')} == {'epoch_3.pth'}
    assert not list(Path(moved).glob(f'.*{durable._DRAFT}'))
    state = load_checkpoint(Path(moved, 'epoch_3.pth'))['state_dict']
    for name, value in expected['state_dict'].items():
        assert torch.equal(state[name], value), name


@pytest.mark.parametrize('share', [0.0, 0.4, 1.0])
def test_a_full_disk_ends_the_training_and_loses_nothing(
    tmp_path, whole, share, monkeypatch
):
    images, _ = whole
    work_dir = tmp_path / 'work'

    def full(self, contents):
        with self.open('wb') as file:
            file.write(contents[: int(share * len(contents))])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, 'write_bytes', write_first(Path.write_bytes, full))
    with pytest.raises(CheckpointNotWrittenError, match='epoch_1.pth; that one is wh'):
        train(config(images, work_dir))
    assert {path.name for path in work_dir.glob('*.pth')} == {'epoch_1.pth'}
    assert not list(work_dir.glob(f'.*{durable._DRAFT}'))
    monkeypatch.undo()
    assert newest_checkpoint(work_dir)[0] == work_dir / 'epoch_1.pth'
    runner = resume(config(images, work_dir))
    assert runner.iter == 6
    assert {path.name for path in work_dir.glob('*.pth')} == {'epoch_3.pth'}
