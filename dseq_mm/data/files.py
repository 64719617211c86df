"""The one listing of image files, used wherever images are searched for in folders."""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

#: Suffixes of the files that are taken for images, in lower case.
SUFFIXES = (
    '.jpg',
    '.jpeg',
    '.png',
    '.bmp',
    '.webp',
    '.tif',
    '.tiff',
    '.ppm',
    '.pgm',
)
#: Suffixes of images that are not read.
OTHER_IMAGES = frozenset(
    '.gif .heic .heif .avif .jp2 .j2k .jpx .jxl .jxr .svg .psd .exr .hdr .dcm .nii '
    '.raw .dng .cr2 .cr3 .nef .arw .tga .ico .jfif .jpe .pbm .pnm .pfm .dib'.split()
)
#: Folders and files that systems and programs leave beside images, in lower case.
DEBRIS = frozenset(
    [
        '@eadir',
        '@recycle',
        '#recycle',
        '@recently-snapshot',
        '__macosx',
        '__pycache__',
        'lost+found',
        '$recycle.bin',
        'recycler',
        'system volume information',
        'thumbs.db',
        'desktop.ini',
    ]
)
# Why files and folders are left out, in the words of the log.
HIDDEN_FOLDER = 'hidden or system folders'
HIDDEN = 'hidden or system files'
UNREAD_IMAGE = 'images in formats that are not read'
OTHER = 'files of other kinds'
EMPTY = 'empty files'
DANGLING = 'links to nothing'
IRREGULAR = 'pipes, sockets or devices'
CLOSED = 'folders that cannot be opened'
TWICE_FOLDER = 'folders reached twice'
TWICE = 'files reached twice'
LOOSE = 'images beside the class folders'
NO_IMAGES = 'classes without images'
#: More characters than a path can have.
_LONGEST = 4096


def printable(text: str) -> str:
    """Make a file's name safe to print.

    Args:
        text: Any text.

    Returns:
        It, with control and undecodable characters escaped, and without the middle of
        what is longer than a path can be.
    """
    if not text.isprintable():
        text = text.encode('unicode_escape', 'backslashreplace').decode()
    return text if len(text) <= _LONGEST else f'{text[:200]} ... {text[-200:]}'


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder is hidden or debris, by its name.

    Args:
        name: The name without its folder.

    Returns:
        Whether it is.
    """
    return name.startswith('.') or name.lower() in DEBRIS


@dataclass
class ImageFiles:
    """What was found in one place, and what was not taken.

    Args:
        place: The folder, list or archive.
        paths: Names of the images relative to the place, sorted.
        locations: What opens them; None if they lie under the place.
        labels: Index of the class of each image; None without classes.
        classes: Names of the classes.
        left_out: By reason: examples or kinds, and how often.
    """

    place: str
    paths: list[str] = field(default_factory=list)
    locations: list[str] | None = None
    labels: list[int] | None = None
    classes: tuple[str, ...] = ()
    left_out: dict[str, Counter] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.paths)

    def leave_out(self, reason: str, what: str) -> None:
        """Count something that is not taken.

        Args:
            reason: Why.
            what: Its name or kind.
        """
        self.left_out.setdefault(reason, Counter())[what] += 1

    @property
    def formats(self) -> Counter:
        """How many images have which suffix."""
        return Counter(_suffix(path) for path in self.paths)

    def summary(self) -> str:
        """Say what was found.

        Returns:
            Like `24 images of 3 classes (16 .png, 8 .webp) in data`.
        """
        text = _count(len(self), 'image')
        if self.labels is not None:
            text += f' of {_count(len(self.classes), "class")}'
        kinds = ', '.join(f'{n:,} {name}' for name, n in self.formats.most_common())
        return f'{text}{f" ({kinds})" if kinds else ""} in {printable(self.place)}'

    def omissions(self) -> str:
        """Say what was left out.

        Returns:
            Like `1 empty files (a/x.jpg), 3 files of other kinds (2 .txt, 1 .csv)`;
            empty if nothing was.
        """
        parts = []
        for reason, names in self.left_out.items():
            often = sorted(names, key=lambda name: (-names[name], name))
            shown = [printable(name) for name in often[:4]]
            more = ', ...' if len(names) > 4 else ''
            parts.append(f'{names.total():,} {reason} ({", ".join(shown)}{more})')
        return ', '.join(parts)

    def lines(self) -> list[str]:
        """Tell the log what is used and what is not.

        Returns:
            One line.
        """
        omitted = self.omissions()
        return [self.summary() + (f'; left out: {omitted}' if omitted else '')]


class FolderSearch:
    """List the images under folders, each file once.

    Links to files and folders are followed. A folder or file that is reached in several
    ways is taken once, where it lies itself if that is among the places; so loops of
    links end. An instance remembers what it took, for folders that overlap.

    Args:
        suffixes: Those of the files to take, in lower case.
    """

    def __init__(self, suffixes: Sequence[str] = SUFFIXES) -> None:
        self.suffixes = tuple(suffixes)
        self._entered: set[str] = set()
        self._taken: dict[str, set[str]] = {}

    def search(self, root: str, with_classes: bool = False) -> ImageFiles:
        """List the images under a folder.

        Args:
            root: The folder.
            with_classes: Whether its folders are classes; files beside them are left
                out then.

        Returns:
            The images, sorted by class and name, and what was left out.

        Raises:
            ValueError: A class folder is a link to another class.
        """
        found = ImageFiles(root)
        self._links: list[tuple[str, str]] = []
        real = os.path.realpath(root)
        if real in self._entered:
            found.leave_out(TWICE_FOLDER, root)
            return found
        classes = self._walk(found, root, '', real, loose=not with_classes)
        self._follow(found, classes if with_classes else None)
        if with_classes:
            _label(found, classes)
        else:
            found.paths.sort()
        return found

    def take(self, path: str) -> bool:
        """Remember a file that something else lists.

        Args:
            path: Its path.

        Returns:
            Whether it was not taken before.
        """
        folder, name = os.path.split(os.path.realpath(path))
        names = self._taken.setdefault(folder, set())
        known = name in names
        names.add(name)
        return not known

    def _walk(
        self, found: ImageFiles, top: str, name: str, real: str, loose: bool = True
    ) -> list[str]:
        """Take what lies under a folder; links are put off. Its folders' names."""
        self._entered.add(real)
        stack = [(top, name, real, loose)]
        first: list[str] | None = None
        while stack:
            path, name, real, loose = stack.pop()
            folders = []
            for kind, entry, inner in self._entries(found, path, name):
                target = f'{real.rstrip("/")}/{entry.name}'
                if kind == 'folder':
                    folders.append(inner)
                    if target in self._entered:
                        found.leave_out(TWICE_FOLDER, inner)
                    else:
                        self._entered.add(target)
                        stack.append((entry.path, inner, target, True))
                elif kind == 'image' and not loose:
                    found.leave_out(LOOSE, inner)
                elif kind == 'link' or entry.is_symlink():
                    self._links.append((inner, entry.path))
                else:
                    self._add(found, inner, real)
            first = folders if first is None else first
        return first or []

    def _entries(
        self, found: ImageFiles, path: str, name: str
    ) -> Iterator[tuple[str, os.DirEntry, str]]:
        """Kind, entry and inner name of what may be used in one folder."""
        prefix = f'{name}/' if name else ''
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    inner = prefix + entry.name
                    if kind := self._kind(found, entry, inner):
                        yield kind, entry, inner
        except OSError as error:
            found.leave_out(CLOSED, f'{name or path}: {error.strerror}')

    def _kind(self, found: ImageFiles, entry: os.DirEntry, inner: str) -> str:
        """'folder', 'image', 'link' to a folder, or nothing if it is left out."""
        name = entry.name
        try:
            folder = entry.is_dir()
            if is_hidden(name):
                found.leave_out(HIDDEN_FOLDER if folder else HIDDEN, name)
            elif folder:
                return 'link' if entry.is_symlink() else 'folder'
            elif reason := self.refusal(name):
                found.leave_out(reason, _suffix(name))
            elif not stat.S_ISREG((status := entry.stat()).st_mode):
                found.leave_out(IRREGULAR, inner)
            elif status.st_size == 0:
                found.leave_out(EMPTY, inner)
            else:
                return 'image'
        except OSError:  # of a link: its target is missing, or it leads to itself
            found.leave_out(DANGLING, inner)
        return ''

    def refusal(self, name: str) -> str:
        """Say why a file is no image that is read, by its name.

        Args:
            name: The name.

        Returns:
            The reason, empty if it is one.
        """
        if name.lower().endswith(self.suffixes):
            return ''
        return UNREAD_IMAGE if _suffix(name) in OTHER_IMAGES else OTHER

    def _add(self, found: ImageFiles, inner: str, real: str) -> None:
        """Take a file that lies in a folder, unless a link to it was taken before."""
        name = os.path.basename(inner)
        names = self._taken.setdefault(real, set())
        if name in names:
            found.leave_out(TWICE, inner)
        else:
            names.add(name)
            found.paths.append(inner)

    def _follow(self, found: ImageFiles, classes: list[str] | None) -> None:
        """Take what links lead to, and the links that lie there."""
        while self._links:
            links, self._links = sorted(self._links), []
            for inner, path in links:
                if not os.path.isdir(path):
                    if self.take(path):
                        found.paths.append(inner)
                    else:
                        found.leave_out(TWICE, inner)
                    continue
                real, is_class = os.path.realpath(path), '/' not in inner
                if classes is not None and is_class:
                    classes.append(inner)
                if real not in self._entered:
                    self._walk(found, path, inner, real)
                elif classes is not None and is_class:
                    raise ValueError(
                        f'{printable(path)} is a link to {printable(real)}, which is '
                        'among the images already: an image has one class'
                    )
                else:
                    found.leave_out(TWICE_FOLDER, inner)


def _label(found: ImageFiles, classes: Iterable[str]) -> None:
    """Sort images by class, then by name within it, and number the classes."""
    found.classes = tuple(sorted(classes))
    pairs = sorted(tuple(path.split('/', 1)) for path in found.paths)
    index = {name: number for number, name in enumerate(found.classes)}
    found.paths = [f'{name}/{rest}' for name, rest in pairs]
    found.labels = [index[name] for name, _ in pairs]
    used = {*found.labels}
    for name, number in index.items():
        if number not in used:
            found.leave_out(NO_IMAGES, name)


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower() or 'no suffix'


def _count(number: int, noun: str) -> str:
    plural = f'{noun}es' if noun.endswith('s') else f'{noun}s'
    return f'{number:,} {noun if number == 1 else plural}'
