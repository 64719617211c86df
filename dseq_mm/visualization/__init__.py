"""Pictures of what the method does."""

from .regions import draw_regions

__all__ = ['draw_regions']
