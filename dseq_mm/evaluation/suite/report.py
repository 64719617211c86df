"""The table, as Markdown and as JSON, from the folders of the runs."""

import json
import platform
import re
import sys
from importlib import metadata
from pathlib import Path
from statistics import fmean

from ...transfer.contents import ARCHITECTURES
from ...utils.stack import distribution_of
from . import paper
from .execute import LOG
from .runs import TABLES, read_records, write_text
from .subject import Subject
from .tasks import TASKS, Metric

PAPER_HEADING = 'paper (not ours)'
FINISHED = (
    'The file is no pre-training checkpoint: with the keys backbone.* and head.* it '
    'is a finished model, such as a classifier, whose backbone may have been trained '
    'with labels. It was evaluated as it is.'
)
RESUMED = (
    '"resumed": the training was interrupted and went on from its last checkpoint. '
    'Its random numbers are not those of an uninterrupted one, so that the result '
    'cannot be repeated bit by bit.'
)
_ENCODERS = dict(
    target='target encoder (EMA)',
    context='trained encoder (`backbone`, no EMA)',
    plain='encoder (the file does not say which)',
)
_OLD = ('made by an older version, which did not record the protocol in full',)
_OF_RUNS = 'reason fingerprint data resumed date minutes versions'.split()
_LIBRARIES = ('dseq_mm', 'torch', 'mmengine', 'mmcv', 'mmpretrain', 'mmdet', 'mmseg')
# options that change how fast a protocol runs, not what it is
_HARMLESS = re.compile(
    r'(\w+_dataloader\.(num_workers|persistent_workers|pin_memory|prefetch_factor)'
    r'|default_hooks\.|log_level|env_cfg\.)'
)


def installed_versions() -> dict[str, str]:
    """Find out what the measurements stand on.

    Returns:
        Import name (and ``python``) to version, with the distribution where its name
        is another. What is not installed is left out.
    """
    versions = dict(python=platform.python_version())
    for name in _LIBRARIES:
        source = distribution_of(name)
        version = getattr(sys.modules.get(name), '__version__', None)
        if version is None and source:  # not imported here, but by the tools
            version = metadata.version(source.split(', ')[0])
        if version is not None:
            other = f' ({source})' if source not in ('', name) else ''
            versions[name] = f'{version}{other}'
    return versions


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
    changed = [o for o in record['user_options'] if not _HARMLESS.match(o)]
    if changed:
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
        groups.setdefault((record['task'], record['random_init']), []).append(
            (folder, record)
        )
    rows, notes = [], [FINISHED] * subject.finished
    for task in TASKS.values():
        for random_init in (False, True):
            members = groups.get((task.name, random_init), [])
            members.sort(key=lambda item: item[1]['seed'] or 0)
            for metric in task.metrics if members else ():
                row, note = _row(subject, members, metric, out)
                rows.append(row)
                notes += [note] if note and note not in notes else []
    figures = paper.FIGURES.get((subject.method, subject.arch))
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
            method=paper.name_of(subject.method) if figures else None,
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
    values = {
        _seed(r): r['metrics'][metric.key] for _, r in members if r['status'] == 'done'
    }
    runs = []
    for folder, found in members:
        facts = dict(
            seed=found['seed'],
            status=found['status'],
            folder=str(folder.relative_to(out)),
            log=str(folder.relative_to(out) / LOG),
        )
        runs.append(facts | {key: found[key] for key in _OF_RUNS if key in found})
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
    write_text(out / TABLES[1], json.dumps(table, indent=2) + '\n')
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


def _grid(heading: list[str], lines: list[list[str]]) -> str:
    rows = [heading, ['---'] * len(heading), *lines]
    escaped = ([cell.replace('|', '\\|') for cell in row] for row in rows)
    return '\n'.join(f'| {" | ".join(row)} |' for row in escaped)


def _results(rows: list[dict]) -> str:
    lines = []
    for row in rows:
        values = row['values']
        each = [f'{value:.2f} ({seed})' for seed, value in values.items()]
        for run in row['runs']:
            if run['status'] != 'done':
                where = f', see {run["log"]}' if run['status'] == 'failed' else ''
                each.append(f'{_status(run)} ({_seed(run)}{where})')
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
    return _grid([*heading, 'range', PAPER_HEADING], lines)


def _status(run: dict) -> str:
    return 'unfinished' if run['status'] == 'running' else run['status']


def _footnotes(table: dict) -> list[str]:
    """What the columns mean."""
    notes = ['Percent. Values are ours; the range is over the seeds.']
    if any(row['paper_not_ours'] is not None for row in table['rows']):
        source = table['paper']
        notes.append(
            f'"{PAPER_HEADING}": what {source["source"]}, reports for '
            f'{source["method"]} with this architecture after {source["epochs"]} '
            'epochs of pre-training on ImageNet-1K, whatever the settings of this '
            'checkpoint were. It was not measured here.'
        )
    if any(row['start'] == 'random weights' for row in table['rows']):
        notes.append(
            '"random weights": the same network, protocol and budget without the '
            'checkpoint.'
        )
    return notes


def _protocols(rows: list[dict]) -> str:
    seen = {row['task']: row for row in rows}
    return _grid(
        ['task', 'config', 'options', 'protocol'],
        [
            [task, row['config'], ' '.join(row['options']), row['protocol']]
            for task, row in seen.items()
        ],
    )


def _runs(rows: list[dict]) -> str:
    """When and with which versions each run was done."""
    seen = {run['folder']: run for row in rows for run in row['runs']}
    stacks: list[str] = []
    lines = []
    for folder, run in seen.items():
        stack = ', '.join(f'{k} {v}' for k, v in run.get('versions', {}).items())
        if stack and stack not in stacks:
            stacks.append(stack)
        number = str(stacks.index(stack) + 1) if stack else '-'
        status = _status(run) + ', resumed' * run.get('resumed', False)
        said = [status, run['reason']] if 'reason' in run else [status]
        lines.append(
            [folder, _seed(run), ': '.join(said), run.get('date', '-'), number]
        )
    grid = _grid(['folder', 'seed', 'status', 'date', 'versions'], lines)
    named = [f'- versions {i}: {stack}' for i, stack in enumerate(stacks, 1)]
    named += [f'- {RESUMED}'] * any(run.get('resumed') for run in seen.values())
    return '\n\n'.join([grid, '\n'.join(named)]).rstrip()
