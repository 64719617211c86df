"""Curves of what a training has logged."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

#: Panels, in the order of the page: title, names of the numbers, limits of the axis.
PANELS: tuple[tuple[str, tuple[str, ...], tuple[float | None, float | None]], ...] = (
    ('loss', ('loss', 'latent'), (0, None)),
    ('unexplained share of the targets', ('unexplained',), (0, None)),
    (
        'the same by step',
        tuple(f'unexplained_step{i}' for i in range(1, 11)),
        (0, None),
    ),
    (
        'deviation of targets and predictions',
        ('target_std', 'prediction_std'),
        (0, None),
    ),
    ('mean cosine of targets', ('target_cosine',), (0, 1)),
    ('effective rank', ('rank_me', 'lidar'), (0, None)),
    ('rank of the bank', ('rank_me (epochs)',), (0, None)),
    (
        'regions per image',
        tuple(f'regions_{k}' for k in ('component', 'split', 'secondary', 'random')),
        (0, None),
    ),
    ('patches per row', ('context_patches', 'target_patches'), (0, None)),
    ('lambda, flat maps', ('lambda', 'flat_maps'), (0, 1)),
    (
        'alignment with masks',
        ('saliency_auc', 'r1_figure', 'figure', 'r1_iou'),
        (0, 1),
    ),
    ('kNN accuracy', ('knn_last', 'knn_last4'), (0, None)),
    ('online linear probe', ('probe_top1',), (0, None)),
    ('accuracy', ('accuracy/top1', 'accuracy/top5'), (0, None)),
    ('learning rate', ('lr',), (0, None)),
    ('EMA momentum', ('ema_momentum',), (None, 1)),
    ('gradient norm', ('grad_norm',), (0, None)),
    ('share of time waiting for data', ('data_wait',), (0, 1)),
    ('images per second', ('images_per_s',), (0, None)),
)


_STYLES = ('-', '--', ':', '-.')
_UNEXPLAINED = 2.0  # what is above, as at the start, hides the rest


def read_scalars(work_dir: str | Path) -> dict[str, np.ndarray]:
    """Read what all runs in a work dir have logged.

    Args:
        work_dir: The folder, or one run's folder in it, or its ``scalars.json``.

    Returns:
        By name: iteration and value, ``(n, 2)``, in order; of what is measured after an
        epoch the negative of the epoch and the value, from the last on. What is both
        has ``(epochs)`` behind its name there. Of a resumed training what was logged
        again counts as it was logged last.

    Raises:
        ValueError: There are no scalars.
    """
    place = Path(work_dir)
    files = [place] if place.is_file() else sorted(place.rglob('scalars.json'))
    points: dict[tuple[str, bool], dict[float, float]] = {}
    for file in files:
        for line in file.read_text(encoding='utf-8').splitlines():
            try:
                row = json.loads(line)
            except ValueError:  # the last line of a run that was killed
                continue
            _take(row, points)
    if not points:
        raise ValueError(
            f'{work_dir}: there is no scalars.json of a training with numbers in it; '
            'give the work dir of a training'
        )
    return {
        name if iterations or (name, True) not in points else f'{name} (epochs)': (
            np.array(sorted(values.items()), float)
        )
        for (name, iterations), values in points.items()
    }


def _take(row: dict, points: dict[tuple[str, bool], dict[float, float]]) -> None:
    """Sort one line of a log; a measurement after an epoch has no iteration."""
    at = row.get('step')
    if not isinstance(at, int | float):
        return
    for name, value in row.items():
        if name not in ('step', 'epoch', 'iter') and isinstance(value, int | float):
            iterations = 'iter' in row
            found = points.setdefault((name, iterations), {})
            found[float(at if iterations else -at)] = float(value)


def draw_curves(runs: Mapping[str, dict[str, np.ndarray]]) -> Figure:
    """Draw a page of what trainings have logged, one beside the other.

    Args:
        runs: By name, what :func:`read_scalars` returned.

    Returns:
        The figure: a panel for each kind of number that one of them has. Numbers of
        iterations and of epochs have axes of their own.

    Raises:
        ValueError: None of them has such a number.
    """
    panels = [
        (title, found, limits)
        for title, names, limits in PANELS
        if (found := [n for n in names if any(n in run for run in runs.values())])
    ]
    if not panels:
        raise ValueError('these trainings have logged nothing that is drawn here')
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.5 * rows + 0.3), layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, (title, names, limits) in zip(axes, panels, strict=False):
        _draw_panel(axis, runs, names)
        axis.set_title(title, fontsize=9)
        axis.set_ylim(*limits)
        if names[0].startswith('unexplained'):
            axis.set_ylim(top=min(_UNEXPLAINED, axis.get_ylim()[1]))
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    return figure


def _draw_panel(axis, runs: Mapping, names: Sequence[str]) -> None:
    """Colors tell numbers apart, and lines the runs; of one number colors the runs."""
    crossed = len(runs) > 1 and len(names) > 1
    for number, (run, scalars) in enumerate(runs.items()):
        for color, name in enumerate(names):
            if name not in scalars:
                continue
            at, value = scalars[name].T
            axis.plot(
                np.abs(at),
                value,
                _STYLES[number % 4] if crossed else '-',
                color=f'C{(color if len(names) > 1 else number) % 10}',
                linewidth=1.2,
                marker='.' if len(at) < 8 else None,
                label=name if len(names) > 1 else run,
            )
            axis.set_xlabel('epoch' if at[0] < 0 else 'iteration', fontsize=7)
    handles = axis.get_lines()
    if crossed:
        colors = [(f'C{i % 10}', '-', name) for i, name in enumerate(names)]
        lines = [('gray', _STYLES[i % 4], run) for i, run in enumerate(runs)]
        handles = [
            axis.plot([], [], style, color=color, label=text)[0]
            for color, style, text in (*colors, *lines)
        ]
    if len(names) > 1 or len(runs) > 1:
        axis.legend(handles=handles, fontsize=6)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.25)


def draw_step_losses(losses: Mapping[str, Sequence[float]]) -> Figure:
    """Draw the loss of each region that is predicted, over checkpoints.

    Args:
        losses: By checkpoint in order, loss of R2 to RN.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(6.4, 4), layout='constrained')
    axis = figure.subplots()
    names = list(losses)
    for step in range(max(map(len, losses.values()))):
        values = [losses[n][step] if step < len(losses[n]) else np.nan for n in names]
        axis.plot(range(len(names)), values, 'o-', label=f'R{step + 2}')
    axis.set_xticks(range(len(names)), names, fontsize=8)
    axis.set_ylabel('smooth L1 loss of a patch')
    axis.set_title('loss of each region that is predicted', fontsize=10)
    axis.legend(fontsize=8)
    axis.grid(alpha=0.25)
    return figure
