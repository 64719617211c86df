"""Several processes on the CPU."""

import socket

import pytest
import torch
from mmengine.config import Config
from mmengine.dist import is_distributed
from mmengine.registry import MODELS
from torch import nn

from dseq_mm.cli import processes
from dseq_mm.utils.configs import shipped_configs
from tests.libraries import need


@pytest.fixture
def group(monkeypatch):
    """The environment of one process of a group, which ends with the test."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    for name, value in dict(
        RANK=0, WORLD_SIZE=1, LOCAL_RANK=0, MASTER_ADDR='127.0.0.1', MASTER_PORT=port
    ).items():
        monkeypatch.setenv(name, str(value))
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def test_cpu_processes_get_gloo_and_no_device(group):
    cfg = Config(dict(model_wrapper_cfg=dict(find_unused_parameters=True)))
    assert processes.prepare_distributed(cfg, 'pytorch') == []
    assert torch.distributed.get_backend() == 'gloo'
    assert cfg.launcher == 'pytorch'
    assert cfg.model_wrapper_cfg.to_dict() == dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=True,
        device_ids=None,
    )


def test_sync_bn_does_not_run_on_the_cpu(group):
    need('mmseg')
    path = next(p for p in shipped_configs() if p.stem.startswith('upernet_digits'))
    cfg = Config.fromfile(path)
    assert processes.prepare_distributed(cfg, 'none') == []
    cfg.model.backbone.init_cfg = None
    assert 'SyncBN' in cfg.pretty_text  # or this test shows nothing
    (note,) = processes.prepare_distributed(cfg, 'pytorch')
    assert 'SyncBN' in note and 'BN' in note
    with MODELS.switch_scope_and_registry('mmseg') as registry:
        model = registry.build(cfg.model)
    kinds = {type(module) for module in model.modules()}
    assert nn.BatchNorm2d in kinds and nn.SyncBatchNorm not in kinds
    wrapped = nn.parallel.DistributedDataParallel(model)
    wrapped.module.backbone(torch.zeros(1, 3, *[model.backbone.img_size[0]] * 2))


def test_sync_bn_is_found_in_lists_and_under_a_scope(group):
    necks = [dict(norm_cfg=dict(type='mmengine.SyncBN', eps=1e-3)), dict(type=None)]
    cfg = Config(dict(model=dict(neck=necks, norm_cfg=dict(type='SyncBN'))))
    assert len(processes.prepare_distributed(cfg, 'pytorch')) == 1
    assert cfg.model.neck[0].norm_cfg == dict(type='BN', eps=1e-3)
    assert cfg.model.norm_cfg.type == 'BN'


def test_one_process_and_gpus_are_left_to_mmengine(monkeypatch):
    cfg = Config(dict(model=dict(norm_cfg=dict(type='SyncBN'))))
    assert processes.prepare_distributed(cfg, 'none') == []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert processes.prepare_distributed(cfg, 'slurm') == []
    assert cfg.launcher == 'slurm' and 'model_wrapper_cfg' not in cfg
    assert cfg.model.norm_cfg.type == 'SyncBN' and not is_distributed()


def test_slurm_without_gpu_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError, match='needs GPUs'):
        processes.prepare_distributed(Config(dict()), 'slurm')
