"""One line per check, and the checks that several data sets share."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mmcv.transforms import LoadImageFromFile

from dseq_mm.data.keyed_dataset import UNREADABLE
from dseq_mm.data.layout.published import Published

T = TypeVar('T')
# OpenCV decodes while training; Pillow also refuses what old versions of it let pass.
DECODERS = [LoadImageFromFile(imdecode_backend=name) for name in ('cv2', 'pillow')]


class Report:
    """The lines of a check, and what the check needs to know.

    Args:
        facts: What is published about the data set.
        root: Its folder.
        samples: How many images of each split to decode, at least 1.
        echo: Called with each line as soon as it is known.

    Attributes:
        problems: Lines that tell of a problem.
        incomplete: Whether an expected file or folder is missing.
    """

    def __init__(
        self,
        facts: Published,
        root: str | Path,
        samples: int = 64,
        echo: Callable[[str], Any] = print,
    ):
        self.facts, self.root, self.samples = facts, Path(root), samples
        self.problems: list[str] = []
        self.incomplete = False
        self._echo = echo

    def ok(self, text: str) -> None:
        """Add a line about what is as it should be.

        Args:
            text: The line.
        """
        self._echo(f'ok       {text}')

    def problem(self, text: str, advice: str = '') -> None:
        """Add a line about what is not.

        Args:
            text: What is wrong.
            advice: What to do; by default to get the data set's files again.
        """
        self.problems.append(f'PROBLEM  {text} -> {advice or self.facts.mend}')
        self._echo(self.problems[-1])

    def verdict(
        self, claim: str, wrong: Sequence[str], total: int, advice: str = ''
    ) -> None:
        """Add a line about a claim over many things.

        Args:
            claim: What should hold for each of them.
            wrong: Those for which it does not.
            total: How many there are.
            advice: As in :meth:`problem`.
        """
        if wrong:
            where = f'{len(wrong):,} of {total:,}, first {wrong[0]}'
            self.problem(f'{claim}: not so for {where}', advice)
        else:
            self.ok(f'{claim} ({total:,})')

    def require(self, *names: str, advice: str = '') -> bool:
        """Check that files or folders exist.

        Args:
            *names: Paths relative to the root.
            advice: As in :meth:`problem`.

        Returns:
            Whether all exist.
        """
        missing = [name for name in names if not (self.root / name).exists()]
        for name in missing:
            deeper = sorted(self.root.glob(f'*/{name}'))
            if deeper:
                inner = deeper[0].parents[len(Path(name).parts) - 1]
                hint = f'it lies in {inner}: move that up, or use it as root'
                self.problem(f'{name} is missing', hint)
            else:
                self.problem(f'{name} is missing', advice)
        self.incomplete |= bool(missing)
        return not missing

    def number(self, what: str, found: int, published: int) -> None:
        """Compare a number with the published one.

        Args:
            what: What was counted.
            found: How many there are.
            published: How many there should be.
        """
        if found == published:
            self.ok(f'{what}: {found:,}')
            return
        advice = '' if found < published else 'remove what does not belong there'
        self.problem(f'{what}: {found:,}, published {published:,}', advice)

    def attempt(
        self, what: str, function: Callable[[], T], advice: str = ''
    ) -> T | None:
        """Call something that may fail on files that are not as expected.

        Args:
            what: What is tried, in words.
            function: What to call.
            advice: As in :meth:`problem`.

        Returns:
            Its result, or None after an error, which is then reported.
        """
        try:
            return function()
        except Exception as error:  # whatever a reader raises on a bad layout
            self.problem(f'{what} fails: {brief(error)}', advice)
            return None

    def files_exist(self, claim: str, paths: Iterable[str | Path]) -> None:
        """Check that files exist, by listing the folders that they are in.

        Args:
            claim: The line's text.
            paths: Their paths.
        """
        listed: dict[str, set[str]] = {}
        missing, total = [], 0
        for path in map(str, paths):
            folder, name = os.path.split(path)
            if folder not in listed:
                there = os.path.isdir(folder)
                listed[folder] = set(os.listdir(folder)) if there else set()
            total += 1
            if name not in listed[folder]:
                missing.append(path)
        self.verdict(claim, missing, total)

    def decode(self, split: str, paths: Sequence[str | Path]) -> dict[str, tuple]:
        """Decode evenly spaced images.

        Args:
            split: Name of the split.
            paths: All images of the split.

        Returns:
            Height and width of those that could be decoded, by path.
        """
        shapes, wrong, chosen = {}, [], spread(paths, self.samples)
        for path in map(str, chosen):
            try:
                for decoder in DECODERS[::-1]:
                    shape = decoder({'img_path': path})['ori_shape']
                shapes[path] = shape
            except UNREADABLE as error:
                wrong.append(f'{path} ({brief(error)})')
        if chosen:
            self.verdict(f'{split}: sampled images decode', wrong, len(chosen))
        return shapes


def brief(error: Exception) -> str:
    """Return an error in one line of bounded length.

    Args:
        error: The error.

    Returns:
        Its kind and message.
    """
    line = ' '.join(f'{type(error).__name__}: {error}'.split())
    return line if len(line) <= 300 else line[:297] + '...'


def spread(items: Sequence[T], number: int) -> list[T]:
    """Choose evenly spaced items, the first and the last among them.

    Args:
        items: The items.
        number: How many to choose.

    Returns:
        At most `number` items.
    """
    number = min(number, len(items))
    steps = max(number - 1, 1)
    return [items[index * (len(items) - 1) // steps] for index in range(number)]
