"""Checkpoints are read as data: what a runner writes comes back, code does not run."""

import os
import pickle
import struct

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader, Runner
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import Dataset

from dseq_mm.transfer.checkpoint import (
    install_safe_loader,
    load_checkpoint,
    load_from_safe_local,
)
from dseq_mm.transfer.config_text import read_config_text


class Regression(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, inputs, mode='tensor'):
        return dict(loss=self.layer(inputs).pow(2).mean())


class Points(Dataset):
    metainfo = dict(classes=('a', 'b'), palette=np.zeros((2, 3), dtype=np.uint8))

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(inputs=torch.full((2,), float(index)))


class Attack:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return exec, (f'open({str(self.path)!r}, "w").close()',)


@pytest.fixture
def host_loader():
    """MMEngine's loaders, put back after a test has replaced one."""
    before = dict(CheckpointLoader._schemes)
    yield
    CheckpointLoader._schemes = before


def make_runner(work_dir, max_epochs=1, **settings):
    return Runner(
        model=Regression(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=Points(),
            batch_size=4,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=max_epochs),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
        param_scheduler=dict(type='CosineAnnealingLR', T_max=4),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
        randomness=dict(seed=0),
        default_scope='mmengine',
        experiment_name=f'{work_dir.name}_{max_epochs}_{os.urandom(4).hex()}',
        **settings,
    )


def test_runner_checkpoint_resumes(tmp_path, host_loader):
    install_safe_loader()
    make_runner(tmp_path).train()
    path = tmp_path / 'epoch_1.pth'

    history = load_checkpoint(path)['message_hub']['log_scalars']['train/loss']
    assert type(history) is HistoryBuffer
    assert len(history.data[0]) == 2 and np.isfinite(history.mean())

    runner = make_runner(tmp_path, max_epochs=2, resume=True, load_from=str(path))
    runner.train()
    assert runner.epoch == 2 and runner.iter == 4
    assert runner.optim_wrapper.optimizer.state_dict()['state'][0]['step'] == 4
    assert len(runner.message_hub.get_scalar('train/loss').data[0]) == 4


def test_allow_list_is_needed_and_temporary(tmp_path):
    path = tmp_path / 'numbers.pth'
    values = dict(
        scalar=np.float32(2), array=np.arange(3, dtype=np.uint32), flag=np.array([True])
    )
    torch.save(values, path)
    before = torch.serialization.get_safe_globals()
    loaded = load_checkpoint(path)
    assert loaded['scalar'] == 2 and (loaded['array'] == values['array']).all()
    assert set(torch.serialization.get_safe_globals()) == set(before)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


@pytest.mark.parametrize('module', ['numpy.core', 'numpy._core'])
def test_names_of_both_numpy_versions(tmp_path, module):
    path = tmp_path / 'array.pth'
    torch.save(dict(array=np.arange(3.0), scalar=np.float64(5)), path)
    own = np.zeros(1).__reduce__()[0].__module__.encode()
    # only the pickle inside of the archive holds the name; lengths are not coded
    raw = pickle.dumps(dict(array=np.arange(3.0), scalar=np.float64(5)), protocol=2)
    assert own in raw
    renamed = raw.replace(own, f'{module}.multiarray'.encode())
    write_archive(path, renamed)
    loaded = load_checkpoint(path)
    assert loaded['array'].tolist() == [0, 1, 2] and loaded['scalar'] == 5


def write_archive(path, raw_pickle):
    """A file as torch.save makes it, around a pickle of our choice."""
    writer = torch._C.PyTorchFileWriter(str(path))
    writer.write_record('data.pkl', raw_pickle, len(raw_pickle))
    writer.write_end_of_file()


@pytest.mark.parametrize('trusting', [False, True])
def test_code_is_refused_by_the_runner(tmp_path, host_loader, monkeypatch, trusting):
    install_safe_loader()
    if trusting:  # the switch with which users of old stacks turn safety off
        monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    marker, path = tmp_path / 'ran', tmp_path / 'bad.pth'
    torch.save(dict(state_dict={}, meta=Attack(marker)), path)
    runner = make_runner(tmp_path)
    with pytest.raises(ValueError, match='never runs code'):
        runner.load_checkpoint(str(path))
    with pytest.raises(ValueError, match='never runs code'):
        make_runner(tmp_path, resume=True, load_from=str(path)).train()
    assert not marker.exists()
    torch.load(path, weights_only=False)  # the attack itself works
    assert marker.exists()


def test_plain_pickle_with_code_is_refused(tmp_path, recwarn):
    marker = tmp_path / 'ran'
    for protocol in (0, 2, 4):
        path = tmp_path / f'bad{protocol}.pkl'
        path.write_bytes(pickle.dumps(Attack(marker), protocol=protocol))
        with pytest.raises(ValueError, match='cannot be read|was refused') as refusal:
            load_checkpoint(path)
        assert 'weights_only' not in str(refusal.value)  # advice to run the code
    assert not marker.exists()
    assert not recwarn.list  # the refusal is all that is printed


def test_getattr_reaches_nothing(tmp_path):
    path = tmp_path / 'forged.pth'
    stream = b'\x80\x02c__builtin__\ngetattr\ncmmengine.logging.history_buffer\n'
    stream += b'HistoryBuffer\nX\x08\x00\x00\x00__dict__\x86R.'
    write_archive(path, stream)
    with pytest.raises(ValueError, match='NoneType'):  # nothing comes of it
        load_checkpoint(path)
    stream = b'\x80\x02c__builtin__\ngetattr\nctorch\nSize\n'
    write_archive(path, stream + b'X\x07\x00\x00\x00__doc__\x86R.')
    with pytest.raises(ValueError, match='never runs code'):
        load_checkpoint(path)


def test_a_file_cannot_change_the_statistics_of_the_class(tmp_path, monkeypatch):
    buffer = HistoryBuffer([1.0, 3.0], [1, 1])
    before = dict(HistoryBuffer._statistics_methods)
    path = tmp_path / 'buffer.pth'
    monkeypatch.setattr(HistoryBuffer, '_statistics_methods', dict(mean='forged'))
    torch.save(dict(buffer=buffer), path)
    monkeypatch.undo()
    loaded = load_checkpoint(path)['buffer']
    assert loaded.statistics('mean') == 2.0
    assert HistoryBuffer._statistics_methods == before


def test_globals_that_others_allow_are_not_used(tmp_path):
    path = tmp_path / 'foreign.pth'
    torch.save(dict(point=struct.Struct), path)
    with torch.serialization.safe_globals([(struct.Struct, '_struct.Struct')]):
        torch.load(path, weights_only=True)
        with pytest.raises(ValueError, match='Struct'):
            load_checkpoint(path)
        torch.load(path, weights_only=True)  # and they are there again


def test_config_entry_of_old_checkpoints_is_not_run(tmp_path, host_loader):
    install_safe_loader()
    make_runner(tmp_path).train()
    path, marker = tmp_path / 'epoch_1.pth', tmp_path / 'ran'
    checkpoint = load_checkpoint(path)
    checkpoint['meta']['config'] = f'open({str(marker)!r}, "w").close()'
    torch.save(checkpoint, path)
    make_runner(tmp_path, max_epochs=2, resume=True, load_from=str(path)).train()
    assert not marker.exists()


def test_bad_files_say_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match='downloaded first'):
        load_checkpoint('https://example.org/a.pth')
    with pytest.raises(FileNotFoundError, match='a folder without'):
        load_checkpoint(tmp_path)
    good = tmp_path / 'good.pth'
    torch.save(dict(weight=torch.zeros(100)), good)
    cases = dict(
        truncated=good.read_bytes()[:-200], empty=b'', text=b'hello', zip=b'PK\x03\x04'
    )
    for name, content in cases.items():
        for suffix in ('.pth', '.safetensors'):
            path = tmp_path / (name + suffix)
            path.write_bytes(content)
            with pytest.raises(ValueError, match='copy it again'):
                load_checkpoint(path)
    torch.save([1, 2], good)
    with pytest.raises(ValueError, match='not a checkpoint'):
        load_checkpoint(good)


def test_safetensors_and_map_location(tmp_path):
    path = tmp_path / 'a.safetensors'
    save_file(dict(weight=torch.arange(3.0)), str(path), dict(note='x'))
    for location in ('cpu', None):
        loaded = load_from_safe_local(str(path), location)
        assert loaded['meta'] == dict(note='x')
        assert loaded['state_dict']['weight'].tolist() == [0, 1, 2]
    assert load_checkpoint(path, 'meta')['state_dict']['weight'].device.type == 'meta'


def test_config_text_is_data(tmp_path):
    cfg = Config(
        dict(model=dict(type='A', depth=-2, sizes=[(1, 2)], flag=None), lr=0.1, n='x')
    )
    found = read_config_text(cfg.pretty_text)
    assert found['model'] == dict(type='A', depth=-2, sizes=[[1, 2]], flag=None)
    assert found['lr'] == 0.1 and found['n'] == 'x'
    marker = tmp_path / 'ran'
    text = f'import os\nx = open({str(marker)!r}, "w")\ny = dict(a=1, b=x)\n'
    assert read_config_text(text) == dict(x=None, y=dict(a=1, b=None))
    assert not marker.exists() and read_config_text('(((') == {}
