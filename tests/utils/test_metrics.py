"""What is written is JSON, complete, and written once."""

import json

import numpy as np
import pytest
import torch

from dseq_mm.utils.metrics import write_metrics


def test_metrics_become_plain_json(tmp_path, capsys):
    path = tmp_path / 'made' / 'metrics.json'
    metrics = {
        'mIoU': np.float64(41.5),
        'mAP': np.float32(0.5),
        'count': 3,
        'top1': torch.tensor(12.5),
        'per class': np.array([1.0, np.nan]),
        'undefined': float('nan'),
        'name': 'text',
    }
    write_metrics(metrics, path)
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == {
        'mIoU': 41.5,
        'mAP': 0.5,
        'count': 3,
        'top1': 12.5,
        'per class': [1.0, None],
        'undefined': None,
        'name': 'text',
    }
    assert '"mIoU": 41.5' in capsys.readouterr().out


def test_metrics_are_written_by_the_first_process_alone(tmp_path, monkeypatch):
    monkeypatch.setattr('mmengine.dist.utils.get_rank', lambda group=None: 1)
    write_metrics(dict(a=1), tmp_path / 'metrics.json')
    assert not list(tmp_path.iterdir())
