"""Numbers of several runs in Markdown: mean, range, differences paired by seed."""

from collections.abc import Iterable, Sequence
from statistics import fmean

from tabulate import tabulate

PAPER_HEADING = 'paper (not ours)'
RESUMED = (
    '"resumed": the training was interrupted and went on from its last checkpoint. '
    'Its random numbers are not those of an uninterrupted one, so that the result '
    'cannot be repeated bit by bit.'
)


def grid(heading: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Write a table in Markdown.

    Args:
        heading: Names of the columns.
        lines: Cells of each line.

    Returns:
        The table, without a line break at its end.
    """
    rows = [[_escape(cell) for cell in row] for row in (heading, *lines)]
    return tabulate(rows[1:], rows[0], tablefmt='github', disable_numparse=True)


def _escape(cell: str) -> str:
    return ' '.join(cell.replace('|', '\\|').splitlines())


def status_of(record: dict) -> str:
    """Say how far a run came.

    Args:
        record: See :func:`.job.read_record`.

    Returns:
        'done', 'failed' or 'unfinished'.
    """
    status = record['status']
    return 'unfinished' if status == 'running' else status


def measured(records: Iterable[dict], key: str) -> dict[int | None, float]:
    """Collect the values of a metric.

    Args:
        records: Runs that differ in their seed alone.
        key: Name of the metric.

    Returns:
        Seed to value, of the runs that are done and have it.
    """
    return {
        record['seed']: record['metrics'][key]
        for record in records
        if record['status'] == 'done' and key in record['metrics']
    }


def paired(plus: Sequence[dict], minus: Sequence[dict]) -> list[float]:
    """Subtract in each seed that all have.

    Args:
        plus: Seed to value, of each row that is added.
        minus: Seed to value, of each row that is subtracted.

    Returns:
        Differences, by ascending seed.
    """
    shared = set.intersection(*(set(values) for values in (*plus, *minus)))
    return [
        sum(values[seed] for values in plus) - sum(values[seed] for values in minus)
        for seed in sorted(shared)
    ]


def spread(values: Sequence[float], digits: str = '.1f') -> str:
    """Write mean and range.

    Args:
        values: Any number of them.
        digits: Format of each.

    Returns:
        ``mean (lowest to highest)``; '-' without a value.
    """
    if not values:
        return '-'
    mean = format(fmean(values), digits)
    if len(values) == 1:
        return mean
    return f'{mean} ({min(values):{digits}} to {max(values):{digits}})'


def stacks_of(records: Iterable[dict]) -> list[str]:
    """List with which versions runs were done.

    Args:
        records: Runs.

    Returns:
        Each stack once, in one line.
    """
    return list(dict.fromkeys(stack for r in records if (stack := stack_of(r))))


def stack_of(record: dict) -> str:
    """Write the versions of a run in one line.

    Args:
        record: The run.

    Returns:
        Names and versions; empty if it is not done.
    """
    return ', '.join(f'{k} {v}' for k, v in record.get('versions', {}).items())
