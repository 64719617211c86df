"""Images of one's own without labels: folders, lists and tar shards as one data set."""

import glob
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmpretrain.datasets import BaseDataset

from ..registry import DATASETS
from .files import EMPTY, TWICE, FolderSearch, ImageFiles, is_hidden, printable
from .tar_shards import PREFIX, index_tar, tar_size

_COMPRESSED = ('.tar.gz', '.tgz', '.tar.bz2', '.tbz2', '.tar.xz', '.txz', '.tar.zst')
_RANGE = re.compile(r'\{(\d+)\.\.(\d+)\}')


@DATASETS.register_module()
class OwnImages(BaseDataset):
    """The images of several places, without labels.

    They are in the order of the places, sorted by name within each; a file that is
    reached twice is taken where it comes first. Masks and crops, which are keyed by the
    index of the image, depend on this order.

    Args:
        sources: A folder, a list of images (`.txt`: one path per line, relative to the
            list's folder; `#` begins a comment line) or a tar archive (`.tar`), or
            several of them; patterns (`*`) and ranges (`shards-{000..011}.tar`) stand
            for several.
        **kwargs: Those of mmpretrain's `BaseDataset`.

    Attributes:
        files: What was found in each of the places.

    Raises:
        ValueError: A place is missing or of no such kind, or none has an image.
    """

    def __init__(self, sources: str | Sequence[str], **kwargs) -> None:
        self.sources = [sources] if isinstance(sources, str) else [*sources]
        self.files: SourceFiles | None = None
        super().__init__(ann_file='', **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the images.

        Returns:
            `img_path` of each, and `listed_as`, by which a resumed run knows it again.
        """
        self.files = find_images(self.sources)
        return [
            dict(img_path=path, listed_as=name)
            for part in self.files
            for path, name in zip(
                _locations(part), _names(part, len(self.files) > 1), strict=True
            )
        ]


class SourceFiles(list[ImageFiles]):
    """What was found in several places."""

    @property
    def number(self) -> int:
        """How many images there are."""
        return sum(len(part) for part in self)

    def lines(self) -> list[str]:
        """Tell the log what is used and what is not.

        Returns:
            A line per place, and one for all where there are several.
        """
        lines = [line for part in self for line in part.lines()]
        if len(self) > 1:
            lines.append(f'{self.number:,} images in {len(self)} places')
        return lines


def find_images(sources: Sequence[str]) -> SourceFiles:
    """List the images of several places.

    Args:
        sources: See :class:`OwnImages`.

    Returns:
        What was found in each, in order.

    Raises:
        ValueError: A place is missing or of no such kind, or none has an image.
    """
    search, parts = FolderSearch(), SourceFiles()
    for place in itertools.chain.from_iterable(map(_expand, sources)):
        if place.lower().endswith('.tar') and not os.path.isdir(place):
            again = not search.take(place)
            part = ImageFiles(place) if again else index_tar(place, search)
            if again:
                part.leave_out(TWICE, place)
        elif os.path.isdir(place):
            part = search.search(place)
        else:
            part = _read_list(place, search)
        parts.append(part)
    if not parts.number:
        raise ValueError(_nothing(parts, search.suffixes))
    return parts


def _nothing(parts: SourceFiles, suffixes: Sequence[str]) -> str:
    omitted = '; '.join(filter(None, (part.omissions() for part in parts)))
    places = ', '.join(printable(part.place) for part in parts[:3])
    more = ', ...' if len(parts) > 3 else ''
    advice = ''
    if any('.tar' in names for part in parts for names in part.left_out.values()):
        advice = "; give tar archives themselves, as in 'FOLDER/*.tar'"
    return (
        f'no image in {places}{more} (looked for {", ".join(suffixes)}; left out: '
        f'{omitted or "nothing"}){advice}'
    )


def _names(part: ImageFiles, several: bool) -> list[str]:
    """What tells an image from others: its name, of several places with the place's,
    and in an archive its size.
    """
    place = os.path.basename(os.path.normpath(part.place))
    names = [f'{place}/{path}' for path in part.paths] if several else part.paths
    if part.locations and part.locations[0].startswith(PREFIX):
        sizes = [tar_size(location) for location in part.locations]
        names = [f'{name} {size}' for name, size in zip(names, sizes, strict=True)]
    return names


def _locations(part: ImageFiles) -> list[str]:
    if part.locations is not None:
        return part.locations
    prefix = part.place.rstrip('/') + '/'
    return [prefix + path for path in part.paths]


def _expand(source: str) -> Iterator[str]:
    """The places that an argument stands for, each of which exists."""
    place = os.path.expanduser(source)
    if os.path.exists(place):
        yield _known_kind(place)
        return
    if '://' in source:
        raise ValueError(f'{source}: only local folders, lists and archives are read')
    number = 0
    for name in _expand_ranges(place):
        if glob.has_magic(name):
            matches = _matches(name)
            if not matches:
                raise ValueError(f'{printable(source)}: nothing matches the pattern')
        elif os.path.exists(name):
            matches = [name]
        elif name == place:
            kind = 'file' if os.path.splitext(name)[1] else 'folder'
            raise ValueError(f'{printable(source)}: there is no such {kind}')
        else:
            raise ValueError(f'{printable(source)}: {printable(name)} is missing')
        for match in matches:
            number += 1
            yield _known_kind(match)


def _matches(pattern: str) -> list[str]:
    """What a pattern stands for; `**` follows no links, whose loops never end."""
    parts = pattern.split('/')
    if '**' not in parts:
        return sorted(glob.glob(pattern))
    first = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    root = Path('/'.join(parts[:first]) + '/' if first else '.')
    found = (path.relative_to(root) for path in root.glob('/'.join(parts[first:])))
    return sorted(
        str(root / path) for path in found if not any(map(is_hidden, path.parts))
    )


def _expand_ranges(text: str) -> Iterator[str]:
    """Names with `{000..011}` replaced by each number, as shells do it."""
    match = _RANGE.search(text)
    if match is None:
        yield text
        return
    first, last = map(int, match.groups())
    width = max(map(len, match.groups())) if '0' in (match[1][0], match[2][0]) else 0
    step = 1 if last >= first else -1
    for number in range(first, last + step, step):
        name = f'{text[: match.start()]}{number:0{width}d}'
        for rest in _expand_ranges(text[match.end() :]):
            yield name + rest


def is_image(place: str) -> bool:
    """Tell whether a path is a file that is called like an image.

    Args:
        place: The path.

    Returns:
        Whether it is one.
    """
    return os.path.isfile(place) and place.lower().endswith(FolderSearch().suffixes)


def _known_kind(place: str) -> str:
    """Refuse what is no folder, list or archive."""
    lower, shown = place.lower(), printable(place)
    if not os.path.isdir(place) and not os.path.isfile(place):
        raise ValueError(f'{shown} is neither a file nor a folder')
    if os.path.isdir(place) or lower.endswith(('.txt', '.tar')):
        return place
    if lower.endswith(_COMPRESSED):
        raise ValueError(
            f'{shown} is compressed, but images are read in any order: decompress it '
            'to .tar, or unpack it'
        )
    if is_image(place):
        raise ValueError(f'{shown} is one image: give its folder, or a list (.txt)')
    raise ValueError(
        f'{shown} is no folder, list of images (.txt) or archive (.tar): unpack or '
        'convert it'
    )


def _read_list(path: str, search: FolderSearch) -> ImageFiles:
    """The images that a text file lists."""
    try:
        with open(path, encoding='utf-8-sig', errors='surrogateescape') as file:
            lines = [line.strip() for line in file]
    except OSError as error:
        raise ValueError(f'{printable(path)}: {error.strerror}') from None
    if any('\0' in line for line in lines):
        raise ValueError(
            f'{printable(path)} is no list in UTF-8, as NUL characters are in it: '
            'write it with one path per line'
        )
    found, locations, missing = ImageFiles(path), [], []
    folder = os.path.dirname(os.path.abspath(path))
    for number, line in enumerate(lines, 1):
        if not line or line.startswith('#'):
            continue
        if reason := search.refusal(line):
            raise ValueError(
                f'{printable(path)}, line {number}: {printable(line)!r} is no path of '
                f'an image ({reason}); a line is one path and nothing else'
            )
        location = os.path.join(folder, os.path.expanduser(line))
        if not os.path.isfile(location):
            missing.append(f'{printable(line)} in line {number}')
        elif not os.path.getsize(location):
            found.leave_out(EMPTY, line)
        elif not search.take(location):
            found.leave_out(TWICE, line)
        else:
            found.paths.append(line)
            locations.append(location)
    if missing:
        raise ValueError(
            f'{printable(path)}: {len(missing):,} of the listed files do not exist, '
            f'first {missing[0]} (looked for in {printable(folder)})'
        )
    order = sorted(range(len(found)), key=found.paths.__getitem__)
    found.paths = [found.paths[index] for index in order]
    found.locations = [locations[index] for index in order]
    return found
