"""Checkpoints that survive a killed process, a full disk and a moved folder."""

import difflib
import errno
import inspect
import os
import os.path as osp
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook

from ..registry import HOOKS
from ..transfer.integrity import replace_durably
from ..utils.host import GREATER_IS_BETTER, resume_from, resumes_from_anywhere
from ..utils.metrics import missing_best
from .optim_wrapper import gradients_pending
from .sharding import gathered
from .work_dir import LAST_CHECKPOINT, newest_checkpoint

_INTERRUPTED = 'interrupted.pth'
_DRAFT = '.dseq_mm-draft'
_SUPERSEDED = 'superseded_ckpts'  # runtime info: what may go once this file is whole


class CheckpointNotWrittenError(RuntimeError):
    """A checkpoint could not be written; the earlier ones are untouched."""


class _WriteError(OSError):
    """An error of the file system, its ``filename`` that of the file to be."""


@register_backend('durable', force=True)
class DurableBackend(LocalBackend):
    """Local files that are written whole or not at all, and removed later.

    Attributes:
        superseded: What :meth:`remove` and :meth:`rmtree` were asked to remove. Who
            uses this backend removes it when its replacement is whole.
    """

    def __init__(self) -> None:
        self.superseded: list[str] = []

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file; after a kill or an error it is the old one, or not there.

        Args:
            obj: The contents.
            filepath: Where to.

        Raises:
            OSError: If the file system refuses; nothing new is left behind.
        """
        path = Path(filepath)
        draft = path.with_name(f'.{path.name}{_DRAFT}')
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(obj)
            replace_durably(draft, path)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise _WriteError(error.errno, reason, str(path)) from error
        finally:
            with suppress(OSError):  # after a success it is not there any more
                draft.unlink()

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write a text file in the same way.

        Args:
            obj: The text.
            filepath: Where to.
            encoding: Of the text.
        """
        self.put(obj.encode(encoding), filepath)

    def remove(self, filepath: str | Path) -> None:
        """Remember that a file may go.

        Args:
            filepath: The file.
        """
        self.superseded.append(str(filepath))

    def rmtree(self, dir_path: str | Path) -> None:
        """Remember that a folder may go.

        Args:
            dir_path: The folder.
        """
        self.superseded.append(str(dir_path))


@HOOKS.register_module()
class DurableCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook, whose checkpoints are never lost.

    - A file is there as a whole or not at all, also after ``kill -9``.
    - An old one goes when the new one is whole and ``last_checkpoint`` names it.
    - ``last_checkpoint`` holds a relative path, so that the folder can be moved.
    - Under gradient accumulation a checkpoint waits until the optimizer has stepped.

    Files go to local folders in this way unless ``backend_args`` says otherwise.

    Args:
        *args: As for :class:`mmengine.hooks.CheckpointHook`.
        **kwargs: The same; what it does not know is refused.

    Raises:
        ValueError: If there is no such argument.
    """

    # what KNNHook measures: save_best needs no rule
    _default_greater_keys = [*GREATER_IS_BETTER, 'knn_', 'rank_me', 'feature_std']
    backend_args: dict | None
    gathers = True  # what a sharded model needs

    def __init__(self, *args, **kwargs) -> None:
        known = set(inspect.signature(CheckpointHook.__init__).parameters)
        known -= {'self', 'kwargs'}
        for name in kwargs.keys() - known:
            near = difflib.get_close_matches(name, known, 1, 0) or sorted(known)
            raise ValueError(
                f'CheckpointHook has no argument {name!r}; did you mean {near[0]!r}?'
            )
        super().__init__(*args, **kwargs)
        self._due: int | None = None  # number of a checkpoint that waits
        self._superseded: list[str] = []  # go after the next checkpoint
        self._later: list[str] = []  # names that go after the next regular one
        self._remover: Any = None  # backend that removes at once

    def before_run(self, runner) -> None:
        """Find the checkpoint, if the runner was told to resume but not from where.

        The host takes ``last_checkpoint`` at its word, and as relative to where it was
        called.

        Args:
            runner: The runner.
        """
        if not resumes_from_anywhere(runner) or not self._is_local(runner):
            return
        path, notes = newest_checkpoint(runner.work_dir, self._folder(runner))
        for note in notes:
            runner.logger.info(note)
        resume_from(runner, str(path) if path else None)

    def _is_local(self, runner) -> bool:
        return '://' not in str(self.out_dir or runner.work_dir)

    def _folder(self, runner) -> str:
        """Where the host is going to write: a folder of the same name in out_dir."""
        if self.out_dir is None:
            return runner.work_dir
        return osp.join(self.out_dir, osp.basename(runner.work_dir.rstrip(osp.sep)))

    def before_train(self, runner) -> None:
        """Find the folder, and clean it of what a killed process has left.

        Args:
            runner: The runner.
        """
        local = self._is_local(runner)
        if local and self.backend_args is None and self.file_client_args is None:
            self.backend_args = dict(backend='durable')
        super().before_train(runner)
        self._remover = self.file_backend
        if isinstance(self.file_backend, DurableBackend):
            self._remover = LocalBackend()
            self._superseded = self.file_backend.superseded
        self._find_best_here()
        self._take_over(runner)
        self._set_aside(runner)
        if is_main_process():
            local_folders = {runner.work_dir, *([self.out_dir] if local else [])}
            for folder in map(Path, local_folders):
                for draft in folder.glob(f'.*{_DRAFT}'):
                    draft.unlink(missing_ok=True)

    def _set_aside(self, runner) -> None:
        """Keep what an interrupted run has left from being replaced by a new run's."""
        path = Path(runner.work_dir if '://' in str(self.out_dir) else self.out_dir)
        path = path / _INTERRUPTED
        resumed = getattr(runner, '_resume', False)
        if is_main_process() and not resumed and path.is_file():
            kept = path.with_name(f'interrupted_before_{runner.timestamp}.pth')
            path.rename(kept)
            runner.logger.warning(
                f'An interrupted training has left {path.name} here, and this one '
                f'starts anew: it is {kept.name} now, and can be resumed by its path.'
            )

    def _find_best_here(self) -> None:
        """Let the best checkpoints of a copied or moved folder be those in it."""
        if best := getattr(self, 'best_ckpt_path', None):
            self.best_ckpt_path = self._here(best)
        for key, path in getattr(self, 'best_ckpt_path_dict', {}).items():
            self.best_ckpt_path_dict[key] = path and self._here(path)

    def _here(self, path: str) -> str:
        """The file of the same name in our folder, if there is one."""
        here = self._path(osp.basename(path))
        return here if self.file_backend.isfile(here) else path

    def _path(self, name: str) -> str:
        return self.file_backend.join_path(str(self.out_dir), name)

    def _take_over(self, runner) -> None:
        """Remove what the checkpoint that we come from has superseded.

        Its process may have been killed in between. In another folder files of the same
        names are others.
        """
        source = str(getattr(runner, '_load_from', None) or '')
        info = runner.message_hub.runtime_info
        last = osp.basename(info.get('last_ckpt') or '')
        names = info.get(_SUPERSEDED, [])
        here = osp.realpath(self._path(last)) == osp.realpath(source)
        if not here or not last:
            self._later += map(osp.basename, self._superseded)  # the host's: too many
            self._superseded.clear()
            return
        self._later += [name for name in names if name == last]
        self._superseded += [self._path(name) for name in names if name != last]
        self._remove_superseded(runner)

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Save what is due, now or since gradients were pending.

        Args:
            runner: The runner.
            batch_idx: Which batch of the epoch.
            data_batch: Unused.
            outputs: Unused.
        """
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if self._due is not None and not gradients_pending(runner):
            # an epoch's end keeps its name, though the next epoch has begun
            done = runner.iter + 1
            step = self._due if self.by_epoch else done
            self._save_with_step(runner, step, dict(epoch=runner.epoch, iter=done))

    def after_train(self, runner) -> None:
        """Save what is still due if training was stopped early, and publish.

        Args:
            runner: The runner.
        """
        if self._due is not None:
            runner.logger.warning(
                'Training ended between two steps of the optimizer; the last '
                'checkpoint lacks the gradients since the last step.'
            )
            meta = dict(epoch=runner.epoch, iter=runner.iter)
            self._save_with_step(runner, self._due, meta)
        super().after_train(runner)

    def save_now(self, runner, name: str = _INTERRUPTED) -> None:
        """Save the present place, from ``after_train_iter`` of a hook after this one.

        The file counts for nothing in ``max_keep_ckpts`` and goes when the next regular
        checkpoint is whole. Call it in all processes when :func:`gradients_pending` is
        false.

        Args:
            runner: The runner.
            name: Of the file.
        """
        self._later = [*(n for n in self._later if n != name), name]
        names = [osp.basename(path) for path in self._superseded] + self._later
        meta = dict(epoch=runner.epoch, iter=runner.iter + 1)
        self._write(runner, name, meta, names)

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        """Save, or wait for the optimizer; see the host."""
        if gradients_pending(runner):
            self._due = step
            runner.logger.info('The checkpoint waits for the next optimizer step.')
        else:
            self._save_with_step(runner, step, meta)

    def _save_with_step(self, runner, step: int, meta: dict) -> None:
        """Save a regular checkpoint, then remove what it supersedes.

        The host removes first, and writes ``last_checkpoint`` in place.
        """
        self._due = None
        if self.max_keep_ckpts > 0 and list(self.keep_ckpt_ids)[-1:] != [step]:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                oldest = self.filename_tmpl.format(self.keep_ckpt_ids.popleft())
                self._superseded.append(self._path(oldest))
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        self._superseded += map(self._path, self._later)
        self._later = []
        names = [osp.basename(path) for path in self._superseded]
        filename = self.filename_tmpl.format(step)
        self.last_ckpt = self._path(filename)
        self._write(runner, filename, meta, names)
        self._remove_superseded(runner)

    def _write(self, runner, name: str, meta: dict, superseded: list[str]) -> None:
        """Write a checkpoint, then ``last_checkpoint``."""
        path = self._path(name)
        runner.message_hub.update_info('last_ckpt', path)
        runner.message_hub.update_info(_SUPERSEDED, superseded)
        with self._explained(runner):
            runner.save_checkpoint(
                self.out_dir,
                name,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
            )
            if is_main_process():
                named = Path(runner.work_dir) / LAST_CHECKPOINT
                DurableBackend().put_text(_relative(path, runner.work_dir), named)

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        """Save the best, if it is; its predecessor goes after that. See the host."""
        if not self.save_best:
            return
        if warning := missing_best(self.key_indicators, metrics):
            runner.logger.warning(warning)
            return
        before = len(self._superseded)
        with self._explained(runner):
            super()._save_best_checkpoint(runner, metrics)
        # a regular checkpoint that waits will say that the predecessor may go
        if self._due is None and len(self._superseded) > before:
            self._remove_superseded(runner)

    def _publish_model(self, runner, ckpt_path: str) -> None:
        """Publish; the host writes by the default backend, which is ours meanwhile."""
        register_backend('local', DurableBackend, force=True, prefixes='')
        try:
            with self._explained(runner):
                super()._publish_model(runner, ckpt_path)
        finally:
            register_backend('local', LocalBackend, force=True, prefixes='')

    def _remove_superseded(self, runner) -> None:
        """Remove what may go; files of other folders never."""
        paths = list(dict.fromkeys(self._superseded))
        self._superseded.clear()
        if not is_main_process():
            return
        last = runner.message_hub.runtime_info.get('last_ckpt')
        for path in paths:
            if path == last or path != self._path(osp.basename(path)):
                continue
            try:
                if self._remover.isfile(path):
                    self._remover.remove(path)
                elif self._remover.isdir(path):  # as DeepSpeed writes them
                    self._remover.rmtree(path)
            except OSError as error:  # the new one is whole: no reason to stop
                runner.logger.warning(f'{path} could not be removed: {error}')

    @contextmanager
    def _explained(self, runner):
        """Save a sharded model as a whole; say what is lost if it cannot be written."""
        try:
            with gathered(runner.model, runner.optim_wrapper):
                yield
        except _WriteError as error:
            folder = None if '://' in str(self.out_dir) else self.out_dir
            whole, _ = newest_checkpoint(runner.work_dir, folder)
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            todo = 'free some space' if full else 'make its folder writable'
            if whole is None:
                todo += ' and start again; there is no earlier checkpoint'
            else:
                todo += (
                    ' and give the same command with --resume, which goes on from the '
                    f'earlier checkpoint {whole}; that one is whole'
                )
            raise CheckpointNotWrittenError(
                f'{error.filename} could not be written ({error.strerror}): {todo}.'
            ) from error


def _relative(path: str, folder: str) -> str:
    """A path relative to a folder, unless it is on another drive or machine."""
    if '://' in path:
        return path
    try:
        return os.path.relpath(path, folder)
    except ValueError:
        return osp.abspath(path)
