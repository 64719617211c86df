"""The tables of a study as Markdown and as JSON, from the folders of its runs."""

from collections.abc import Sequence

from ..tables.kinds import Contrast, Row, Table
from ..utils.files import write_json, write_text
from .job import RECORD, Job, read_record
from .study import Study
from .table import (
    PAPER_HEADING,
    grid,
    measured,
    paired,
    spread,
    stacks_of,
    status_of,
)
from .transfer_table import changed_protocol

COLUMNS = dict(
    linear_last='linear, last block',
    linear_last4='linear, last four',
    knn_last='kNN, last block',
    knn_last4='kNN, last four',
    rank_me='RankMe',
)
"""Metrics that have a name of their own in the tables; they come first."""

_DIGITS = dict(feature_std=3)
"""Digits after the point; of others it is 1."""

Facts = dict[str, dict[int | None, dict]]


def write_tables(study: Study, tables: dict[str, Table], jobs: Sequence[Job]) -> None:
    """Write ``NAME.md`` and ``NAME.json`` of each table.

    Args:
        study: What was asked for.
        tables: Name to table.
        jobs: The runs of this call; they say with which settings a row is meant.
    """
    settings = {job.facts['name']: job.settings for job in jobs}
    for name, table in tables.items():
        facts = {r.label: _read(study, r, settings.get(r.name)) for r in table.rows}
        shown = not changed_protocol([*study.options, *study.probe])
        parts = [f'# {table.title}', _header(study, table, facts, shown)]
        parts.append(_table(table, facts, shown))
        if differences := _differences(table, facts, shown):
            parts += ['Differences, paired by seed:', differences]
        write_text(
            study.out / f'{name}.md', '\n\n'.join([*parts, _footer(facts)]) + '\n'
        )
        whole = dict(title=table.title, budget=study.budget, paper=table.paper)
        write_json(study.out / f'{name}.json', whole | dict(rows=facts))


def _read(study: Study, row: Row, settings: str | None) -> dict[int | None, dict]:
    """What is known of a row, whichever call measured it: seed to facts."""
    known = {}
    for path in sorted((study.out / row.name).glob(f'*/{RECORD}')):
        record = read_record(path.parent)
        if record.get('settings') == settings:
            known[record['seed']] = record | dict(status=status_of(record))
    return known


def _header(study: Study, table: Table, facts: Facts, shown: bool) -> str:
    seeds = {s for runs in facts.values() for s in runs if s is not None}
    listed = ', '.join(map(str, sorted(seeds))) or 'none yet'
    probe = 'tools/evaluate.py'
    if not study.measure.tasks:
        probe = 'tools/knn.py --linear, a quick probe and not the protocol of the paper'
    paper = f'"{PAPER_HEADING}": {table.paper}. It was not measured here.'
    words = study.measure.words
    if not shown:
        options = ' '.join([*study.options, *study.probe])
        words += f', changed by {options}'
        paper = 'Options changed the settings, so no figure of the paper stands here.'
    return (
        f'{words}; seeds {listed}; measured by {probe}. Accuracy in %: '
        f'mean (lowest to highest) over the seeds. {paper}'
    )


def _footer(facts: Facts) -> str:
    """What the measurements stand on."""
    runs = [run for known in facts.values() for run in known.values()]
    lines = [
        '- Minutes: of the training step of a run, with start, monitors and what was '
        'spent before an interruption.'
    ]
    if any(run.get('resumed') for run in runs):
        lines.append('- Some trainings were interrupted and went on.')
    return '\n'.join(lines + [f'- Versions: {stack}.' for stack in stacks_of(runs)])


def _columns(facts: Facts) -> dict[str, str]:
    """Metrics that some row has, and what they are called."""
    found = {
        key: COLUMNS.get(key, key)
        for runs in facts.values()
        for run in runs.values()
        for key in run.get('metrics', {})
    }
    return {
        key: found[key] for key in dict.fromkeys([*COLUMNS, *found]) if key in found
    }


def _table(table: Table, facts: Facts, shown: bool) -> str:
    columns = _columns(facts)
    heading = ['row', *columns.values()]
    heading += ['minutes of training', 'runs', PAPER_HEADING]
    lines = []
    for row in table.rows:
        runs = facts[row.label].values()
        others = [run['status'] for run in runs if run['status'] != 'done']
        done = [run for run in runs if run['status'] == 'done']
        minutes = [run['minutes'] for run in done if row.start == 'train']
        cells = [
            spread([*measured(runs, key).values()], f'.{_DIGITS.get(key, 1)}f')
            for key in columns
        ]
        figure = '' if row.paper is None or not shown else f'{row.paper:.1f}'
        number = ', '.join([str(len(done)), *others])
        lines.append([row.label, *cells, spread(minutes), number, figure])
    return grid(heading, lines)


def _differences(table: Table, facts: Facts, shown: bool) -> str:
    columns = _columns(facts)
    lines = []
    for contrast in table.contrasts():
        values = [_paired(contrast, facts, key) for key in columns]
        if any(values):
            figure = contrast.paper if shown else None
            cells = [
                spread(found, f'+.{_DIGITS.get(key, 1)}f')
                for key, found in zip(columns, values, strict=True)
            ]
            cells.append('' if figure is None else f'{figure:+.1f}')
            lines.append([contrast.label, *cells])
    heading = ['difference', *columns.values(), PAPER_HEADING]
    return grid(heading, lines) if lines else ''


def _paired(contrast: Contrast, facts: Facts, key: str) -> list[float]:
    """The difference in each seed that all its rows have."""
    plus, minus = (
        [measured(facts[row.label].values(), key) for row in rows]
        for rows in (contrast.plus, contrast.minus)
    )
    return paired(plus, minus)
