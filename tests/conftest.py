"""What every test shares."""

import sys
from functools import cache
from pathlib import Path

import pytest

from tests import quick_python

#: What ``tools/run_tests.sh --fast`` leaves out, with all that is below.
SLOW = (
    # whole programs
    'distributed',
    'end_to_end',
    'projects',
    'test_packaging.py',
    'test_pages.py',
    'test_weights_page.py',
    'test_registration.py',
    'tools',
    'transfer/test_tools_read_safely.py',
    # every config, every kind of data, the hosts' own models
    'cli/test_first_step.py',
    'cli/test_valid_options.py',
    'data/checks',
    'data/test_clevr.py',
    'data/test_digit_files.py',
    'data/test_files.py',
    'data/test_image_folder.py',
    'data/test_keyed_dataset.py',
    'report',
    'runs/study',
    'runs/transfer',
    'test_ablation_configs.py',
    'models/test_step_options.py',
    'test_baselines.py',
    'test_compiled.py',
    'test_configs.py',
    'test_transfer_configs.py',
    'transfer/test_export.py',
    'transfer/test_hugging_face.py',
    'transfer/test_layouts.py',
    'transfer/test_initialize.py',
    'transfer/test_schemes.py',
    'transfer/test_strict_in_hosts.py',
    # trainings
    'engine/test_clock.py',
    'engine/test_course.py',
    'engine/test_data_hook.py',
    'evaluation',
)
FAST_SECONDS = 5.0
"""A test that takes longer is named if it is not marked slow."""

# Before anything of ours is imported, in each process that runs tests itself.
if not any(word.startswith(('-n', '--numprocesses')) for word in sys.argv):
    quick_python.serve()


def is_slow(path):
    """Tell whether a test file stands in a slow place."""
    here = Path(__file__).parent
    return bool({path, *path.parents} & {here / place for place in SLOW})


def pytest_ignore_collect(collection_path, config):
    """Do not even read the slow files when all of them are left out."""
    left_out = config.getoption('markexpr') == 'not slow' and is_slow(collection_path)
    return True if left_out else None


def pytest_collection_modifyitems(items):
    """Mark what is slow by where it stands, so that no new test has to be marked."""
    for item in items:
        if is_slow(item.path):
            item.add_marker('slow')


def pytest_terminal_summary(terminalreporter):
    """Name the tests that are too slow for what they are marked as."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            duration = getattr(report, 'duration', 0)
            if duration > FAST_SECONDS and 'slow' not in report.keywords:
                terminalreporter.write_line(
                    f'{report.nodeid} took {duration:.0f} s and is not marked slow: '
                    'see tests/conftest.py'
                )


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


@pytest.fixture
def safe_loader():
    """Our loader in the host, as in our tools; the host gets its own back.

    MMEngine's own refuses each of its checkpoints where ``torch.load`` reads weights
    alone by default, which is since PyTorch 2.6; OneDL's does not.
    """
    from mmengine.runner import CheckpointLoader

    from dseq_mm.transfer.checkpoint import install_safe_loader

    before = dict(CheckpointLoader._schemes)
    install_safe_loader()
    yield
    CheckpointLoader._schemes = before
