"""DSeq-JEPA and I-JEPA pre-training for MMPretrain.

Importing the package registers all its parts, so that ``custom_imports =
dict(imports=['dseq_mm'])`` is enough for any mmpretrain, mmdet or mmseg config. In a
program without the host the parts wait for it, see :mod:`dseq_mm.registration`;
:mod:`~dseq_mm.plan`, :mod:`~dseq_mm.visibility`, :mod:`~dseq_mm.randomness`,
:mod:`~dseq_mm.clock` and :mod:`~dseq_mm.regions` never need it.
"""

from importlib import import_module

from .registration import (
    register_all,
    register_with_host,
    registers_by_itself,
)
from .version import __version__

__all__ = [  # noqa: F822
    '__version__',
    'embed',
    'find_regions',
    'load_encoder',
    'register_all',
]

_PARTS = ('data', 'engine', 'evaluation', 'models', 'regions', 'transfer')
#: What is used without a config, and where it is.
_VERBS = dict.fromkeys(('embed', 'find_regions', 'load_encoder'), 'evaluation')


def __getattr__(name: str):
    """Import a part that was not imported yet, as in ``dseq_mm.models.JEPA``."""
    if name in _PARTS:
        return import_module(f'.{name}', __name__)
    if name in _VERBS:
        return getattr(import_module(f'.{_VERBS[name]}', __name__), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


if not registers_by_itself():
    register_with_host()
