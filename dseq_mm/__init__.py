"""DSeq-JEPA and I-JEPA pre-training for MMPretrain.

Importing the package registers all its parts, so that ``custom_imports =
dict(imports=['dseq_mm'])`` is enough for any mmpretrain, mmdet or mmseg config.
"""

import sys

from .version import __version__

__all__ = ['__version__', 'register_all']


def register_all() -> None:
    """Register every part of the package with mmpretrain's registries.

    Importing ``dseq_mm`` calls it; a second call does nothing.

    Raises:
        ImportError: If what is installed will not do, with the commands that mend it.
    """
    from .utils.stack import check_stack

    check_stack()

    from .utils.command import quietly

    with quietly():
        from . import data, engine, evaluation, models, regions, transfer  # noqa: F401
    from .transfer.classifier import install_classifier_filter
    from .utils.configs import register_config_scopes

    install_classifier_filter()
    register_config_scopes()


def _needs_no_parts() -> bool:
    """Whether Python was started with ``-m`` and a module that needs no other.

    The doctor must come up where the imports fail, the launcher of processes soon, and
    Python imports this file first.
    """
    modules = ('dseq_mm.doctor', 'dseq_mm.utils.torchrun')
    names = {mark + name for name in modules for mark in ('', '-m')}
    return sys.argv[0] == '-m' and not names.isdisjoint(sys.orig_argv)


if not _needs_no_parts():
    register_all()
