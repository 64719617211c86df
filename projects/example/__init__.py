"""A method of one's own, to copy and to change: see docs/extend.md."""

from .method import RandomSegments, SpreadHead

__all__ = ['RandomSegments', 'SpreadHead']
