"""Reading checkpoints without running code that they may carry.

A ``.pth`` file is a pickle, and a pickle may call any function. PyTorch's
``weights_only`` reader calls only what an allow-list names; the list here is
what checkpoints of MMEngine's runner need, and there is no fallback.

Nor is a damaged file read: what carries checksums is compared with them first.
"""

import contextlib
import hashlib
import json
import os
import re
import sys
import warnings
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch
from mmengine.dist import barrier, get_world_size
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from torch import serialization

from ..utils.host import checkpoint_schemes
from .folders import read_folder_meta, weight_files
from .integrity import check_zip, digest, is_zip, replace_durably

METADATA_KEY = 'dseq_mm'  # of a .safetensors file: our metadata as JSON
DIGEST_KEY = 'dseq_mm.sha256'  # in it and beside it, since version 2 of our files


class _LoadedBuffer(HistoryBuffer):
    """Read a log history as data and becomes a plain ``HistoryBuffer``.

    MMEngine pickles a buffer with its statistics methods (``getattr`` calls)
    and, on loading, writes them into the *class*. We keep the numbers alone.
    """

    def __setstate__(self, state: dict) -> None:
        logs, counts = state['_log_history'], state['_count_history']
        if not (isinstance(logs, np.ndarray) and isinstance(counts, np.ndarray)):
            raise UnpicklingError('a log history that is not an array')
        self._set_default_statistics()
        self.max_length = int(state['max_length'])
        self._log_history, self._count_history = logs, counts
        self.__class__ = HistoryBuffer


def _ignored_statistic(owner: Any, name: str) -> None:
    """Stand in for ``getattr``, which MMEngine's pickles call for buffers."""
    if owner is not _LoadedBuffer:
        raise UnpicklingError('Unsupported global: GLOBAL builtins.getattr')


def _allowed_globals() -> list:
    """The allow-list: arrays, numbers and log histories, by pickled name."""
    # `_reconstruct` and `scalar`, whatever this NumPy calls their module
    functions: list[Any] = [np.zeros(1).__reduce__()[0], np.float64(0).__reduce__()[0]]
    modules = ['numpy.core.multiarray', 'numpy._core.multiarray']
    allowed: list = [np.ndarray, np.dtype]
    allowed += [(f, f'{module}.{f.__name__}') for module in modules for f in functions]
    allowed += {type(np.dtype(code)) for code in '?bhilqBHILQefd'}
    allowed.append((_LoadedBuffer, 'mmengine.logging.history_buffer.HistoryBuffer'))
    allowed.append((_ignored_statistic, 'builtins.getattr'))
    return allowed


@contextlib.contextmanager
def _only_allowed_globals():
    """Our allow-list alone, without what other libraries have added to it."""
    before = serialization.get_safe_globals()
    serialization.clear_safe_globals()
    try:
        with serialization.safe_globals(_allowed_globals()):
            yield
    finally:
        serialization.clear_safe_globals()
        serialization.add_safe_globals(before)


def _read_torch(path: Path, map_location: Any, lazy: bool, check: bool) -> Any:
    """Read a ``.pth`` file with the allow-list."""
    if archive := is_zip(path):
        check_zip(path, tensors=check)
    mmap = archive and lazy
    try:
        with _only_allowed_globals(), warnings.catch_warnings():
            # of a pickle that is refused next, in two lines before the refusal
            warnings.filterwarnings('ignore', 'Detected pickle protocol')
            return torch.load(path, map_location, weights_only=True, mmap=mmap)
    except UnpicklingError as error:
        name = re.search(r'GLOBAL (\S+)', str(error))
        if name is None:
            raise _unreadable(path, error) from error
        raise ValueError(
            f'{path} was refused: reading it would call or build '
            f'"{name[1]}", and this loader never runs code from a file. If it is '
            'yours, save it again as plain tensors: '
            "torch.save(dict(state_dict=model.state_dict()), 'plain.pth')."
        ) from error


def _read_safetensors(path: Path, map_location: Any, lazy: bool, check: bool) -> dict:
    """Read a ``.safetensors`` file as ``dict(state_dict=..., meta=...)``."""
    from safetensors import safe_open

    device = 'cpu' if map_location is None else map_location
    wanted = check or not lazy
    with safe_open(path, framework='pt') as file:
        state = {k: file.get_tensor(k) for k in file.keys()} if wanted else {}
        metadata = file.metadata() or {}
    ours = METADATA_KEY in metadata
    meta = json.loads(metadata[METADATA_KEY]) if ours else dict(metadata)
    written = {metadata.get(DIGEST_KEY), meta.pop(DIGEST_KEY, None)}
    # a damaged name of an entry must not pass for a file without checksum
    signed = DIGEST_KEY in json.dumps(metadata)
    signed = signed or (ours and meta.get('format_version') != 1)
    if check and signed and written != {digest(state, meta)}:
        raise ValueError('its contents do not have the checksum written in it')
    return dict(state_dict={k: v.to(device) for k, v in state.items()}, meta=meta)


def _read(
    path: str | Path, map_location: Any, lazy: bool = False, check: bool = True
) -> dict:
    """Read a file of either kind and makes one kind of error of many.

    ``lazy`` leaves the tensors on the disk, where that is possible; without ``check``
    they are not compared with their checksums.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return _read_folder(path, map_location, lazy, check)
    if not path.is_file():
        raise FileNotFoundError(
            f'{path} is not a file. Give the path of a checkpoint on this machine '
            '(a URL has to be downloaded first).'
        )
    read = _read_safetensors if path.suffix == '.safetensors' else _read_torch
    try:
        checkpoint = read(path, map_location, lazy, check)
    except (torch.OutOfMemoryError, ImportError):
        raise
    except Exception as error:  # readers fail in many ways on a damaged file
        if isinstance(error, ValueError) and str(error).startswith(str(path)):
            raise
        raise _unreadable(path, error) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f'{path} holds a {type(checkpoint).__name__}, not a checkpoint. Give a '
            'file with a state dict, or a dict with the key "state_dict".'
        )
    return checkpoint


def _read_folder(path: Path, map_location: Any, lazy: bool, check: bool) -> dict:
    """Read a model in a folder as ``dict(state_dict=..., meta=...)``."""
    parts = [_read(file, map_location, lazy, check) for file in weight_files(path)]
    state = {k: v for part in parts for k, v in part.get('state_dict', part).items()}
    return dict(state_dict=state, meta=read_folder_meta(path))


def _unreadable(path: Path, error: Exception) -> ValueError:
    # torch's own words before it advise to run the code in the file
    text = str(error).rpartition('WeightsUnpickler error:')[2].strip()
    reason = (text or type(error).__name__).splitlines()[0]
    return ValueError(
        f'{path} cannot be read as a checkpoint ({reason[:200]}). It is damaged, '
        'truncated or of another kind; copy it again, or give a .pth or .safetensors '
        'file.'
    )


def load_checkpoint(path: str | Path, map_location: Any = 'cpu') -> dict:
    """Read a checkpoint of a runner, an exported backbone or a state dict.

    Nothing in the file is run: what is not tensors, arrays, numbers, strings,
    containers of these or MMEngine log histories is refused. So is a damaged file: a
    ``.pth`` file by the checksums of its zip format, a ``.safetensors`` file by the
    SHA-256 that our exports carry. Files from before ``torch.save`` wrote zips, and
    ``.safetensors`` files of others, have no checksum and are read without.

    Args:
        path: A local ``.pth`` file (any suffix), a ``.safetensors`` file, or a folder
            that transformers has saved.
        map_location: Where the tensors go, as for ``torch.load``.

    Returns:
        What the file holds; of a ``.safetensors`` file
        ``dict(state_dict=..., meta=...)``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read, is damaged, carries code or is no checkpoint.
    """
    return _read(path, map_location)


def peek_checkpoint(path: str | Path) -> dict:
    """Read what a checkpoint holds, its tensors left on the disk and unchecked.

    Args:
        path: As for :func:`load_checkpoint`.

    Returns:
        As :func:`load_checkpoint`; reading a tensor reads it from the file. Of a
        ``.safetensors`` file there are no tensors.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read, or is no checkpoint.
    """
    return _read(path, 'cpu', lazy=True, check=False)


def read_meta(path: str | Path) -> dict:
    """Read what a checkpoint says about itself, not its tensors.

    Args:
        path: As for :func:`load_checkpoint`.

    Returns:
        Its ``meta``; empty where there is none. It was compared with its checksum in
        a ``.pth`` file, not in a ``.safetensors`` file; the tensors were not.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: As :func:`load_checkpoint`.
    """
    meta = _read(path, 'cpu', lazy=True, check=False).get('meta')
    return meta if isinstance(meta, dict) else {}


def check_whole(path: str | Path) -> None:
    """Refuse what :func:`load_checkpoint` would, without loading the tensors.

    A ``.pth`` file is read once, for its checksums, and takes no memory; other kinds of
    files are loaded.

    Args:
        path: As for :func:`load_checkpoint`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, was not written to its end, or is no checkpoint.
    """
    _read(path, 'cpu', lazy=True)


def is_whole(path: str | Path) -> bool:
    """Tell whether a checkpoint is whole.

    Args:
        path: As for :func:`check_whole`.

    Returns:
        False if :func:`check_whole` would raise.
    """
    try:
        check_whole(path)
    except (FileNotFoundError, ValueError):
        return False
    return True


def load_from_safe_local(filename: str, map_location: Any = None) -> dict:
    """Load as ``install_safe_loader`` lets MMEngine do it.

    Args:
        filename: Path of a local file.
        map_location: As for ``torch.load``; None keeps the saved device.

    Returns:
        The checkpoint, without ``meta['config']``: a runner that resumes would
        run that entry of old checkpoints as Python.
    """
    checkpoint = load_checkpoint(filename, map_location)
    if isinstance(checkpoint.get('meta'), dict):
        checkpoint['meta'].pop('config', None)
    return checkpoint


def _fetch(url: str, path: Path) -> None:
    """Download a file and keeps it only if it is a checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f'.{path.stem}.{os.getpid()}{path.suffix}')
    try:
        torch.hub.download_url_to_file(url, str(draft), progress=sys.stderr.isatty())
        load_checkpoint(draft)  # a lost connection raises no error
        replace_durably(draft, path)
    except (OSError, ValueError, HTTPException) as error:
        reason = str(error).replace(str(draft), 'the file')
        raise ValueError(
            f'{url} could not be downloaded ({reason}). Download it by other means '
            'and give the path of the file.'
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def load_from_safe_http(filename: str, map_location: Any = None) -> dict:
    """Download a checkpoint, once on each machine, and reads it as data.

    It is kept in ``checkpoints`` of ``torch.hub.get_dir()``, in a folder of its own for
    each address, since many a checkpoint is called ``epoch_100.pth``.

    Args:
        filename: Its address, ``http://`` or ``https://``.
        map_location: As for :func:`load_from_safe_local`.

    Returns:
        As :func:`load_from_safe_local`.

    Raises:
        ValueError: It cannot be downloaded, or as :func:`load_checkpoint`.
    """
    folder = hashlib.sha256(filename.encode()).hexdigest()[:16]
    name = Path(urlsplit(filename).path).name or 'checkpoint.pth'
    path = Path(torch.hub.get_dir(), 'checkpoints', folder, name)
    try:
        first = get_world_size() == 1 or os.environ.get('LOCAL_RANK', '0') == '0'
        if first and not path.is_file():
            _fetch(filename, path)
    finally:
        barrier()  # also after an error, or the others would wait for ever
    if not path.is_file():
        raise ValueError(f'{filename} was not downloaded; see the error of rank 0.')
    return load_from_safe_local(str(path), map_location)


def load_from_no_scheme(filename: str, map_location: Any = None) -> dict:
    """Refuse an address whose loader would unpickle.

    Args:
        filename: The address.
        map_location: Unused.

    Raises:
        ValueError: Always.
    """
    raise ValueError(
        f'{filename} was refused: only files on this machine and http(s) addresses are '
        'read without running code. Download the file and give its path.'
    )


def install_safe_loader() -> None:
    """Make MMEngine read checkpoints with this loader, or not at all.

    It holds for ``resume``, ``load_from`` and ``init_cfg`` of type ``Pretrained`` in
    this process, for paths and for the addresses of every scheme.
    """
    loaders = dict.fromkeys(checkpoint_schemes(), load_from_no_scheme)
    loaders |= {'': load_from_safe_local}
    loaders |= dict.fromkeys(('http://', 'https://'), load_from_safe_http)
    for prefix, loader in loaders.items():
        CheckpointLoader.register_scheme(prefix, loader, force=True)
