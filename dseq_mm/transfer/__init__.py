"""Taking the pre-trained backbone elsewhere: safe reading, export, strict loading."""

from .checkpoint import install_safe_loader, load_checkpoint
from .export import export_backbone
from .initialize import KeyReport, StrictPretrained, load_backbone

__all__ = [
    'KeyReport',
    'StrictPretrained',
    'export_backbone',
    'install_safe_loader',
    'load_backbone',
    'load_checkpoint',
]
