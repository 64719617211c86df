"""The tables as Markdown and JSON, from the folders of the trials."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from ..suite.report import PAPER_HEADING
from ..suite.runs import RECORD, RESULT, read_json, write_text
from .tables import BUDGETS, PAPER, Contrast, Table
from .trials import Trial

COLUMNS = dict(
    linear_last='linear, last block',
    linear_last4='linear, last four',
    knn_last='kNN, last block',
    knn_last4='kNN, last four',
    rank_me='RankMe',
)
"""Metrics of the tables, where they were measured."""


def read_results(table: Table, trials: Sequence[Trial], out: Path) -> dict:
    """Read what is known of the rows of a table, whichever call measured it.

    Args:
        table: The table.
        trials: Trials of this call; they say with which settings a row is meant.
        out: Folder of the study.

    Returns:
        Label of each row to seed (None where nothing is drawn) to the facts of its
        trial: ``status`` ('done', 'failed' or 'unfinished'), ``metrics``, ``minutes``
        and so on.
    """
    settings = {trial.name: trial.settings for trial in trials}
    found = {}
    for row in table.rows:
        known = {}
        for record in sorted((out / row.name).glob(f'*/{RECORD}')):
            result = record.with_name(RESULT)
            facts = read_json(result if result.is_file() else record)
            if facts['status'] == 'running':
                facts['status'] = 'unfinished'
            if facts['settings'] == settings.get(row.name):
                known[facts['seed']] = facts
        found[row.label] = known
    return found


def write_tables(
    tables: dict[str, Table], budget: str, trials: Sequence[Trial], out: Path
) -> None:
    """Write ``NAME.md`` and ``NAME.json`` of each table.

    Args:
        tables: Name to table.
        budget: Name of the budget.
        trials: The trials.
        out: Folder of the study.
    """
    for name, table in tables.items():
        facts = read_results(table, trials, out)
        parts = [f'# {table.title}', _header(budget, facts), _table(table, facts)]
        differences = _differences(table, facts)
        parts += ['Differences, paired by seed:', differences] if differences else []
        write_text(out / f'{name}.md', '\n\n'.join([*parts, _footer(facts)]) + '\n')
        whole = dict(title=table.title, budget=budget, paper=PAPER, rows=facts)
        write_text(out / f'{name}.json', json.dumps(whole, indent=2) + '\n')


def _header(budget: str, facts: dict[str, dict]) -> str:
    seeds = {seed for runs in facts.values() for seed in runs} - {None}
    listed = ', '.join(map(str, sorted(seeds))) or 'none yet'
    probe = 'tools/evaluate.py'
    if not BUDGETS[budget].tasks:
        probe = 'tools/knn.py --linear, a quick probe and not the protocol of the paper'
    return (
        f'{BUDGETS[budget].words}; seeds {listed}; measured by {probe}. Accuracy in %: '
        'mean (lowest to highest) over the seeds. '
        f'"{PAPER_HEADING}": {PAPER}. It was not measured here.'
    )


def _footer(facts: dict[str, dict]) -> str:
    """What the measurements stand on."""
    runs = [run for known in facts.values() for run in known.values()]
    stacks = {
        ', '.join(f'{k} {v}' for k, v in run['versions'].items()): None
        for run in runs
        if 'versions' in run
    }
    lines = [
        '- Minutes: of the training step of a run, with start, monitors and what was '
        'spent before an interruption.'
    ]
    if any(run.get('resumed') for run in runs):
        lines.append('- Some trainings were interrupted and went on.')
    lines += [f'- Versions: {stack}.' for stack in stacks]
    return '\n'.join(lines)


def _measured(facts: dict[int | None, dict], key: str) -> dict[int | None, float]:
    """Values of a metric by seed, of the runs that are done."""
    return {
        seed: run['metrics'][key]
        for seed, run in facts.items()
        if run['status'] == 'done' and key in run['metrics']
    }


def _columns(facts: dict[str, dict]) -> list[str]:
    """Metrics that some row has."""
    return [k for k in COLUMNS if any(_measured(runs, k) for runs in facts.values())]


def _spread(values: Sequence[float], digits: str = '.1f') -> str:
    if not values:
        return '-'
    mean = format(fmean(values), digits)
    if len(values) == 1:
        return mean
    low, high = format(min(values), digits), format(max(values), digits)
    return f'{mean} ({low} to {high})'


def _table(table: Table, facts: dict[str, dict]) -> str:
    columns = _columns(facts)
    heading = ['row', *(COLUMNS[key] for key in columns)]
    heading += ['minutes of training', 'runs', PAPER_HEADING]
    lines = []
    for row in table.rows:
        runs = facts[row.label]
        done = [run for run in runs.values() if run['status'] == 'done']
        others = [r['status'] for r in runs.values() if r['status'] != 'done']
        minutes = [run['minutes'] for run in done if row.start == 'train']
        lines.append(
            [
                row.label,
                *(_spread(list(_measured(runs, key).values())) for key in columns),
                _spread(minutes),
                ', '.join([str(len(done)), *others]),
                '' if row.paper is None else f'{row.paper:.1f}',
            ]
        )
    return grid(heading, lines)


def _differences(table: Table, facts: dict[str, dict]) -> str:
    columns = _columns(facts)
    lines = []
    for contrast in table.contrasts():
        values = {key: _paired(contrast, facts, key) for key in columns}
        if any(values.values()):
            paper = contrast.paper
            cells = [_spread(values[key], '+.1f') for key in columns]
            shown = '' if paper is None else f'{paper:+.1f}'
            lines.append([contrast.label, *cells, shown])
    heading = ['difference', *(COLUMNS[key] for key in columns), PAPER_HEADING]
    return grid(heading, lines) if lines else ''


def _paired(contrast: Contrast, facts: dict[str, dict], key: str) -> list[float]:
    """The difference in each seed that all its rows have."""
    plus = [_measured(facts[row.label], key) for row in contrast.plus]
    minus = [_measured(facts[row.label], key) for row in contrast.minus]
    shared = set.intersection(*(set(values) for values in plus + minus))
    return [
        sum(values[seed] for values in plus) - sum(values[seed] for values in minus)
        for seed in sorted(shared)
    ]


def grid(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown.

    Args:
        heading: Names of the columns.
        lines: Cells of each line.

    Returns:
        The table, without a line break at its end.
    """
    rows = [heading, ['---'] * len(heading), *lines]
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)
