"""Pictures of what the method does, drawn from arrays."""

from .curves import draw_curves, draw_step_losses, read_scalars
from .grid import Cell, draw_grid
from .regions import draw_regions

__all__ = [
    'Cell',
    'draw_curves',
    'draw_grid',
    'draw_regions',
    'draw_step_losses',
    'read_scalars',
]
