"""What the pretending tools of the tests leave behind."""

import pytest
import torch


@pytest.fixture(scope='session')
def trainers_checkpoint(tmp_path_factory):
    """The least that is taken for a checkpoint of a training."""
    path = tmp_path_factory.mktemp('stub') / 'epoch_1.pth'
    meta = dict(epoch=1, iter=1, time='20260101_000000')
    torch.save(dict(meta=meta, state_dict={}, optimizer={}, message_hub={}), path)
    return path


@pytest.fixture(autouse=True)
def stub_checkpoint(trainers_checkpoint, monkeypatch):
    """What the pretending train.py leaves behind."""
    monkeypatch.setenv('STUB_CHECKPOINT', str(trainers_checkpoint))
