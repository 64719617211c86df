"""What every test shares."""

import sys
from functools import cache

import pytest

from tests import quick_python

# Before anything of ours is imported, in each process that runs tests itself.
if not any(word.startswith(('-n', '--numprocesses')) for word in sys.argv):
    quick_python.serve()


@pytest.fixture(autouse=True)
def mmpretrain_scope():
    """Runners of other tests leave their default scope behind; start from ours."""
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


@pytest.fixture(scope='session', autouse=True)
def quick_configs():
    """Leave out what takes most of a small run's time, and is the host's.

    It lays the texts of configs out, and reads some hundred files for each base named
    as ``mmpretrain::``. Processes of their own do all that.
    """
    from mmengine.fileio import load

    with pytest.MonkeyPatch.context() as patch:
        layout = 'yapf.yapflib.yapf_api.FormatCode'
        patch.setattr(layout, lambda text, **kwargs: (text, True))
        patch.setattr('mmengine.config.utils.load', cache(load))
        yield
