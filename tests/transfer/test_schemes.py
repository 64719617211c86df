"""On no road into MMEngine's loader is a file unpickled."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import load_checkpoint as load_by_mmengine
from torch import nn

from dseq_mm.cli.processes import leave_group
from dseq_mm.transfer import checkpoint
from dseq_mm.transfer.checkpoint import install_safe_loader, load_from_safe_http

ADDRESSES = [
    'torchvision://resnet18',
    'modelzoo://resnet18',
    'open-mmlab://detectron/resnet50_caffe',
    'openmmlab://detectron/resnet50_caffe',
    'mmcls://resnet50_v1d',
    'pavi://model',
    's3://bucket/a.pth',
    'petrel://bucket/a.pth',
    'cluster:s3://bucket/a.pth',
    'cluster:petrel://bucket/a.pth',
]


@pytest.fixture(autouse=True)
def safe_loader():
    """Our loader in the host, which gets its own back."""
    before = dict(CheckpointLoader._schemes)
    install_safe_loader()
    yield
    CheckpointLoader._schemes = before


class Recorder(SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if 'cut' in self.path:  # the connection is lost
            self.send_response(200)
            self.send_header('Content-Length', '100000')
            self.end_headers()
            self.wfile.write(b'PK\x03\x04')
            return
        super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder, its address, and what was asked for."""
    folder = tmp_path / 'served'
    folder.mkdir()
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    handler = partial(Recorder, directory=str(folder))
    server = ThreadingHTTPServer(('127.0.0.1', 0), handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f'http://127.0.0.1:{server.server_port}', server.asked
    server.shutdown()
    thread.join()
    server.server_close()


def kept(tmp_path):
    """Files in the folder of downloads."""
    found = (tmp_path / 'home' / 'hub' / 'checkpoints').rglob('*')
    return sorted(path.name for path in found if path.is_file())


@pytest.mark.parametrize('address', ADDRESSES)
def test_other_schemes_are_refused(address):
    with pytest.raises(ValueError, match='Download the file and give its path'):
        load_by_mmengine(nn.Linear(1, 1), address)


def test_no_loader_of_the_host_is_left():
    loaders = CheckpointLoader._schemes
    assert {loader.__module__ for loader in loaders.values()} == {checkpoint.__name__}
    assert len(loaders) > 10  # what has to be replaced is there
    with pytest.raises(FileNotFoundError, match='not a file'):
        load_by_mmengine(nn.Linear(1, 1), 'unheard-of://a.pth')


def test_http_is_downloaded_once(served, tmp_path):
    folder, address, asked = served
    for name, value in (('one', 1.0), ('two', 2.0)):
        (folder / name).mkdir()
        weights = dict(weight=torch.full((1, 1), value), bias=torch.zeros(1))
        torch.save(weights, folder / name / 'epoch_1.pth')
    for _ in range(2):
        for name, value in (('one', 1.0), ('two', 2.0)):
            layer = nn.Linear(1, 1)
            load_by_mmengine(layer, f'{address}/{name}/epoch_1.pth?download=1')
            assert layer.weight.item() == value
    assert len(asked) == 2 and kept(tmp_path) == ['epoch_1.pth'] * 2


def test_safetensors_over_http(served, tmp_path):
    from safetensors.torch import save_file

    folder, address, _ = served
    save_file(dict(weight=torch.ones(1, 1)), folder / 'a.safetensors')
    loaded = load_from_safe_http(f'{address}/a.safetensors')
    assert loaded['state_dict']['weight'].item() == 1


class Part(BaseModule):
    def __init__(self, source):
        super().__init__(init_cfg=dict(type='Pretrained', checkpoint=source))
        self.layer = nn.Linear(1, 1)


def test_code_over_http_is_not_run(served, tmp_path, attack):
    folder, address, _ = served
    marker = tmp_path / 'ran'
    torch.save(dict(state_dict={}, x=attack(marker)), folder / 'bad.pth')
    for _ in range(2):
        with pytest.raises(ValueError, match=f'{address}/bad.pth .*never runs code'):
            Part(f'{address}/bad.pth').init_weights()
    assert not marker.exists() and kept(tmp_path) == []
    torch.load(folder / 'bad.pth', weights_only=False)  # the attack itself works
    assert marker.exists()


@pytest.mark.parametrize('name', ['none.pth', 'cut.pth', 'page.pth', ''])
def test_failed_downloads_leave_nothing(served, tmp_path, name):
    folder, address, _ = served
    (folder / 'page.pth').write_text('<html>Please log in</html>')
    with pytest.raises(ValueError, match='could not be downloaded') as error:
        load_from_safe_http(f'{address}/{name}')
    assert '\n' not in str(error.value) and kept(tmp_path) == []


def test_nobody_listens(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    with pytest.raises(ValueError, match='could not be downloaded'):
        load_from_safe_http('http://127.0.0.1:1/a.pth')


def _rank(rank, store, address, out):
    import os

    os.environ['LOCAL_RANK'] = str(rank)
    dist.init_process_group(
        'gloo', init_method=f'file://{store}', rank=rank, world_size=2
    )
    seen = []
    for name in ('good', 'none'):
        try:
            seen.append(load_from_safe_http(f'{address}/{name}.pth')['a'].item())
        except ValueError as error:
            seen.append(str(error))
    torch.save(seen, f'{out}.{rank}')
    leave_group()


def test_one_process_of_a_machine_downloads(served, tmp_path):
    folder, address, asked = served
    torch.save(dict(a=torch.tensor(5)), folder / 'good.pth')
    out = tmp_path / 'seen'
    arguments = str(tmp_path / 'store'), address, str(out)
    mp.start_processes(_rank, arguments, nprocs=2, start_method='fork')
    first, second = (torch.load(f'{out}.{rank}') for rank in range(2))
    assert first[0] == second[0] == 5
    assert 'could not be downloaded' in first[1] and 'rank 0' in second[1]
    assert asked == ['/good.pth', '/none.pth']
