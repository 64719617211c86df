"""Reading checkpoints without running code that they may carry.

A ``.pth`` file is a pickle, and a pickle may call any function. PyTorch's
``weights_only`` reader calls only what an allow-list names; the list here is
what checkpoints of MMEngine's runner need, and there is no fallback.
"""

import ast
import contextlib
import json
import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from torch import serialization

METADATA_KEY = 'dseq_mm'  # of a .safetensors file: our metadata as JSON


class _LoadedBuffer(HistoryBuffer):
    """Reads a log history as data and becomes a plain ``HistoryBuffer``.

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
    """Stands in for ``getattr``, which MMEngine's pickles call for buffers."""
    if owner is not _LoadedBuffer:
        raise UnpicklingError('Unsupported global: GLOBAL builtins.getattr')


def _allowed_globals() -> list:
    """The allow-list: arrays, numbers and log histories, by pickled name."""
    # `_reconstruct` and `scalar`, whatever this NumPy calls their module
    functions = [np.zeros(1).__reduce__()[0], np.float64(0).__reduce__()[0]]
    modules = ['numpy.core.multiarray', 'numpy._core.multiarray']
    allowed = [(f, f'{module}.{f.__name__}') for module in modules for f in functions]
    allowed += [np.ndarray, np.dtype]
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


def _read_torch(path: Path, map_location: Any) -> Any:
    """Reads a ``.pth`` file with the allow-list."""
    try:
        with _only_allowed_globals():
            return torch.load(path, map_location=map_location, weights_only=True)
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


def _read_safetensors(path: Path, map_location: Any) -> dict:
    """Reads a ``.safetensors`` file as ``dict(state_dict=..., meta=...)``."""
    from safetensors import safe_open

    device = 'cpu' if map_location is None else map_location
    with safe_open(path, framework='pt') as file:
        state_dict = {name: file.get_tensor(name).to(device) for name in file.keys()}
        metadata = file.metadata() or {}
    ours = metadata.get(METADATA_KEY)
    return dict(state_dict=state_dict, meta=json.loads(ours) if ours else metadata)


def _unreadable(path: Path, error: Exception) -> ValueError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ValueError(
        f'{path} cannot be read as a checkpoint ({reason[:200]}). It is truncated or '
        'of another kind; copy it again, or give a .pth or .safetensors file.'
    )


def load_checkpoint(path: str | Path, map_location: Any = 'cpu') -> dict:
    """Reads a checkpoint of a runner, an exported backbone or a state dict.

    Nothing in the file is run: what is not tensors, arrays, numbers, strings,
    containers of these or MMEngine log histories is refused.

    Args:
        path: A local ``.pth`` file (any suffix) or a ``.safetensors`` file.
        map_location: Where the tensors go, as for ``torch.load``.

    Returns:
        What the file holds; of a ``.safetensors`` file
        ``dict(state_dict=..., meta=...)``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read, carries code or is not a checkpoint.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f'{path} is not a file. Give the path of a checkpoint on this machine '
            '(a URL has to be downloaded first).'
        )
    read = _read_safetensors if path.suffix == '.safetensors' else _read_torch
    try:
        checkpoint = read(path, map_location)
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


def load_from_safe_local(filename: str, map_location: Any = None) -> dict:
    """The loader that ``install_safe_loader`` gives to MMEngine.

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


def install_safe_loader() -> None:
    """Makes MMEngine read local checkpoints with this loader.

    It holds for ``resume``, ``load_from`` and ``init_cfg`` of type
    ``Pretrained`` in this process. Other schemes (``http://`` and so on) keep
    MMEngine's own loaders and are outside of this promise.
    """
    CheckpointLoader.register_scheme(
        prefixes='', loader=load_from_safe_local, force=True
    )


def _literal(node: ast.AST) -> Any:
    """Value of a literal or of nested ``dict(...)`` calls, else None."""
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id != 'dict':
            return None
        return {item.arg: _literal(item.value) for item in node.keywords if item.arg}
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(item) for item in node.elts]
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):  # not a literal, or one that cannot be a key
        return None


def read_config_text(text: Any) -> dict:
    """Reads the config text in a checkpoint as data; nothing in it is run.

    Args:
        text: ``checkpoint['meta']['cfg']``, assignments as MMEngine dumps them.

    Returns:
        Variable name to value. What is neither a literal nor ``dict(...)`` is
        None; what is not a text, or not Python, gives an empty dict.
    """
    if not isinstance(text, str):
        return {}
    try:
        return {
            node.targets[0].id: _literal(node.value)
            for node in ast.parse(text).body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
