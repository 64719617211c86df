"""MAE with the discriminative regions of dseq_mm as its masks."""

from .mae import DiscriminativeMAE, OrderedMAEViT

__all__ = ['DiscriminativeMAE', 'OrderedMAEViT']
