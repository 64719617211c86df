"""DMT-JEPA (arXiv 2405.17995), built on dseq_mm from outside it."""

from .aggregation import LocalAggregation
from .dmt_jepa import DMTJEPA

__all__ = ['DMTJEPA', 'LocalAggregation']
