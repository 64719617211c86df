"""What the files of a work dir tell about a training."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from ..transfer.checkpoint import load_checkpoint
from ..transfer.config_text import read_config_text
from ..transfer.contents import meta_of, method_of, state_dict_of
from ..visualization import read_scalars

_STAMP = re.compile(r'(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) - mmengine - (\w+) - (.*)')
_NUMBER = re.compile(r'(\d+)')


@dataclass
class Training:
    """What is known about a training.

    Attributes:
        name: Of its folder.
        facts: What was run, as pairs of a name and a value.
        cost: Hours, memory, parameters, likewise.
        alarms: Lines of the log that are alarms.
        warnings: Other warnings, each once.
        scalars: See :func:`~dseq_mm.visualization.read_scalars`.
        measured: Epoch and numbers of each measurement after an epoch.
        checkpoints: Files, from the first to the last.
        tables: Tables in Markdown by file.
        files: Other files of numbers, by name.
        environment: Versions and machine, as text.
        config: The config as text.
        settings: The same as data.
    """

    name: str
    facts: list[tuple[str, Any]] = field(default_factory=list)
    cost: list[tuple[str, Any]] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    scalars: dict[str, np.ndarray] = field(default_factory=dict)
    measured: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    checkpoints: list[Path] = field(default_factory=list)
    tables: dict[str, str] = field(default_factory=dict)
    files: dict[str, dict[str, float]] = field(default_factory=dict)
    environment: str = ''
    config: str = ''
    settings: dict[str, Any] = field(default_factory=dict)


def collect(work_dir: str | Path, tables: Iterable[str | Path] = ()) -> Training:
    """Read the files of a training; nothing in them is run.

    Args:
        work_dir: Its folder.
        tables: Tables in Markdown from elsewhere, such as those of tools/evaluate.py.

    Returns:
        What they tell.

    Raises:
        ValueError: The folder has no log of a training.
        FileNotFoundError: There is no such folder or table.
    """
    work_dir = Path(work_dir)
    if not work_dir.is_dir():
        raise FileNotFoundError(f'{work_dir}: there is no such folder')
    training = Training(work_dir.resolve().name)
    training.scalars = read_scalars(work_dir)
    training.measured = _measurements(training.scalars)
    spent = _read_logs(training, sorted(work_dir.glob('*/*.log')))
    found = [path for path in work_dir.glob('*.pth') if 'epoch' in path.name]
    found += work_dir.glob('iter_*.pth')
    training.checkpoints = sorted(found, key=_order)
    _read_checkpoint(training, spent)
    for path in [*sorted(work_dir.rglob('table.md')), *map(Path, tables)]:
        training.tables[str(path)] = path.read_text(encoding='utf-8')
    for path in sorted(work_dir.glob('*.json')):
        numbers = _numbers(path)
        if numbers:
            training.files[path.name] = numbers
    return training


def _order(path: Path) -> tuple[int, str]:
    """Checkpoints by their number."""
    found = _NUMBER.findall(path.stem)
    return (int(found[-1]) if found else 0), path.name


def _measurements(scalars: dict[str, np.ndarray]) -> list[tuple[int, dict]]:
    """What was measured after epochs; these stand at negative places."""
    rows: dict[int, dict[str, float]] = {}
    for name, points in scalars.items():
        for at, value in points:
            if at < 0:
                rows.setdefault(int(-at), {})[name] = value
    return sorted(rows.items())


def _read_logs(training: Training, logs: list[Path]) -> timedelta:
    """Alarms, warnings and environment; the time from first to last line of each."""
    spent = timedelta()
    for log in logs:
        stamps = []
        text = log.read_text(encoding='utf-8', errors='replace')
        for line in text.splitlines():
            if not (match := _STAMP.match(line)):
                continue
            stamp, level, message = match.groups()
            stamps.append(datetime.strptime(stamp, '%Y/%m/%d %H:%M:%S'))
            if message.startswith('Alarm at'):
                training.alarms.append(message)
            elif level in ('WARNING', 'ERROR') and message not in training.warnings:
                training.warnings.append(message)
        if stamps:
            spent += stamps[-1] - stamps[0]
        block = re.search(r'System environment:\n(.*?)\n-{20,}', text, re.DOTALL)
        if block:
            training.environment = block[1]
    return spent


def _read_checkpoint(training: Training, spent: timedelta) -> None:
    """Facts and cost from the last checkpoint; fewer where there is none."""
    hours = spent.total_seconds() / 3600
    processes = 1
    state: dict = {}
    if training.checkpoints:
        checkpoint = load_checkpoint(training.checkpoints[-1])
        meta, state = meta_of(checkpoint), state_dict_of(checkpoint)
        training.config = str(meta.get('cfg') or '')
        training.settings = read_config_text(training.config)
        run = meta.get('run') or {}
        processes = run.get('processes') or 1
        images = (run.get('files') or {}).get('number')
        training.facts += [
            ('method', method_of(meta)),
            ('backbone', _backbone(training.settings)),
            ('training images', f'{images:,}' if images else None),
            ('epochs', f'{meta.get("epoch")} of {run.get("max_epochs", "?")}'),
            ('images per step', _batch_text(run)),
            ('seed', run.get('seed', meta.get('seed'))),
            ('versions', _versions(run.get('versions') or {})),
        ]
    training.facts = [pair for pair in training.facts if pair[1] not in (None, '')]
    memory = training.scalars.get('memory')
    parts = dict(encoder='backbone.', predictor='neck.')
    sizes = {
        part: sum(v.numel() for k, v in state.items() if k.startswith(prefix))
        for part, prefix in parts.items()
    }
    training.cost += [
        ('hours from first to last line of the logs', f'{hours:.2f}'),
        ('device hours', f'{hours * processes:.2f}'),
        *((f'parameters of the {p}', f'{n / 1e6:.2f} M') for p, n in sizes.items()),
    ]
    if memory is not None:
        training.cost.append(('peak memory', f'{memory[:, 1].max() / 1024:.1f} GiB'))
    speed = training.scalars.get('images_per_s')
    if speed is not None:
        training.cost.append(
            ('images per second, median', f'{np.median(speed[:, 1]):.0f}')
        )


def _backbone(settings: dict) -> str | None:
    model = settings.get('model') or {}
    vit = model.get('backbone') or {}
    arch = vit.get('arch')
    if isinstance(arch, dict):
        arch = f'{arch.get("num_layers")} layers of {arch.get("embed_dims")} channels'
    if arch is None:
        return None
    return (
        f'{arch}, images of {vit.get("img_size")}, patches of {vit.get("patch_size")}'
    )


def _batch_text(run: dict) -> str | None:
    if not run.get('global_batch'):
        return None
    return (
        f'{run["global_batch"]} (processes: {run["processes"]}, images of each: '
        f'{run["batch_size"]}, steps accumulated: {run["accumulation"]})'
    )


def _versions(versions: dict) -> str:
    return ', '.join(f'{name} {version}' for name, version in versions.items())


def _numbers(path: Path) -> dict[str, float]:
    """Numbers of a flat JSON file; empty for any other."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError:
        return {}
    if not isinstance(content, dict):
        return {}
    flat = {k: v for k, v in content.items() if isinstance(v, int | float)}
    return flat if len(flat) == len(content) else {}
