"""A classifier that learns from labels and from a JEPA loss at once."""

from .jepa_classifier import JEPAClassifier

__all__ = ['JEPAClassifier']
