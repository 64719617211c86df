"""What every test shares."""

import pytest
from mmengine.registry import DefaultScope


@pytest.fixture(autouse=True)
def mmpretrain_scope():
    """Runners of other tests leave their default scope behind; start from ours."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield
