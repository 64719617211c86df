"""DurableCheckpointHook: what is on the disk at each moment, and what is said."""

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch.utils.data import DataLoader, TensorDataset

from dseq_mm.engine import durable
from dseq_mm.engine.durable import (
    CheckpointNotWrittenError,
    DurableBackend,
    DurableCheckpointHook,
)
from dseq_mm.engine.work_dir import newest_checkpoint
from dseq_mm.transfer.checkpoint import load_checkpoint

pytestmark = pytest.mark.usefixtures('safe_loader')


class Line(BaseModel):
    """A model of one weight."""

    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(1, 1)

    def forward(self, inputs, mode='tensor'):
        out = self.line(inputs)
        return dict(loss=out.square().mean()) if mode == 'loss' else [out]


class Score(BaseMetric):
    """Gives the scores of a list, one after the other."""

    def __init__(self, scores):
        super().__init__()
        self.scores = list(scores)

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(acc=self.scores.pop(0))


class At(Hook):
    """Does something at one iteration, counted from 1, after all other hooks."""

    priority = 'LOWEST'

    def __init__(self, iteration, what):
        self.iteration, self.what = iteration, what

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iteration:
            self.what(runner)


def numbers(count):
    return DataLoader(TensorDataset(torch.ones(count, 1)))


def build(folder, epochs=3, batches=4, accumulated=1, scores=(), hooks=(), **options):
    """A runner that trains on next to nothing."""
    hook = DurableCheckpointHook(**{'interval': 1, **options})
    extra = {}
    if scores:
        extra = dict(
            val_dataloader=numbers(1),
            val_evaluator=Evaluator(Score(scores)),
            val_cfg=dict(),
        )
    model = Line()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    build.count = getattr(build, 'count', 0) + 1
    return Runner(
        model,
        str(folder),
        train_dataloader=numbers(batches),
        optim_wrapper=OptimWrapper(optimizer, accumulative_counts=accumulated),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        default_hooks=dict(checkpoint=None),
        custom_hooks=[hook, *hooks],
        log_level='ERROR',
        experiment_name=f'durable_{build.count}',
        **extra,
    )


def resumed(folder, **options):
    """A runner that goes on from the newest checkpoint of its folder."""
    runner = build(folder, **options)
    runner._resume = True
    runner._load_from = str(newest_checkpoint(folder)[0])
    return runner


def hook_of(runner):
    return next(h for h in runner.hooks if isinstance(h, DurableCheckpointHook))


def listing(folder):
    """Files of a folder, without what the host writes."""
    files = [p for p in Path(folder).iterdir() if p.is_file() and p.suffix != '.py']
    return sorted(p.name for p in files)


def place(path):
    meta = load_checkpoint(path)['meta']
    return meta['epoch'], meta['iter']


def fail_at(monkeypatch, name, code=errno.ENOSPC):
    """Let the disk be full in the middle of writing one file."""
    write = Path.write_bytes

    def full(self, contents):
        if name in self.name:
            write(self, contents[: len(contents) // 2])
            raise OSError(code, os.strerror(code))
        return write(self, contents)

    monkeypatch.setattr(Path, 'write_bytes', full)


def die(*_):
    raise KeyboardInterrupt  # as good as a kill: nothing of ours catches it


def test_an_argument_that_does_not_exist_is_refused_by_its_nearest():
    for wrong, right in (
        ('intervall', 'interval'),
        ('max_keep_ckpt', 'max_keep_ckpts'),
    ):
        with pytest.raises(ValueError, match=f"'{wrong}'; did you mean '{right}'"):
            DurableCheckpointHook(**{wrong: 2})
    assert DurableCheckpointHook(2, by_epoch=False).interval == 2


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path, synced, fsync = tmp_path / 'new' / 'file', [], os.fsync
    monkeypatch.setattr(os, 'fsync', lambda f: synced.append(os.fstat(f)) or fsync(f))
    DurableBackend().put(b'one', path)
    assert path.read_bytes() == b'one'
    inodes = [path.stat().st_ino, path.parent.stat().st_ino]  # the file, the folder
    assert [stat.st_ino for stat in synced] == inodes

    def refuse(descriptor):
        raise OSError(errno.EIO, 'Input/output error')

    monkeypatch.setattr(os, 'fsync', refuse)
    with pytest.raises(OSError, match='Input/output error') as caught:
        DurableBackend().put(b'two', path)
    assert caught.value.filename == str(path)
    assert listing(path.parent) == ['file'] and path.read_bytes() == b'one'


def test_the_old_one_goes_when_the_new_one_is_named(tmp_path, monkeypatch):
    seen, remove = [], LocalBackend.remove

    def watched(self, path):
        named = (tmp_path / 'last_checkpoint').read_text()
        seen.append((Path(path).name, named, place(tmp_path / named)))
        remove(self, path)

    monkeypatch.setattr(LocalBackend, 'remove', watched)
    build(tmp_path, max_keep_ckpts=1).train()
    assert seen == [
        ('epoch_1.pth', 'epoch_2.pth', (2, 8)),
        ('epoch_2.pth', 'epoch_3.pth', (3, 12)),
    ]
    assert listing(tmp_path) == ['epoch_3.pth', 'last_checkpoint']


def test_last_checkpoint_of_another_folder_is_relative_too(tmp_path):
    build(tmp_path / 'runs' / 'one', out_dir=str(tmp_path / 'big')).train()
    named = (tmp_path / 'runs' / 'one' / 'last_checkpoint').read_text()
    assert named == os.path.join('..', '..', 'big', 'one', 'epoch_3.pth')
    assert listing(tmp_path / 'runs' / 'one') == ['last_checkpoint']


def test_a_backend_of_the_user_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(durable, 'replace_durably', die)
    runner = build(tmp_path, backend_args=dict(backend='local'))
    with pytest.raises(KeyboardInterrupt):  # last_checkpoint is ours in any case
        runner.train()
    assert type(hook_of(runner).file_backend) is LocalBackend
    assert listing(tmp_path) == ['epoch_1.pth']


@pytest.mark.parametrize('code', [errno.ENOSPC, errno.EACCES])
def test_a_failed_write_says_what_is_whole_and_what_to_do(tmp_path, monkeypatch, code):
    fail_at(monkeypatch, 'epoch_2.pth', code)
    with pytest.raises(CheckpointNotWrittenError) as caught:
        build(tmp_path, max_keep_ckpts=1).train()
    said = str(caught.value)
    assert said.startswith(f'{tmp_path / "epoch_2.pth"} could not be written')
    assert os.strerror(code) in said and '--resume' in said
    assert f'{tmp_path / "epoch_1.pth"}; that one is whole' in said
    assert ('free some space' if code == errno.ENOSPC else 'writable') in said
    assert listing(tmp_path) == ['epoch_1.pth', 'last_checkpoint']
    monkeypatch.undo()
    resumed(tmp_path, max_keep_ckpts=1).train()
    assert listing(tmp_path) == ['epoch_3.pth', 'last_checkpoint']


def test_a_first_write_that_fails_says_that_there_is_none(tmp_path, monkeypatch):
    fail_at(monkeypatch, 'epoch_1.pth')
    with pytest.raises(CheckpointNotWrittenError, match='there is no earlier checkp'):
        build(tmp_path).train()
    assert listing(tmp_path) == []


def test_last_checkpoint_that_cannot_be_written_loses_nothing(tmp_path, monkeypatch):
    build(tmp_path, epochs=1, max_keep_ckpts=1).train()
    fail_at(monkeypatch, 'last_checkpoint')
    with pytest.raises(CheckpointNotWrittenError, match='epoch_2.pth; that one is wh'):
        resumed(tmp_path, max_keep_ckpts=1).train()
    assert listing(tmp_path) == ['epoch_1.pth', 'epoch_2.pth', 'last_checkpoint']
    assert (tmp_path / 'last_checkpoint').read_text() == 'epoch_1.pth'


def test_drafts_of_a_killed_process_go_at_the_next_start(tmp_path):
    draft = tmp_path / f'.epoch_1.pth{durable._DRAFT}'
    others = [tmp_path / name for name in ('.hidden', 'mine.dseq_mm-draft')]
    for path in (draft, *others):
        path.write_bytes(b'half')
    runner = build(tmp_path, interval=-1, save_last=False)
    runner.train()
    assert [path.exists() for path in (draft, *others)] == [False, True, True]


@pytest.mark.parametrize('moment', ['_remove_superseded', 'put_text'])
def test_what_a_killed_process_could_not_remove_goes_later(
    tmp_path, monkeypatch, moment
):
    build(tmp_path, epochs=1, max_keep_ckpts=1).train()
    owner = DurableBackend if moment == 'put_text' else DurableCheckpointHook
    runner = resumed(tmp_path, max_keep_ckpts=1, hooks=[At(8, lambda _: None)])
    kill = At(7, lambda _: monkeypatch.setattr(owner, moment, die))
    runner.register_hook(kill)
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    monkeypatch.undo()
    assert {'epoch_1.pth', 'epoch_2.pth'} < {*listing(tmp_path)}
    runner = resumed(tmp_path, max_keep_ckpts=1)
    runner.register_hook(At(9, lambda _: seen.append(listing(tmp_path))))
    seen = []
    runner.train()
    assert seen == [['epoch_2.pth', 'last_checkpoint']]  # at once: room on a full disk
    assert listing(tmp_path) == ['epoch_3.pth', 'last_checkpoint']


def test_the_best_one_is_there_until_a_better_one_is(tmp_path, monkeypatch):
    options = dict(save_best='acc', rule='greater', max_keep_ckpts=1)
    fail_at(monkeypatch, 'best_acc_epoch_2')
    with pytest.raises(CheckpointNotWrittenError, match='best_acc_epoch_2.pth could'):
        build(tmp_path, scores=[1, 2, 3], **options).train()
    assert 'best_acc_epoch_1.pth' in listing(tmp_path)
    monkeypatch.undo()
    resumed(tmp_path, scores=[2], **options).train()
    wanted = ['best_acc_epoch_3.pth', 'epoch_3.pth', 'last_checkpoint']
    assert listing(tmp_path) == wanted
    assert newest_checkpoint(tmp_path)[0].name == 'epoch_3.pth'


@pytest.mark.parametrize('name', ['accuracy', ['acc', 'acg']])
def test_a_best_metric_that_is_not_measured_costs_no_epoch(tmp_path, name):
    options = dict(save_best=name, rule='greater', epochs=2)
    runner, said = build(tmp_path, scores=[1, 2], **options), []
    runner.logger.warning = said.append
    runner.train()
    assert listing(tmp_path) == ['epoch_1.pth', 'epoch_2.pth', 'last_checkpoint']
    wanted = "validation measures (acc); did you mean 'acc'? No best"
    assert sum(wanted in str(line) for line in said) == 2


def test_a_validation_without_a_best_one(tmp_path):
    build(tmp_path, scores=[1, 2], epochs=2).train()
    assert listing(tmp_path) == ['epoch_1.pth', 'epoch_2.pth', 'last_checkpoint']


def test_of_best_ones_alone_one_is_kept(tmp_path):
    options = dict(save_best='acc', rule='greater', interval=-1, save_last=False)
    build(tmp_path, scores=[1, 2, 0], **options).train()
    assert listing(tmp_path) == ['best_acc_epoch_2.pth']


def test_the_best_one_of_a_copied_folder_is_the_copy(tmp_path):
    options = dict(save_best='acc', rule='greater', epochs=2)
    build(tmp_path / 'one', scores=[1, 0], **options).train()
    shutil.copytree(tmp_path / 'one', tmp_path / 'two')
    options['epochs'] = 3
    resumed(tmp_path / 'two', scores=[5], **options).train()
    assert 'best_acc_epoch_1.pth' in listing(tmp_path / 'one')
    assert 'best_acc_epoch_1.pth' not in listing(tmp_path / 'two')
    assert 'best_acc_epoch_3.pth' in listing(tmp_path / 'two')


def test_a_published_file_is_durable(tmp_path, monkeypatch):
    written, replace = [], durable.replace_durably

    def watched(draft, out):
        written.append(out.name)
        replace(draft, out)

    monkeypatch.setattr(durable, 'replace_durably', watched)
    build(tmp_path, epochs=1, published_keys=['meta', 'state_dict']).train()
    assert written[:2] == ['epoch_1.pth', 'last_checkpoint']
    assert len(written) == 3 and written[2].startswith('epoch_1-')
    assert newest_checkpoint(tmp_path)[0].name == 'epoch_1.pth'
    assert type(get_file_backend(str(tmp_path))) is LocalBackend


def test_a_run_resumed_into_another_folder_removes_nothing_elsewhere(tmp_path):
    options = dict(max_keep_ckpts=1, save_best='acc', rule='greater')
    build(tmp_path / 'one', epochs=2, scores=[1, 0], **options).train()
    before = listing(tmp_path / 'one')
    runner = build(tmp_path / 'two', scores=[5], **options)
    runner._resume, runner._load_from = True, str(tmp_path / 'one' / 'epoch_2.pth')
    runner.train()
    assert listing(tmp_path / 'one') == before
    wanted = ['best_acc_epoch_3.pth', 'epoch_3.pth', 'last_checkpoint']
    assert listing(tmp_path / 'two') == wanted


def test_the_host_finds_the_newest_one_wherever_it_was_called(tmp_path, monkeypatch):
    """As with the hosts' own tools, which say --resume and nothing else."""
    build(tmp_path / 'one', epochs=2).train()
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'one' / 'epoch_2.pth').write_bytes(b'damaged')
    runner = build(tmp_path / 'one')
    runner._resume = True
    runner.register_hook(At(5, lambda runner: seen.append(runner.epoch)))
    seen = []
    runner.train()
    assert seen == [1] and place(tmp_path / 'one' / 'epoch_3.pth') == (3, 12)
    empty = build(tmp_path / 'two')
    empty._resume = True
    empty.train()
    assert empty.iter == 12


def test_files_of_the_same_name_elsewhere_are_no_leftovers(tmp_path):
    """What a checkpoint has superseded it has superseded in its own folder."""
    build(tmp_path / 'one', epochs=2, max_keep_ckpts=1).train()
    build(tmp_path / 'two', epochs=2).train()
    runner = build(tmp_path / 'two')
    runner._resume, runner._load_from = True, str(tmp_path / 'one' / 'epoch_2.pth')
    runner.train()
    wanted = ['epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth', 'last_checkpoint']
    assert listing(tmp_path / 'two') == wanted
