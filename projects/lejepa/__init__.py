"""LeJEPA: views of an image agree, and their embeddings are a standard normal."""

from .lejepa import LeJEPA

__all__ = ['LeJEPA']
