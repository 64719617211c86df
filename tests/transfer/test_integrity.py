"""A damaged file is refused by name, or read exactly as it was: never otherwise."""

import json
import os
import pickle
import random
import stat
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import load_file, save_file
from torch import nn

from dseq_mm.transfer import integrity
from dseq_mm.transfer.checkpoint import (
    DIGEST_KEY,
    METADATA_KEY,
    check_whole,
    is_whole,
    load_checkpoint,
    read_meta,
)
from dseq_mm.transfer.export import export_backbone
from dseq_mm.transfer.integrity import replace_durably


def plain(value):
    """Contents with every bit of them, comparable by ``==``."""
    if isinstance(value, torch.Tensor):
        data = value.contiguous().reshape(-1).view(torch.uint8).tolist()
        return str(value.dtype), list(value.shape), data
    if isinstance(value, HistoryBuffer):
        return value.max_length, plain(value.data)
    if isinstance(value, np.ndarray | np.generic):
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, dict):
        return [(key, plain(part)) for key, part in sorted(value.items(), key=str)]
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value


def training_checkpoint(path):
    """What a runner writes, of a network with two layers."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3))
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.randn(4, 5)).sum().backward()
    optimizer.step()
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    contents = dict(
        meta=dict(epoch=2, cfg='a = 1', best=np.float64(3.5), seeds=np.arange(4)),
        state_dict=dict(net.state_dict(), empty=torch.zeros(0, 2)),
        optimizer=optimizer.state_dict(),
        message_hub=dict(log_scalars=dict(loss=history)),
    )
    torch.save(contents, path)
    return contents


@pytest.fixture
def whole(tmp_path, build_vit, request):
    """A whole file of a kind, and what it holds."""
    path = tmp_path / f'whole{request.param}'
    if request.param == '.pth':
        return path, training_checkpoint(path)
    arch = dict(embed_dims=4, num_layers=1, num_heads=2, feedforward_channels=4)
    state = build_vit(arch=arch, img_size=8, patch_size=4).state_dict()
    state = {f'target_encoder.module.{key}': value for key, value in state.items()}
    torch.save(dict(state_dict=state, meta=dict(epoch=1)), tmp_path / 'source.pth')
    meta = export_backbone(tmp_path / 'source.pth', path)
    return path, dict(state_dict=load_file(path), meta=meta)


def damages(raw, seed):
    """Damaged copies of a file, as disks, memories and copies make them."""
    chance = random.Random(seed)
    for _ in range(150):  # a bit
        damaged = bytearray(raw)
        damaged[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        yield bytes(damaged)
    for _ in range(40):  # a bit where the directory of a zip, or of its tensors, is
        damaged = bytearray(raw)
        place = chance.randrange(min(len(raw), 1400))
        damaged[place if chance.random() < 0.5 else -1 - place] ^= 1 << place % 8
        yield bytes(damaged)
    for start in range(0, len(raw), 512):  # a sector of zeros
        end = min(start + 512, len(raw))
        yield raw[:start] + bytes(end - start) + raw[end:]
    for _ in range(40):  # the end is missing
        yield raw[: chance.randrange(len(raw))]
    for _ in range(60):  # two blocks have changed places
        size = chance.choice([8, 64, 512])
        one, other = (size * chance.randrange(len(raw) // size) for _ in 'ab')
        damaged = bytearray(raw)
        damaged[one : one + size] = raw[other : other + size]
        damaged[other : other + size] = raw[one : one + size]
        yield bytes(damaged[: len(raw)])


def outcome(read, path, expected):
    """'same' or 'refused'; whatever else happens fails."""
    try:
        got = read(path)
    except ValueError as error:
        assert str(path) in str(error) and '\n' not in str(error)
        return 'refused'
    assert plain(got) == plain(expected)
    return 'same'


@pytest.mark.slow
@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('whole', ['.pth', '.safetensors'], indirect=True)
def test_damage_is_refused_or_harmless(whole, tmp_path, seed):
    path, contents = whole
    assert plain(load_checkpoint(path)) == plain(contents) and is_whole(path)
    damaged = tmp_path / f'damaged{path.suffix}'
    seen = []
    for raw in damages(path.read_bytes(), seed):
        damaged.write_bytes(raw)
        seen.append(outcome(load_checkpoint, damaged, contents))
        if seen[-1] == 'same' and path.suffix == '.pth':
            assert plain(read_meta(damaged)) == plain(contents['meta'])
        assert is_whole(damaged) == (seen[-1] == 'same')
    assert seen.count('refused') > 0.5 * len(seen)


@pytest.mark.slow
def test_every_part_of_the_directory_of_a_zip(tmp_path):
    """Each bit of it: it is a part of each checkpoint, whatever its size."""
    path, damaged = tmp_path / 'whole.pth', tmp_path / 'damaged.pth'
    contents = dict(weight=torch.arange(3.0), empty=torch.zeros(0))
    torch.save(contents, path)
    raw = path.read_bytes()
    seen = []
    for place in range(8 * raw.index(b'PK\x01\x02'), 8 * len(raw)):
        copy = bytearray(raw)
        copy[place // 8] ^= 1 << place % 8
        damaged.write_bytes(bytes(copy))
        seen.append(outcome(load_checkpoint, damaged, contents))
        assert is_whole(damaged) == (seen[-1] == 'same')
    assert {'same', 'refused'} == set(seen)  # a date is harmless


def test_a_record_that_pretends_to_be_a_folder(tmp_path):
    """PyTorch leaves the memory of its tensor as it was, and says nothing."""
    path = tmp_path / 'a.pth'
    torch.save(dict(weight=torch.arange(1000.0)), path)
    raw = bytearray(path.read_bytes())
    entry = raw.index(b'PK\x01\x02', raw.index(b'PK\x01\x02') + 1)
    while b'/data/0' not in raw[entry + 46 : entry + 66]:
        entry = raw.index(b'PK\x01\x02', entry + 1)
    raw[entry + 38] |= 0x10  # external attributes
    path.write_bytes(bytes(raw))
    assert zipfile.ZipFile(path).testzip() is None
    with pytest.raises(ValueError, match=r'a\.pth cannot be read .*copy it again'):
        load_checkpoint(path)


def test_meta_alone_is_read(tmp_path, monkeypatch):
    path = tmp_path / 'epoch_2.pth'
    training_checkpoint(path)
    raw = bytearray(path.read_bytes())
    raw[raw.rindex(b'/data/0', 0, raw.index(b'PK\x01\x02')) + 80] ^= 1
    path.write_bytes(bytes(raw))
    assert not is_whole(path)
    with pytest.raises(ValueError, match='cannot be read'):
        check_whole(path)
    names = []
    read = zipfile.ZipExtFile.read
    monkeypatch.setattr(
        zipfile.ZipExtFile, 'read', lambda *a: names.append(a[0].name) or read(*a)
    )
    lazy, load = [], torch.load
    monkeypatch.setattr(
        torch, 'load', lambda *a, **k: (lazy.append(k['mmap']), load(*a, **k))[1]
    )
    assert read_meta(path)['epoch'] == 2 and lazy == [True]
    assert names and not [name for name in names if '/data/' in name]
    raw[raw.index(b'epoch') + 1] ^= 1  # in the pickle
    path.write_bytes(bytes(raw))
    with pytest.raises(ValueError, match='cannot be read'):
        read_meta(path)
    with pytest.raises(FileNotFoundError, match='not a file'):
        read_meta(tmp_path / 'none.pth')
    torch.save(dict(weight=torch.ones(2)), path)
    assert read_meta(path) == {}


def test_meta_is_read_without_running_code(tmp_path, attack):
    path, marker = tmp_path / 'bad.pth', tmp_path / 'ran'
    for archive in (True, False):
        torch.save(
            dict(meta=attack(marker)), path, _use_new_zipfile_serialization=archive
        )
        with pytest.raises(ValueError, match='never runs code'):
            read_meta(path)
        assert not marker.exists()


def test_files_without_checksum(tmp_path):
    path = tmp_path / 'old.pth'
    contents = dict(state_dict=dict(weight=torch.arange(3.0)), meta=dict(epoch=1))
    torch.save(contents, path, _use_new_zipfile_serialization=False)
    assert plain(load_checkpoint(path)) == plain(contents)
    assert read_meta(path) == dict(epoch=1) and is_whole(path)
    path.write_bytes(path.read_bytes()[:-4])
    assert not is_whole(path)
    path.write_bytes(b'')
    assert not is_whole(path) and not is_whole(tmp_path / 'none.pth')
    path.write_bytes(pickle.dumps(contents['meta']))
    assert not is_whole(path)

    path = tmp_path / 'old.safetensors'
    ours = json.dumps(dict(format='dseq_mm.backbone', format_version=1))
    for metadata in ({METADATA_KEY: ours}, dict(note='x'), None):
        save_file(contents['state_dict'], path, metadata)
        assert load_checkpoint(path)['state_dict']['weight'].tolist() == [0, 1, 2]
    assert is_whole(path)


def test_an_export_needs_both_its_checksums(tmp_path):
    path, state = tmp_path / 'a.safetensors', dict(weight=torch.arange(3.0))
    meta = dict(format='dseq_mm.backbone', format_version=2)
    total = integrity.digest(state, meta)
    inner, outer = json.dumps({**meta, DIGEST_KEY: total}), {DIGEST_KEY: total}
    save_file(state, path, {METADATA_KEY: inner, **outer})
    assert load_checkpoint(path)['meta'] == meta == read_meta(path)
    lost = [
        {METADATA_KEY: inner},
        {METADATA_KEY: json.dumps(meta), **outer},
        {METADATA_KEY: json.dumps(meta)},
        {'eseq_mm': inner},
        outer,
    ]
    for metadata in lost:
        save_file(state, path, metadata)
        with pytest.raises(ValueError, match=r'a\.safetensors .*checksum'):
            load_checkpoint(path)
    save_file(dict(weight=-state['weight']), path, {METADATA_KEY: inner, **outer})
    with pytest.raises(ValueError, match=r'a\.safetensors .*checksum'):
        check_whole(path)


def test_digest_sees_names_types_shapes_and_bytes():
    state = dict(a=torch.zeros(2, 3), b=torch.tensor(1.0))
    others = [
        dict(a=torch.zeros(2, 3), c=torch.tensor(1.0)),
        dict(a=torch.zeros(3, 2), b=torch.tensor(1.0)),
        dict(a=torch.zeros(2, 3, dtype=torch.int32), b=torch.tensor(1.0)),
        dict(a=-torch.zeros(2, 3), b=torch.tensor(1.0)),
    ]
    base = integrity.digest(state, dict(x=1))
    assert integrity.digest(dict(reversed(state.items())), dict(x=1)) == base
    turned = dict(a=torch.zeros(3, 2).T, b=state['b'])  # the same, not contiguous
    assert integrity.digest(turned, dict(x=1)) == base
    found = {integrity.digest(other, dict(x=1)) for other in others}
    found |= {base, integrity.digest(state, dict(x=2))}
    assert len(found) == len(others) + 2


def test_replacing_is_durable(tmp_path, monkeypatch):
    draft, out = tmp_path / 'draft', tmp_path / 'out'
    draft.write_text('new')
    out.write_text('old')
    calls = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(number):
        calls.append('folder' if stat.S_ISDIR(os.fstat(number).st_mode) else 'file')
        fsync(number)

    monkeypatch.setattr(os, 'fsync', watched_fsync)
    monkeypatch.setattr(
        os, 'replace', lambda *a: (calls.append('move'), replace(*a))[1]
    )
    replace_durably(draft, out)
    assert out.read_text() == 'new' and not draft.exists()
    assert calls == ['file', 'move', 'folder']

    def full(number):
        raise OSError('no space')

    draft.write_text('newer')
    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='no space'):
        replace_durably(draft, out)
    assert out.read_text() == 'new'
