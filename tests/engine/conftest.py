"""What tests of trainings share."""

import pytest
from mmengine.runner import CheckpointLoader

from dseq_mm.transfer.checkpoint import install_safe_loader


@pytest.fixture
def safe_loader():
    """Our loader in the host, as in our tools; the host gets its own back.

    MMEngine's own refuses each of its checkpoints where ``torch.load`` reads weights
    alone by default, which is since PyTorch 2.6; OneDL's does not.
    """
    before = dict(CheckpointLoader._schemes)
    install_safe_loader()
    yield
    CheckpointLoader._schemes = before
