"""What a run prints: what a person reads. The log file in the work dir holds all.

Only the handler of the terminal leaves lines out, and only those of the tables here;
what is logged is not changed. Users of the hosts' own tools see the hosts' output.
"""

import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from mmengine.logging import MMLogger
from mmengine.runner import Runner
from torch import nn

from ..engine.clock import unwrap
from ..utils.host import runner_loggers

#: Beginnings of the hosts' lines that are in the log file alone, and why.
DETAILS = {
    r'\n-+\nSystem environment:': 'versions, for who looks for a fault',
    r'Config:\n': 'hundreds of lines, which are also a file in the work dir',
    r'Hooks will be executed in the following order:\n': 'for who writes a hook',
    r'paramwise_options -- ': 'a line for each parameter',
    r'initialize \S+ with init_cfg ': 'a line for each module',
    r'\n\S+ - torch\.Size\(': 'how each parameter was initialised',
    r'Distributed training is not used, all SyncBatchNorm': 'as it must be',
    r'Exp name: ': 'name and time of the folder, before each line of progress',
}
#: Beginnings of the hosts' warnings that are there too: nobody can act on them.
KNOWN_WARNINGS = {
    r'\S+ is skipped since its requires_grad=False': 'fixed or frozen on purpose',
    r'"FileClient" will be deprecated': "mmengine's own hooks call it",
    r'"HardDiskBackend" is the alias of': "mmengine's own hooks call it",
    r'The prefix is not set in metric class': "a metric of the host's has no prefix",
    r'Default ``avg_non_ignore`` is False': "the host's loss in the host's recipe",
    r'The draw is False, it means that the hook for vis': "the host's own default",
    r'`reduce_zero_label` will be deprecated': "the host's recipes set it so",
}
#: Numbers of a line of progress that are for who studies a run: all are in its files.
STUDIED = r'(?<!\S)(base_lr|time|data_time|flat_maps|regions_\w+|grad_norm'
STUDIED += r'|prediction_std|target_cosine|unexplained_step\d+|ema_momentum'
STUDIED += r'|(context|target)_patches|lidar): \S+ *'


class TerminalFilter(logging.Filter):
    """Let through what a person reads: all but what the two tables name."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide over one line.

        Args:
            record: The line.

        Returns:
            True if it is shown; errors always are.
        """
        if record.levelno > logging.WARNING:
            return True
        known = DETAILS if record.levelno < logging.WARNING else KNOWN_WARNINGS
        return not _is_in(known, record.getMessage())


class TerminalFormatter(logging.Formatter):
    """Leave out of the lines of progress what has files of its own.

    Args:
        usual: Formats everything else.
    """

    def __init__(self, usual: logging.Formatter | None) -> None:
        super().__init__()
        self.usual = usual or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        """Write a line.

        Args:
            record: It is not changed, for the log file has all of it.

        Returns:
            The line.
        """
        text = record.getMessage()
        if re.match(r'(Epoch|Iter)\(train\)', text):
            record = logging.makeLogRecord(vars(record))
            record.msg, record.args = re.sub(STUDIED, '', text).rstrip(), None
        return self.usual.format(record)


def _is_in(patterns: Iterable[str], text: str) -> bool:
    return any(re.match(pattern, text) for pattern in patterns)


@contextmanager
def readable(everything: bool = False) -> Iterator[None]:
    """Show what a person reads of a run, and write all of it to its log file.

    Args:
        everything: Show all.

    Yields:
        Nothing; runners are to be built and used within.
    """
    terminal = TerminalFilter()
    loggers: list[MMLogger] = []

    def prepare(logger: MMLogger) -> None:
        """Shorten what a logger shows."""
        loggers.append(logger)
        if not everything:
            for handler in _terminals(logger):
                handler.addFilter(terminal)
                handler.setFormatter(TerminalFormatter(handler.formatter))

    shown = warnings.showwarning
    warnings.showwarning = _recorded(shown, loggers, everything)
    try:
        with runner_loggers(prepare):
            yield
    finally:
        warnings.showwarning = shown
        for logger in loggers:
            for handler in _terminals(logger):
                handler.removeFilter(terminal)
                if isinstance(handler.formatter, TerminalFormatter):
                    handler.setFormatter(handler.formatter.usual)


def _terminals(logger: MMLogger) -> Iterator[logging.Handler]:
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            yield handler


def _recorded(show: Callable, loggers: list[MMLogger], everything: bool) -> Callable:
    """Make a ``warnings.showwarning`` that writes to the newest logger's file, too."""

    def showwarning(message, category, filename, lineno, file=None, line=None) -> None:
        """Write a warning of Python to the log file; show it if it is not known."""
        text = f'{filename}:{lineno}: {category.__name__}: {message}'
        for logger in loggers[-1:]:
            record = logger.makeRecord(
                logger.name, logging.WARNING, filename, lineno, text, (), None
            )
            for handler in logger.handlers:
                if isinstance(handler, logging.FileHandler):
                    handler.handle(record)
        if everything or not _is_in(KNOWN_WARNINGS, str(message)):
            show(message, category, filename, lineno, file, line)

    return showwarning


def summary(runner: Runner) -> list[str]:
    """Say what is trained or tested, and where all about it is written.

    Args:
        runner: The runner.

    Returns:
        Lines for the log.
    """
    lines = [f'Log file: {runner.logger.log_file}']
    model = unwrap(runner.model)
    if isinstance(model, nn.Module):  # other kinds of runners build it later
        total = sum(p.numel() for p in model.parameters())
        learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
        name = type(model).__name__
        lines.append(f'Network: {name}, {total:,} parameters, {learned:,} learned')
    return lines
