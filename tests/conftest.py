"""What every test shares."""

import sys
from functools import cache
from pathlib import Path

import pytest

from tests import quick_python

#: What a developer's run leaves out: whole programs, and what takes its time. A test of
#: the others that takes long is named at the end of that run.
SLOW = (
    'cli/test_first_step.py',
    'data/test_digit_scenes.py',
    'data/test_keyed_dataset.py',
    'data/test_own_images.py',
    'distributed/',
    'end_to_end/',
    'engine/test_course.py',
    'engine/test_data_hook.py',
    'evaluation/test_features.py',
    'projects/',
    'regions/test_backends.py',
    'runs/',
    'test_ablation_configs.py',
    'test_baselines.py',
    'test_configs.py',
    'test_packaging.py',
    'test_registration.py',
    'test_transfer_configs.py',
    'tools/',
    'transfer/test_export.py',
    'transfer/test_integrity.py',
    'transfer/test_strict_in_hosts.py',
    'transfer/test_tools_read_safely.py',
)

# Before anything of ours is imported, in each process that runs tests itself.
if not any(word.startswith(('-n', '--numprocesses')) for word in sys.argv):
    quick_python.serve()


def pytest_collection_modifyitems(items):
    """Mark what is slow."""
    root = Path(__file__).parent
    for item in items:
        if item.path.relative_to(root).as_posix().startswith(SLOW):
            item.add_marker(pytest.mark.slow)


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
