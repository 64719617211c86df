"""How well saliency proxies find the figure, block by block."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

_PANELS = dict(
    saliency_auc='AUC of figure against ground',
    pointing='most salient patch on the figure',
    r1_figure='share of R1 that is figure',
)


def draw_proxies(rows: Sequence[Any]) -> Figure:
    """Draw a line for each proxy over its blocks; those without blocks are level.

    Args:
        rows: With ``proxy``, ``block`` and the numbers, as
            :func:`dseq_mm.evaluation.proxies.measure_proxies` returns them.

    Returns:
        The figure: what chance gives is dashed.
    """
    figure = Figure(figsize=(12, 3.6), layout='constrained')
    axes = figure.subplots(1, len(_PANELS))
    names = list(dict.fromkeys(row.proxy for row in rows))
    for axis, (number, title) in zip(axes, _PANELS.items(), strict=True):
        for color, name in enumerate(names):
            own = [row for row in rows if row.proxy == name]
            values = [getattr(row, number) for row in own]
            if own[0].block is None:
                axis.axhline(values[0], color=f'C{color}', label=name)
            else:
                blocks = [row.block for row in own]
                axis.plot(blocks, values, '.-', color=f'C{color}', label=name)
        chance = 0.5 if number == 'saliency_auc' else rows[0].figure
        axis.axhline(chance, color='gray', linestyle='--', linewidth=1)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel('block', fontsize=8)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_ylim(0, 1)
        axis.grid(alpha=0.25)
    axes[0].legend(fontsize=7)
    return figure
