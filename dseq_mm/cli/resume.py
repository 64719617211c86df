"""Which checkpoint a run goes on from."""

from pathlib import Path

from mmengine.config import Config

from ..engine.work_dir import newest_checkpoint
from ..transfer.folders import is_model_folder
from ..utils.configs import bare_type

#: ``--resume`` without a path.
NEWEST = 'newest'


def check_file(path: str, advice: str = '') -> None:
    """Complain about a checkpoint that is not there before anything is built.

    Args:
        path: Path of a checkpoint on this machine, or of a folder of transformers'.
        advice: What else the user could do.

    Raises:
        ValueError: If there is no such file.
    """
    if not (Path(path).expanduser().is_file() or is_model_folder(path)):
        raise ValueError(f'There is no checkpoint {path}. {advice}'.rstrip())


def set_resume(cfg: Config, resume: str | None, insist: bool = False) -> list[str]:
    """Apply ``--resume`` and ``--insist``.

    Args:
        cfg: Changed in place.
        resume: ``'newest'`` for the newest whole checkpoint in ``work_dir``, ``'auto'``
            for the same or a fresh run if there is none, a path, or None for what the
            config says.
        insist: Resume although settings say that it is another experiment.

    Returns:
        Lines for the log.

    Raises:
        ValueError: If the config also sets ``load_from``, the file is missing, or there
            is nothing to resume.
    """
    if resume is None and cfg.get('resume') and not cfg.get('load_from'):
        resume = 'auto'  # as the host does
    if resume is None:
        if insist and not cfg.get('resume'):
            raise ValueError('--insist is for --resume: what shall be continued?')
        return _set_insist(cfg) if insist else []
    if cfg.get('load_from') and resume != 'auto':
        raise ValueError(
            f'--resume continues a run, load_from={cfg.load_from!r} starts a new one '
            'from weights: both together have no meaning. Drop --resume, or pass '
            '--cfg-options load_from=None.'
        )
    notes = _set_insist(cfg) if insist else []
    path = resume
    if resume in (NEWEST, 'auto'):
        found, lines = newest_checkpoint(cfg.work_dir, _checkpoint_folder(cfg))
        notes += lines
        if found is None and resume == NEWEST:
            said = ''.join(f' ({line})' for line in lines)
            raise ValueError(
                f'--resume: no whole checkpoint in {cfg.work_dir}{said}. Check '
                '--work-dir, name a checkpoint, or say --resume auto to start anew '
                'where there is none.'
            )
        if found is None:  # from the weights that the config may name
            cfg.resume = False
            return [*notes, f'No checkpoint in {cfg.work_dir}: training starts anew.']
        path = str(found)
    check_file(path, '--resume without a path takes the newest checkpoint.')
    cfg.resume, cfg.load_from = True, path
    return [*notes, f'The training goes on from {path}.']


def _set_insist(cfg: Config) -> list[str]:
    """Tell the hook that compares; it may stand in either list."""
    hooks = [
        *(cfg.get('default_hooks') or {}).values(),
        *(cfg.get('custom_hooks') or []),
    ]
    strict = [h for h in hooks if h and bare_type(h) == 'StrictCheckpointHook']
    if not strict:
        raise ValueError(
            '--insist: this config compares nothing (no StrictCheckpointHook)'
        )
    for hook in strict:
        hook['insist'] = True
    return []


def _checkpoint_folder(cfg: Config) -> str | None:
    """Where the config's hook writes, if not into the work dir."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    folder = hook.get('out_dir')
    if not folder:
        return None
    return str(Path(folder) / Path(cfg.work_dir.rstrip('/')).name)
