"""EMA target encoder and kNN hook of dseq_mm in mmpretrain's BYOL."""

from .byol import BYOLWithTargetEncoder

__all__ = ['BYOLWithTargetEncoder']
