"""The transfer table as Markdown and as JSON, from the folders of the runs."""

import re
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

from ..tables import TASKS, paper
from ..tables.kinds import Metric
from ..transfer.architectures import ARCHITECTURES
from ..utils.files import write_json, write_text
from .job import LOG, read_records
from .subject import Subject
from .table import (
    PAPER_HEADING,
    RESUMED,
    grid,
    measured,
    stack_of,
    stacks_of,
    status_of,
)
from .transfer import TABLES

FINISHED = (
    'The file is no pre-training checkpoint: with the keys backbone.* and head.* it '
    'is a finished model, such as a classifier, whose backbone may have been trained '
    'with labels. It was evaluated as it is.'
)
_ENCODERS = dict(
    target='target encoder (EMA)',
    context='trained encoder (`backbone`, no EMA)',
    plain='encoder (the file does not say which)',
)
_OLD = ('made by an older version, which did not record the protocol in full',)
_OF_RUNS = 'reason fingerprint data resumed date minutes versions'.split()
# options that change how fast a protocol runs, not what it is
_HARMLESS = re.compile(
    r'(\w+_dataloader\.(num_workers|persistent_workers|pin_memory|prefetch_factor)'
    r'|default_hooks\.|log_level|env_cfg\.)'
)


def changed_protocol(options: Iterable[str]) -> list[str]:
    """Find the options that change more than how fast a protocol runs.

    Args:
        options: ``key=value`` texts.

    Returns:
        Those beside which no figure of the paper may stand.
    """
    return [option for option in options if not _HARMLESS.match(option)]


def paper_figure(
    subject: Subject, record: dict, metric: Metric
) -> tuple[float | None, str]:
    """Find the paper's figure for the same method, architecture and data set.

    Args:
        subject: The checkpoint.
        record: What is known of the run.
        metric: The metric.

    Returns:
        The figure or None, and why there is none where that needs a word.
    """
    if record['random_init'] or metric.paper is None:
        return None, ''
    if subject.arch == 'digits':
        return None, 'DigitScenes is not a data set of the paper.'
    if subject.method is None:
        return None, (
            'The checkpoint does not say by which method it was trained, so that no '
            'figure of the paper can stand beside it.'
        )
    if changed := changed_protocol(record['user_options']):
        return None, (
            f'{record["task"]}: {" ".join(changed)} may change protocol or data set, '
            'so that no figure of the paper stands beside it.'
        )
    differs = record.get('deviations', _OLD)
    if differs:
        return None, (
            f'{record["task"]}: {"; ".join(differs)}, which is not the protocol of the '
            'paper, so that no figure of it stands beside.'
        )
    figures = paper.FIGURES.get((subject.method, subject.arch), {})
    if metric.paper not in figures:
        return None, f'The paper gives no {metric.name} of {record["task"]} here.'
    if subject.other_settings:
        differs = '; '.join(subject.other_settings)
        return None, f'No figure of the paper stands beside: {differs}.'
    return figures[metric.paper], ''


def build_table(subject: Subject, out: Path) -> dict:
    """Collect the table from the folders of the runs.

    Args:
        subject: The checkpoint.
        out: Folder of the table.

    Returns:
        What table.json holds.
    """
    groups: dict[tuple, list] = {}
    for folder, record in read_records(out):
        key = record.get('task'), record.get('random_init')
        groups.setdefault(key, []).append((folder, record))
    rows, notes = [], [FINISHED] * subject.finished
    for task in TASKS.values():
        for random_init in (False, True):
            members = groups.get((task.name, random_init), [])
            members.sort(key=lambda item: item[1]['seed'] or 0)
            for metric in task.metrics if members else ():
                row, note = _row(subject, members, metric, out)
                rows.append(row)
                notes += [note] if note and note not in notes else []
    figures = paper.FIGURES.get((str(subject.method), subject.arch))
    return dict(
        checkpoint=dict(
            file=subject.path.name,
            sha256=subject.sha256,
            encoder=subject.encoder,
            method=subject.method,
            architecture=ARCHITECTURES[subject.arch].words,
            epoch=subject.epoch,
            finished=subject.finished,
        ),
        paper=dict(
            source=paper.SOURCE,
            method=paper.name_of(str(subject.method)) if figures else None,
            epochs=figures['epochs'] if figures else None,
        ),
        rows=rows,
        notes=notes,
    )


def _row(
    subject: Subject, members: list[tuple[Path, dict]], metric: Metric, out: Path
) -> tuple[dict, str]:
    """One line of the table: a task, a start, a metric."""
    record = members[0][1]
    found = measured((record for _, record in members), metric.key)
    values = {_seed(dict(seed=seed)): value for seed, value in found.items()}
    runs = []
    for folder, facts in members:
        place = folder.relative_to(out)
        known = {
            key: facts[key] for key in ('seed', 'status', *_OF_RUNS) if key in facts
        }
        runs.append(dict(folder=str(place), log=str(place / LOG), **known))
    figure, note = paper_figure(subject, record, metric)
    row = dict(
        task=record['task'],
        dataset=record['dataset'],
        start='random weights' if record['random_init'] else 'checkpoint',
        metric=metric.name,
        key=metric.key,
        values=values,
        mean=fmean(values.values()) if values else None,
        min=min(values.values()) if values else None,
        max=max(values.values()) if values else None,
        paper_not_ours=figure,
        protocol=record['protocol'],
        config=record['config'],
        options=record['options'],
        runs=runs,
    )
    return row, note


def _seed(record: dict) -> str:
    return 'any' if record['seed'] is None else str(record['seed'])


def write_table(subject: Subject, out: Path) -> dict:
    """Write table.md and table.json.

    Args:
        subject: The checkpoint.
        out: Folder of the table.

    Returns:
        What table.json holds.
    """
    table = build_table(subject, out)
    write_text(out / TABLES[0], markdown(table))
    write_json(out / TABLES[1], table)
    return table


def markdown(table: dict) -> str:
    """Write the table for people.

    Args:
        table: What :func:`build_table` returned.

    Returns:
        Markdown.
    """
    source = table['checkpoint']
    unknown = 'finished model' if source['finished'] else 'unknown method'
    method = paper.name_of(source['method']) if source['method'] else unknown
    epoch = 'unknown' if source['epoch'] is None else source['epoch']
    parts = [
        f'# Transfer of {source["file"]}',
        f'{method}, {source["architecture"]}, {_ENCODERS[source["encoder"]]}, epoch '
        f'{epoch}; sha256 `{source["sha256"]}`.',
        _results(table['rows']),
        '\n'.join(f'- {note}' for note in [*_footnotes(table), *table['notes']]),
        '## Protocols',
        _protocols(table['rows']),
        '## Runs',
        _runs(table['rows']),
    ]
    return '\n\n'.join(part for part in parts if part) + '\n'


def _results(rows: list[dict]) -> str:
    lines = []
    for row in rows:
        values = row['values']
        each = [f'{value:.2f} ({seed})' for seed, value in values.items()]
        for run in row['runs']:
            if run['status'] != 'done':
                where = f', see {run["log"]}' if run['status'] == 'failed' else ''
                each.append(f'{status_of(run)} ({_seed(run)}{where})')
        several = len(values) > 1
        spread = f'{row["min"]:.2f} to {row["max"]:.2f}' if several else '-'
        figure = row['paper_not_ours']
        lines.append(
            [
                row['task'],
                row['dataset'],
                row['start'],
                row['metric'],
                ', '.join(each),
                '-' if row['mean'] is None else f'{row["mean"]:.2f}',
                spread,
                '' if figure is None else f'{figure:.1f}',
            ]
        )
    heading = ['task', 'data set', 'start', 'metric', 'value (seed)', 'mean']
    return grid([*heading, 'range', PAPER_HEADING], lines)


def _footnotes(table: dict) -> list[str]:
    """What the columns mean."""
    notes = ['Percent. Values are ours; the range is over the seeds.']
    if any(row['paper_not_ours'] is not None for row in table['rows']):
        source = table['paper']
        notes.append(
            f'"{PAPER_HEADING}": what {source["source"]}, reports for '
            f'{source["method"]} with this architecture after {source["epochs"]} '
            'epochs of pre-training on ImageNet-1K. It was not measured here.'
        )
    if any(row['start'] == 'random weights' for row in table['rows']):
        notes.append(
            '"random weights": the same network, protocol and budget without the '
            'checkpoint.'
        )
    return notes


def _protocols(rows: list[dict]) -> str:
    seen = {row['task']: row for row in rows}
    return grid(
        ['task', 'config', 'options', 'protocol'],
        [
            [task, row['config'], ' '.join(row['options']), row['protocol']]
            for task, row in seen.items()
        ],
    )


def _runs(rows: list[dict]) -> str:
    """When and with which versions each run was done."""
    seen = {run['folder']: run for row in rows for run in row['runs']}
    stacks = stacks_of(seen.values())
    lines = []
    for folder, run in seen.items():
        stack = stack_of(run)
        number = str(stacks.index(stack) + 1) if stack else '-'
        said = [status_of(run) + ', resumed' * run.get('resumed', False)]
        said += [run['reason']] if 'reason' in run else []
        lines.append(
            [folder, _seed(run), ': '.join(said), run.get('date', '-'), number]
        )
    table = grid(['folder', 'seed', 'status', 'date', 'versions'], lines)
    named = [f'- versions {i}: {stack}' for i, stack in enumerate(stacks, 1)]
    named += [f'- {RESUMED}'] * any(run.get('resumed') for run in seen.values())
    return '\n\n'.join([table, '\n'.join(named)]).rstrip()
