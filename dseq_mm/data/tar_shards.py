"""Images in tar archives, read in place: an index once, then bytes at any offset."""

import os
import re
import tarfile

from mmengine.fileio import BaseStorageBackend, register_backend

from .files import (
    EMPTY,
    HIDDEN,
    HIDDEN_FOLDER,
    IRREGULAR,
    FolderSearch,
    ImageFiles,
    is_hidden,
    printable,
)

PREFIX = 'tar://'
_ADDRESS = re.compile(r'tar://(.+?\.tar)@(\d+)\+(\d+)#', re.IGNORECASE | re.DOTALL)
LINKS = 'links within the archive'
REPLACED = 'files replaced by later ones of their name'


def index_tar(path: str, search: FolderSearch) -> ImageFiles:
    """List the images of a tar archive.

    Args:
        path: The archive, not compressed.
        search: Tells which suffixes are taken.

    Returns:
        The images by name; their locations tell archive, offset and size.

    Raises:
        ValueError: It is no whole tar archive.
    """
    found = ImageFiles(path)
    places: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(path, 'r:') as archive:
            for member in archive:
                _sort_in(found, places, member, search)
            end = archive.offset
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(
            f'{printable(path)} is no whole tar archive ({error}); compressed ones '
            'must be unpacked to .tar, as images are read in any order'
        ) from None
    _check_end(path, end)
    found.paths = sorted(places)
    location = f'{PREFIX}{os.path.abspath(path)}'
    found.locations = [
        f'{location}@{places[name][0]}+{places[name][1]}#{name}' for name in found.paths
    ]
    return found


def _sort_in(
    found: ImageFiles, places: dict, member: tarfile.TarInfo, search: FolderSearch
) -> None:
    """Take a member, or leave it out."""
    name = os.path.normpath(member.name)
    *folders, base = name.split('/')
    hidden = next((part for part in folders if is_hidden(part) and part != '..'), None)
    if member.isdir():
        return
    if hidden:
        found.leave_out(HIDDEN_FOLDER, hidden)
    elif is_hidden(base):
        found.leave_out(HIDDEN, base)
    elif reason := search.refusal(base):
        found.leave_out(reason, os.path.splitext(base)[1].lower() or 'no suffix')
    elif member.issym() or member.islnk():
        found.leave_out(LINKS, name)
    elif not member.isreg() or member.issparse():
        found.leave_out(IRREGULAR, name)
    elif member.size == 0:
        found.leave_out(EMPTY, name)
    else:
        if name in places:
            found.leave_out(REPLACED, name)
        places[name] = member.offset_data, member.size


def _check_end(path: str, end: int) -> None:
    """Refuse an archive that was cut off or has data after its end mark."""
    with open(path, 'rb') as file:
        file.seek(end)
        mark = file.read(tarfile.BLOCKSIZE)
        rest = iter(lambda: file.read(tarfile.RECORDSIZE), b'')
        more = any(block.strip(tarfile.NUL) for block in rest)
    if mark != tarfile.NUL * tarfile.BLOCKSIZE:
        raise ValueError(f'{printable(path)} is cut off or damaged: copy it again')
    if more:
        raise ValueError(
            f'{printable(path)} goes on after its end mark (several archives in one '
            'file?): split it, or unpack it'
        )


def tar_size(location: str) -> int:
    """Read the size of an image off its address.

    Args:
        location: As :func:`index_tar` makes it.

    Returns:
        Bytes.
    """
    return _parse(location)[2]


def _parse(address: str) -> tuple[str, int, int]:
    """Archive, offset and size."""
    match = _ADDRESS.match(address)
    if match is None:
        raise OSError(f'{address}: no address of a file in a tar archive')
    return match[1], int(match[2]), int(match[3])


class TarBackend(BaseStorageBackend):
    """Read bytes of tar archives by addresses that `index_tar` makes.

    It keeps no state, so that worker processes share nothing.
    """

    def get(self, filepath: str) -> bytes:
        """Read a file.

        Args:
            filepath: `tar://ARCHIVE@OFFSET+SIZE#NAME`.

        Returns:
            Its bytes.

        Raises:
            OSError: The archive is missing or was cut off.
        """
        archive, offset, size = _parse(filepath)
        with open(archive, 'rb') as file:
            content = os.pread(file.fileno(), size, offset)
        if len(content) < size:
            raise OSError(f'{filepath}: the archive was cut off')
        return content

    def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
        """Read a text file.

        Args:
            filepath: As for `get`.
            encoding: Of the text.

        Returns:
            The text.
        """
        return self.get(filepath).decode(encoding)


register_backend('tar', TarBackend, prefixes='tar', force=True)
