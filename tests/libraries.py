"""Skipping what needs a library of OpenMMLab that is not there, or not whole."""

from importlib import import_module

import pytest

#: A library's own parts are imported with these modules, and not without them.
PARTS = dict(mmdet=('mmcv.ops', 'mmdet.models'), mmseg=('mmseg.models',))


def need(library):
    """Skip the test unless the models and data sets of a library can be imported.

    ``import mmdet`` and ``import mmseg`` succeed without mmcv's operators, or without
    what OpenMMLab's own MMSegmentation imports and does not require (ftfy).
    """
    for module in PARTS.get(library, ()):
        pytest.importorskip(module)
    return import_module(library)
