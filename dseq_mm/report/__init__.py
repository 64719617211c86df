"""One page of HTML about a training."""

from .page import write_report

__all__ = ['write_report']
