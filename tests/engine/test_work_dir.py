"""The folder of a run: the newest whole checkpoint, and one run at a time."""

import os
import shutil
import signal
import subprocess
import sys
import time
from multiprocessing import get_context

import pytest
import torch

from dseq_mm.engine.work_dir import WorkDirLock, newest_checkpoint


def save(folder, name, epoch, run=None, progress=None, clock='20260101_000000', **more):
    """A trainer's checkpoint, as small as can be."""
    folder.mkdir(parents=True, exist_ok=True)
    meta = dict(epoch=epoch, iter=10 * epoch, time=clock)
    if run is not None:
        meta['run'] = dict(id=run, progress=epoch / 9 if progress is None else progress)
    state = dict(meta=meta, state_dict=dict(w=torch.randn(400)), message_hub={})
    torch.save({**state, **more}, folder / name)
    return folder / name


def damage(path, at=0.5):
    """Flip one byte in the middle: the file can still be opened."""
    contents = bytearray(path.read_bytes())
    contents[int(len(contents) * at)] ^= 0xFF
    path.write_bytes(contents)


def names(folder, text):
    (folder / 'last_checkpoint').write_text(text)


def newest(folder, *more):
    """Name of the newest checkpoint, and what is said."""
    path, notes = newest_checkpoint(folder, *more)
    return path and path.name, ' | '.join(notes)


@pytest.mark.parametrize('run', [None, 'a1'])
def test_the_farthest_one_is_taken_and_named(tmp_path, run):
    for epoch in (9, 10, 8):
        save(tmp_path, f'epoch_{epoch}.pth', epoch, run)
    name, said = newest(tmp_path)
    assert name == 'epoch_10.pth' and 'epoch_10.pth is the newest whole' in said


def test_an_empty_or_missing_folder_has_none(tmp_path):
    assert newest(tmp_path)[0] is None
    name, said = newest(tmp_path / 'nowhere')
    assert name is None and said.startswith('There is no whole checkpoint in')


@pytest.mark.parametrize('how', ['truncated', 'flipped', 'empty', 'gone'])
def test_damaged_files_are_passed_over(tmp_path, how):
    save(tmp_path, 'epoch_1.pth', 1)
    save(tmp_path, 'epoch_2.pth', 2)
    last = save(tmp_path, 'epoch_3.pth', 3)
    names(tmp_path, last.name)
    if how == 'truncated':
        last.write_bytes(last.read_bytes()[:-100])
    elif how == 'flipped':
        damage(last)
    elif how == 'empty':
        last.write_bytes(b'')
    else:
        last.unlink()
    name, said = newest(tmp_path)
    assert name == 'epoch_2.pth'
    if how == 'gone':
        assert 'names epoch_3.pth, which is gone' in said
    else:
        assert said.count('epoch_3.pth is damaged and passed over') == 1


def test_only_damaged_files_give_none(tmp_path):
    damage(save(tmp_path, 'epoch_1.pth', 1))
    name, said = newest(tmp_path)
    assert name is None and 'epoch_1.pth is damaged' in said


def test_what_no_trainer_wrote_does_not_count(tmp_path):
    save(tmp_path, 'epoch_1.pth', 1)
    save(tmp_path, 'best_acc_epoch_5.pth', 5)
    save(tmp_path, 'epoch_6-0123abcd.pth', 6)
    save(tmp_path, '.epoch_7.pth.dseq_mm-draft', 7)
    torch.save(
        dict(meta=dict(epoch=8, iter=8), state_dict={}), tmp_path / 'weights.pth'
    )
    (tmp_path / 'epoch_9.pth').mkdir()
    assert newest(tmp_path)[0] == 'epoch_1.pth'


def test_a_file_with_code_is_refused_and_said_so(tmp_path):
    save(tmp_path, 'epoch_1.pth', 1)
    save(tmp_path, 'epoch_2.pth', 2, message_hub=os.system)
    name, said = newest(tmp_path)
    assert name == 'epoch_1.pth' and 'epoch_2.pth was refused' in said


def test_last_checkpoint_says_which_run(tmp_path):
    """Another training has been in this folder, and had come farther."""
    for epoch in (1, 2, 3):
        save(tmp_path, f'epoch_{epoch}.pth', epoch, 'old')
    save(tmp_path, 'interrupted.pth', 1, 'new', progress=0.15)
    assert newest(tmp_path)[0] == 'epoch_3.pth'
    names(tmp_path, 'interrupted.pth')
    assert newest(tmp_path)[0] == 'interrupted.pth'
    damage(tmp_path / 'interrupted.pth')
    assert newest(tmp_path)[0] == 'epoch_3.pth'


def test_without_last_checkpoint_the_latest_run_goes_on(tmp_path):
    save(tmp_path, 'epoch_9.pth', 9, 'old', clock='20260101_000000')
    save(tmp_path, 'epoch_1.pth', 1, 'new', clock='20260102_000000')
    save(tmp_path, 'epoch_2.pth', 2, 'new', clock='20260102_000000')
    assert newest(tmp_path)[0] == 'epoch_2.pth'


def test_a_kill_before_last_checkpoint_was_written_loses_nothing(tmp_path):
    save(tmp_path, 'epoch_1.pth', 1, 'a1', clock='20260101_000000')
    save(tmp_path, 'epoch_2.pth', 2, 'a1', clock='20260101_000500')
    names(tmp_path, 'epoch_1.pth')
    assert newest(tmp_path)[0] == 'epoch_2.pth'


@pytest.mark.parametrize('run', [None, 'a1'])
def test_a_run_that_went_back_does_not_jump_forward(tmp_path, run):
    """Epochs 3 and 4 were left behind by a resume from epoch 1."""
    for epoch in (1, 3, 4):
        save(tmp_path, f'epoch_{epoch}.pth', epoch, run, clock='20260101_000000')
    save(tmp_path, 'epoch_2.pth', 2, run, clock='20260102_000000')
    names(tmp_path, 'epoch_2.pth')
    assert newest(tmp_path)[0] == 'epoch_2.pth'


@pytest.mark.parametrize('last', ['epoch_2.pth', 'interrupted.pth'])
def test_of_two_at_one_place_the_named_one_is_taken(tmp_path, last):
    """A signal came when a regular one was due; the other may go after it."""
    for name in ('epoch_2.pth', 'interrupted.pth'):
        save(tmp_path, name, 2, 'a1')
    names(tmp_path, last)
    assert newest(tmp_path)[0] == last


def test_progress_counts_not_the_iteration(tmp_path):
    """A resumed run with larger batches has fewer iterations."""
    save(tmp_path, 'iter_40.pth', 4, 'a1', progress=0.5)
    save(tmp_path, 'iter_30.pth', 3, 'a1', progress=0.6)
    assert newest(tmp_path)[0] == 'iter_30.pth'


def test_a_training_that_was_made_longer_does_not_fall_back(tmp_path):
    """Epoch 10 of 20 is half of it, epoch 11 of 40 a quarter, and farther."""
    for epoch, planned in ((10, 20), (11, 40)):
        place = dict(epoch=epoch, seen=0, files=dict(number=8))
        path = save(tmp_path, f'epoch_{epoch}.pth', epoch, 'a1', epoch / planned)
        checkpoint = torch.load(path, weights_only=True)
        checkpoint['meta']['run'].update(place)
        torch.save(checkpoint, path)
    assert newest(tmp_path)[0] == 'epoch_11.pth'


def test_a_copied_folder_resumes_from_itself(tmp_path):
    for epoch in (1, 2):
        save(tmp_path / 'one', f'epoch_{epoch}.pth', epoch)
    names(tmp_path / 'one', str(tmp_path / 'one' / 'epoch_2.pth'))
    assert 'outside' not in newest(tmp_path / 'one')[1]
    shutil.copytree(tmp_path / 'one', tmp_path / 'two')
    path, notes = newest_checkpoint(tmp_path / 'two')
    assert path == tmp_path / 'two' / 'epoch_2.pth'
    assert sum('this folder: epoch_2.pth of this folder' in note for note in notes) == 1
    path.unlink()
    path, notes = newest_checkpoint(tmp_path / 'two')
    assert path == tmp_path / 'two' / 'epoch_1.pth'
    assert sum('outside this folder: ignored' in note for note in notes) == 1


@pytest.mark.parametrize('text', ['', ' \n', '\0' * 40, 'x' * 9000, 's3://a/epoch_1'])
def test_a_useless_last_checkpoint_is_ignored(tmp_path, text):
    save(tmp_path, 'epoch_1.pth', 1)
    names(tmp_path, text)
    name, said = newest(tmp_path)
    assert name == 'epoch_1.pth' and 'last_checkpoint ' in said
    assert ('is empty' in said) == (not text.strip(' \n\0'))


def test_a_folder_of_checkpoints_elsewhere(tmp_path):
    save(tmp_path / 'run', 'epoch_1.pth', 1)
    save(tmp_path / 'big' / 'run', 'epoch_2.pth', 2)
    names(tmp_path / 'run', '../big/run/epoch_2.pth')
    name, said = newest(tmp_path / 'run', tmp_path / 'big' / 'run')
    assert name == 'epoch_2.pth' and 'outside' not in said
    name, said = newest(tmp_path / 'run')
    assert name == 'epoch_1.pth' and 'outside this folder: ignored' in said


def hold(folder, pipe):
    WorkDirLock(folder).acquire()
    pipe.send(os.getpid())
    time.sleep(60)


def test_a_second_run_is_refused_until_the_first_is_killed(tmp_path):
    context = get_context('fork')
    here, there = context.Pipe()
    holder = context.Process(target=hold, args=(tmp_path, there))
    holder.start()
    try:
        pid = here.recv()
        for _ in range(2):  # being refused does not end the other's lock
            with pytest.raises(ValueError, match=rf'process {pid} on .*--work-dir'):
                WorkDirLock(tmp_path).acquire()
        WorkDirLock(tmp_path / 'other').acquire()
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.join()
    with WorkDirLock(tmp_path):
        pass


def test_a_process_cannot_have_a_folder_twice(tmp_path):
    with WorkDirLock(tmp_path):
        with pytest.raises(ValueError, match='this one'):
            WorkDirLock(tmp_path / '..' / tmp_path.name).acquire()
        # the refusal has not ended the lock, as closing the file would
        program = (
            'import fcntl, sys\n'
            'fcntl.lockf(open(sys.argv[1], "a"), fcntl.LOCK_EX | fcntl.LOCK_NB)'
        )
        command = [sys.executable, '-S', '-c', program, str(tmp_path / '.lock')]
        tried = subprocess.run(command, capture_output=True, text=True)
        assert 'BlockingIOError' in tried.stderr
    with WorkDirLock(tmp_path):
        pass


def child_of_holder(folder, pipe):
    try:
        WorkDirLock(folder).acquire()
    except ValueError as error:
        pipe.send(str(error))
    else:
        pipe.send('got it')


def test_a_worker_neither_inherits_nor_ends_the_lock(tmp_path):
    context = get_context('fork')
    here, there = context.Pipe()
    with WorkDirLock(tmp_path):
        for _ in range(2):
            worker = context.Process(target=child_of_holder, args=(tmp_path, there))
            worker.start()
            assert f'process {os.getpid()} on' in here.recv()
            worker.join()


def test_without_posix_locks_nothing_is_locked(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'fcntl', None)
    with WorkDirLock(tmp_path), WorkDirLock(tmp_path):
        assert not (tmp_path / '.lock').exists()
