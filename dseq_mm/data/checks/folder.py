"""Look at each image of folders: broken, tiny, twice, or odd."""

import io
import multiprocessing
import os
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from hashlib import blake2b
from pathlib import PurePath
from typing import Any, NamedTuple

from mmengine import fileio
from PIL import Image

from ...utils.machine import usable_cores
from ..files import CLOSED, printable
from ..load_image import UNREADABLE, LoadImage
from ..own_images import find_images
from .findings import show

#: Pixels of a side, below which an image is called tiny.
LEAST_SIDE = 32
#: How much longer than the other one a side may be.
MOST_ASPECT = 10
_SUFFIXES = {
    '.jpg': 'JPEG',
    '.jpeg': 'JPEG',
    '.png': 'PNG',
    '.bmp': 'BMP',
    '.webp': 'WEBP',
    '.tif': 'TIFF',
    '.tiff': 'TIFF',
    '.ppm': 'PPM',
    '.pgm': 'PPM',
}
_EVERY = 1000  # images between two lines of progress


class Seen(NamedTuple):
    """What one image is like.

    Attributes:
        path: Its path.
        broken: Why it cannot be read; empty if it can.
        odd: What else is unusual.
        tiny: Its size, if a side is very short.
        digest: Of its bytes; empty if they cannot be read.
    """

    path: str
    broken: str = ''
    odd: tuple[str, ...] = ()
    tiny: str = ''
    digest: bytes = b''


def look_at(path: str) -> Seen:
    """Decode an image as a training does, and strictly once more.

    Args:
        path: Its path.

    Returns:
        What it is like.
    """
    try:
        content = fileio.get(path)
    except Exception as error:  # of whatever storage
        return Seen(path, broken=_line(error))
    digest = blake2b(content, digest_size=16).digest()
    try:
        LoadImage().transform(dict(img_path=path))
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            image = Image.open(io.BytesIO(content))
            width, height = image.size
            odd = _oddities(path, image)
            image.load()  # OpenCV fills in what a file cut off lacks
    except UNREADABLE as error:
        text = _line(error).removeprefix(f'{printable(path)}: ')
        return Seen(path, broken=text, digest=digest)
    size = f'{width} x {height}'
    tiny = size if min(width, height) < LEAST_SIDE else ''
    return Seen(path, odd=odd, tiny=tiny, digest=digest)


def _oddities(path: str, image: Image.Image) -> tuple[str, ...]:
    width, height = image.size
    suffix = PurePath(path).suffix.lower()
    found = []
    if _SUFFIXES.get(suffix) != ('JPEG' if image.format == 'MPO' else image.format):
        found.append('of another format than their suffix says')
    if image.mode[0] in 'IF':
        found.append('of 16 bits or more, scaled to 8')
    elif image.mode == 'CMYK':
        found.append('in CMYK, converted without a color profile')
    if max(width, height) > MOST_ASPECT * min(width, height):
        found.append(f'with one side over {MOST_ASPECT} times the other')
    if getattr(image, 'n_frames', 1) > 1 and image.format != 'MPO':
        found.append('of several pages or frames, of which the first is used')
    return tuple(found)


def check_folder(
    sources: Sequence[str],
    samples: int | None = None,
    processes: int | None = None,
    echo: Callable[[str], Any] = print,
) -> int:
    """Look at the images of folders, lists and archives.

    Args:
        sources: As for `--data`.
        samples: How many images to decode, spread evenly; all by default.
        processes: How many decode; one per core by default.
        echo: Called with each line.

    Returns:
        Number of problems: a line each of broken, tiny and duplicate images.

    Raises:
        ValueError: A place is missing or of no such kind, or none has an image.
    """
    parts = find_images(sources)
    closed = [name for part in parts for name in part.left_out.get(CLOSED, ())]
    for part in parts:
        echo(f'found    {part.summary()}')
        for reason, names in part.left_out.items():
            kinds = ', '.join(
                f'{number:,} {printable(name)}' for name, number in names.most_common(5)
            )
            echo(f'left out {names.total():,} {reason}: {kinds}')
        _tell_classes(part.paths, echo)
    paths = [path for part in parts for path in part.locations or _joined(part)]
    if samples is not None and samples < len(paths):
        step = len(paths) / samples
        paths = [paths[int(index * step)] for index in range(samples)]
    if closed:
        echo(f'PROBLEM  {len(closed):,} {CLOSED}, first {printable(closed[0])}')
    return bool(closed) + _report(_look_at_all(paths, processes, echo), echo)


def _joined(part) -> list[str]:
    return [os.path.join(part.place, path) for path in part.paths]


def _tell_classes(paths: list[str], echo: Callable[[str], Any]) -> None:
    """Count by first folder, as if these were classes, where all images have one."""
    if not paths or not all('/' in path for path in paths):
        return
    classes = Counter(path.partition('/')[0] for path in paths)
    counts = classes.most_common()
    text = ', '.join(f'{printable(name)} {number:,}' for name, number in counts[:10])
    more = ', ...' if len(counts) > 10 else ''
    echo(
        f'classes  {len(counts):,} folders of {counts[-1][1]:,} to {counts[0][1]:,} '
        f'images: {text}{more}'
    )


def _look_at_all(
    paths: list[str], processes: int | None, echo: Callable[[str], Any]
) -> list[Seen]:
    processes = processes or usable_cores()
    if processes == 1 or len(paths) < 64:
        return [look_at(path) for path in paths]
    seen = []
    # a fork has the imports done already, which take seconds; only on Linux is it safe
    method = 'fork' if sys.platform == 'linux' else None
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        for one in pool.map(look_at, paths, chunksize=16):
            seen.append(one)
            if len(seen) % _EVERY == 0:
                echo(f'         {len(seen):,} of {len(paths):,} images decoded')
    return seen


def _report(seen: list[Seen], echo: Callable[[str], Any]) -> int:
    total, problems = len(seen), 0
    broken = [f'{one.path}: {one.broken}' for one in seen if one.broken]
    tiny = [f'{one.path}: {one.tiny}' for one in seen if one.tiny]
    same = defaultdict(list)
    for one in seen:
        same[one.digest or one.path].append(one.path)
    twice = [f'{p} is {group[0]}' for group in same.values() for p in group[1:]]
    for things, what, advice in (
        (broken, 'images are broken', 'remove or replace them'),
        (tiny, f'images are tiny, below {LEAST_SIDE} pixels a side', 'remove them'),
        (twice, 'images are duplicates, the same bytes', 'keep one of each'),
    ):
        if things:
            problems += 1
            echo(f'PROBLEM  {show(things, what, total)} -> {advice}')
            for line in things[1:10]:
                echo(f'           {printable(line)}')
            if len(things) > 10:
                echo(f'           and {len(things) - 10:,} more')
    odd = defaultdict(list)
    for one in seen:
        for kind in one.odd:
            odd[kind].append(one.path)
    for kind, paths in odd.items():
        echo(f'odd      {show(paths, f"images are {kind}", total)}')
    echo(f'{"" if problems else "ok":9}{total:,} images were decoded')
    return problems


def _line(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__
