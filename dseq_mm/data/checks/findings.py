"""What checks of data have found."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..files import printable


@dataclass
class Findings:
    """Lines about a data set.

    Attributes:
        notes: What is used, and how.
        warnings: What may not be meant.
        errors: What a training must not begin with.
    """

    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def add(self, other: 'Findings', name: str = '') -> None:
        """Take the lines of another one.

        Args:
            other: It.
            name: Which data set they are about.
        """
        prefix = f'{name}: ' if name else ''
        self.notes += [prefix + line for line in other.notes]
        self.warnings += [prefix + line for line in other.warnings]
        self.errors += [prefix + line for line in other.errors]


def show(things: Sequence, what: str, total: int | None = None) -> str:
    """Count things and name the first.

    Args:
        things: At least one.
        what: What they are, in the plural.
        total: Of how many.

    Returns:
        Like `3 of 10 images (first a.jpg)`.
    """
    of = '' if total is None else f' of {total:,}'
    return f'{len(things):,}{of} {what} (first {printable(str(things[0]))})'


def missing_files(paths: Iterable[str]) -> list[str]:
    """Find those that are no files; their folders are listed, once each.

    Args:
        paths: Names of local files; others are taken to exist.

    Returns:
        The missing ones, in order.
    """
    listed: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        if '://' in path:
            continue
        folder, name = os.path.split(path)
        if folder not in listed:
            try:
                with os.scandir(folder or '.') as entries:
                    listed[folder] = {
                        entry.name
                        for entry in entries
                        if not entry.is_dir(follow_symlinks=False)
                    }
            except OSError:
                listed[folder] = set()
        if name not in listed[folder]:
            missing.append(path)
    return missing


def load_annotations_of(dataset) -> object | None:
    """Find the transform of a data set's pipeline that loads annotations.

    Args:
        dataset: A data set of mmdet or mmseg.

    Returns:
        The last `LoadAnnotations`, of whatever package; None if there is none.
    """
    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
    found = [step for step in steps if 'LoadAnnotations' in type(step).__name__]
    return found[-1] if found else None
