"""Whether a file is whole, and how to replace one so that none is ever lost."""

import hashlib
import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_ZIP_START = b'PK\x03\x04'  # what torch.load goes by, too
_CHUNK = 1 << 20  # larger ones leave the cache of the processor
_DOS_FOLDER = 0x10
_TENSOR = re.compile(r'[^/]+/data/')


def is_zip(path: str | Path) -> bool:
    """Tell the files of today's ``torch.save`` from the older ones.

    Args:
        path: The file.

    Returns:
        Whether it starts as a zip archive does.
    """
    with Path(path).open('rb') as file:
        return file.read(len(_ZIP_START)) == _ZIP_START


def check_zip(path: str | Path, tensors: bool = True) -> None:
    """Compare the contents of a zip archive with its checksums.

    ``torch.load`` does not, and loads flipped bits and lost sectors as weights.

    Args:
        path: A file of ``torch.save``.
        tensors: Read all of it. Otherwise the tensors, nearly the whole file, are left
            out, and only their places are checked.

    Raises:
        Exception: It is damaged. The standard library raises many kinds.
    """
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            read = tensors or not _TENSOR.match(record.filename)
            _check_record(archive, record, read)


def _check_record(archive: zipfile.ZipFile, record: zipfile.ZipInfo, read: bool):
    # torch.load takes such a record for a folder and leaves its memory unwritten
    folder = record.is_dir() or record.external_attr & _DOS_FOLDER
    stored = record.compress_type == zipfile.ZIP_STORED
    if folder or (stored and record.compress_size != record.file_size):
        raise zipfile.BadZipFile(f'Bad entry of file {record.filename!r}')
    with archive.open(record) as file:  # compares the names of both headers
        if not read:
            return
        size = 0
        while chunk := file.read(_CHUNK):  # compares the checksum at the end
            size += len(chunk)
    if size != record.file_size:
        raise zipfile.BadZipFile(f'Bad size of file {record.filename!r}')


def digest(state: dict[str, Tensor], meta: dict[str, Any]) -> str:
    """Compute a checksum of tensors and what is said about them.

    Args:
        state: Name to tensor.
        meta: Plain types, as they come out of JSON.

    Returns:
        SHA-256 over ``meta`` and over names, types, shapes and bytes, in hexadecimal
        digits. The order of the names does not matter.
    """
    total = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(state):
        value = state[name]
        total.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        total.update(flat.view(torch.uint8).numpy().data)
    return total.hexdigest()


def replace_durably(draft: str | Path, out: str | Path) -> None:
    """Move a finished file to its place, whole even after a power cut.

    Args:
        draft: The file, or a folder of files, in the folder of ``out`` or on the same
            disk.
        out: Its place; what is there is replaced.

    Raises:
        OSError: The disk does not take it; ``out`` is as before.
    """
    draft = Path(draft)
    for name in draft.iterdir() if draft.is_dir() else [draft]:
        with name.open('rb+') as file:
            os.fsync(file.fileno())
    os.replace(draft, out)
    try:
        folder = os.open(Path(out).parent, os.O_RDONLY)
    except OSError:  # an operating system that does not open folders
        return
    try:
        os.fsync(folder)
    except OSError:  # a file system that does not know of this, such as some shares
        pass
    finally:
        os.close(folder)
