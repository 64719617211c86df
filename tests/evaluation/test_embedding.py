"""Features of folders are those of KNNHook; files of all kinds and broken ones."""

import csv
import json
import multiprocessing
import runpy
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS

import dseq_mm
from dseq_mm.cli.processes import leave_group
from dseq_mm.evaluation.embedding import Embeddings, check_table, embed
from dseq_mm.evaluation.encoder_file import load_encoder
from dseq_mm.evaluation.features import build_loader, extract_features
from dseq_mm.evaluation.neighbors import nearest_images
from dseq_mm.transfer.export import export_backbone
from dseq_mm.utils import command
from tests.transfer.conftest import ARCH, build_vit

TOOL = str(Path(__file__).parents[2] / 'tools' / 'embed.py')
PIXELS = dict(mean=[120.0, 110.0, 100.0], std=[60.0, 50.0, 55.0])


@pytest.fixture
def folder(tmp_path):
    """Six images of the encoder's size, and two of others."""
    random = np.random.RandomState(0)
    for index in range(6):
        size = (40, 52) if index in (2, 5) else (32, 32)
        pixels = random.randint(0, 256, (*size, 3)).astype(np.uint8)
        path = tmp_path / 'photos' / 'ab'[index % 2] / f'{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.blur(pixels, (5, 5)))
    return tmp_path / 'photos'


@pytest.fixture
def backbone(tmp_path):
    """An exported file with a normalization of its own, and its network."""
    vit = build_vit(seed=3, out_type='raw')
    state = {f'target_encoder.module.{k}': v for k, v in vit.state_dict().items()}
    text = (
        f'model = dict(data_preprocessor=dict(mean={PIXELS["mean"]}, '
        f'std={PIXELS["std"]}), backbone=dict(arch={ARCH}, img_size=32, patch_size=8))'
    )
    torch.save(dict(state_dict=state, meta=dict(cfg=text)), tmp_path / 'x.pth')
    export_backbone(tmp_path / 'x.pth', tmp_path / 'backbone.pth')
    return tmp_path / 'backbone.pth', vit


@pytest.mark.parametrize('kind', ['pooled', 'last4'])
def test_rows_are_the_features_of_the_knn_hook(folder, backbone, kind):
    path, vit = backbone
    pipeline = [
        dict(type='LoadImage'),
        dict(type='ResizeEdge', scale=36, backend='pillow', interpolation='bicubic'),
        dict(type='CenterCrop', crop_size=32),
        dict(type='PackInputs'),
    ]
    dataset = dict(type='OwnImages', sources=str(folder), pipeline=pipeline)
    loader = build_loader(dict(dataset=dataset, batch_size=4, num_workers=0))
    preprocessor = dict(type='SelfSupDataPreprocessor', to_rgb=True, **PIXELS)
    expected = extract_features(vit, loader, MODELS.build(preprocessor), 'cpu')
    found = embed(path, str(folder), kind, crop_ratio=32 / 36, batch_size=3)
    name = dict(pooled='last').get(kind, kind)
    np.testing.assert_allclose(found.values, expected[name].numpy(), atol=1e-5)
    assert [Path(name).name for name in found.names] == [
        f'{index}.png' for index in (0, 2, 4, 1, 3, 5)
    ]
    assert found.failed == {}


def test_two_lines_of_python(backbone):
    path, vit = backbone
    encoder = dseq_mm.load_encoder(path)
    images = torch.randint(0, 256, (2, 3, 32, 48), dtype=torch.uint8)
    features = encoder(images)
    mean, std = (torch.tensor(PIXELS[n])[:, None, None] for n in ('mean', 'std'))
    with torch.no_grad():
        tokens = vit((images - mean) / std)[-1]
    torch.testing.assert_close(features.patches, tokens[:, 1:], rtol=0, atol=1e-5)
    torch.testing.assert_close(features.class_token, tokens[:, 0], rtol=0, atol=1e-5)
    assert torch.equal(features.pooled, features.patches.mean(1))
    assert features.last4.shape == (2, 4 * 32) and not features.pooled.requires_grad
    floating = encoder(images.float() / 255)
    torch.testing.assert_close(floating.pooled, features.pooled)
    for wrong in (images[0], images[:, :2], images.long(), images[..., :30]):
        with pytest.raises(ValueError, match='images are|no whole number of patches'):
            encoder(wrong)


@pytest.mark.parametrize('token', [True, False])
def test_files_of_others(tmp_path, token):
    timm = pytest.importorskip('timm')
    options = {} if token else dict(class_token=False, global_pool='avg')
    model = timm.models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=192, depth=2, num_heads=3, num_classes=0,
        **options, **({} if token else dict(fc_norm=False)),
    ).eval()  # fmt: skip
    torch.save(model.state_dict(), tmp_path / 'timm.pth')
    encoder = load_encoder(tmp_path / 'timm.pth')  # 3 heads, by its width
    images = torch.rand(2, 3, 32, 32)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.no_grad():
        expected = model.forward_features((images - mean) / std)[:, int(token) :]
    found = encoder(images)
    torch.testing.assert_close(found.patches, expected, rtol=0, atol=1e-5)
    assert (found.class_token is None) == (not token)


def test_broken_images_are_listed_and_have_no_row(folder, backbone, tmp_path):
    (folder / 'a' / '1b.png').write_bytes(b'no image')
    found = embed(backbone[0], str(folder))
    assert len(found.names) == len(found.values) == 6
    (name,) = found.failed
    assert name.endswith('1b.png') and found.failed[name].startswith('no image')
    only = tmp_path / 'only'
    only.mkdir()
    (only / 'x.jpg').write_bytes(b'no image')
    with pytest.raises(ValueError, match='none of 1 images can be read'):
        embed(backbone[0], str(only))


def test_archives_and_single_files(folder, backbone, tmp_path):
    whole = embed(backbone[0], str(folder))
    with tarfile.open(tmp_path / 'photos.tar', 'w') as archive:
        archive.add(folder / 'a', 'a')
    part = embed(backbone[0], str(tmp_path / 'photos.tar'))
    np.testing.assert_array_equal(part.values, whole.values[:3])
    single = embed(backbone[0], whole.names[4], 'patches')
    assert single.values.shape == (1, 16, 32)
    np.testing.assert_allclose(single.values.mean(1), whole.values[4:5], atol=1e-5)


def one_of(rank, store, queue, path, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{store}', rank=rank, world_size=2
    )
    found = embed(path, folder, device='cpu')
    queue.put((rank, found.names, found.values, found.failed))
    leave_group()


def test_two_processes_give_what_one_gives(folder, backbone, tmp_path):
    (folder / 'a' / '1b.png').write_bytes(b'no image')  # seven, one of them broken
    alone = embed(backbone[0], str(folder))
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    arguments = (tmp_path / 's', queue, backbone[0], str(folder))
    processes = [
        context.Process(target=one_of, args=(rank, *arguments), daemon=True)
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    results = {rank: rest for rank, *rest in (queue.get(timeout=60) for _ in processes)}
    for process in processes:
        process.join(timeout=60)
    names, values, failed = results[0]
    assert names == alone.names and failed.keys() == alone.failed.keys()
    np.testing.assert_allclose(values, alone.values, atol=1e-6)
    assert results[1][0] == [] and len(results[1][1]) == 0


@pytest.mark.parametrize('suffix', ['.npy', '.csv', '.parquet'])
def test_tables(tmp_path, suffix):
    names = ['a/1.png', 'b, c "d".png']
    values = np.random.RandomState(0).randn(2, 5).astype(np.float32)
    out = tmp_path / f'x{suffix}'
    if suffix == '.parquet':
        pytest.importorskip('pyarrow')
    Embeddings(names, values, {}).write(out)
    if suffix == '.npy':
        np.testing.assert_array_equal(np.load(out), values)
        assert out.with_suffix('.txt').read_text().splitlines() == names
    elif suffix == '.csv':
        with out.open(newline='') as file:
            head, *rows = csv.reader(file)
        assert head == ['file', 'f0', 'f1', 'f2', 'f3', 'f4']
        assert [row[0] for row in rows] == names
        read = np.array([[float(cell) for cell in row[1:]] for row in rows], np.float32)
        np.testing.assert_array_equal(read, values)
    else:
        from pyarrow import parquet

        table = parquet.read_table(out)
        assert table['file'].to_pylist() == names
        np.testing.assert_allclose(table['embedding'].to_pylist(), values)


def test_what_is_refused(folder, backbone, tmp_path):
    for arguments, message in (
        (dict(kind='mean'), 'kind is one of'),
        (dict(crop_ratio=0.0), 'crop_ratio'),
        (dict(sources=str(tmp_path / 'no')), 'there is no such folder'),
        (dict(image_size=30), 'no whole number of patches'),
    ):
        with pytest.raises(ValueError, match=message):
            embed(**{**dict(encoder=backbone[0], sources=str(folder)), **arguments})
    with pytest.raises(ValueError, match='has to end in'):
        check_table(tmp_path / 'x.json', 'pooled')
    with pytest.raises(ValueError, match='no table'):
        check_table(tmp_path / 'x.csv', 'patches')
    torch.save(build_vit(with_cls_token=False).state_dict(), tmp_path / 'plain.pth')
    with pytest.raises(ValueError, match='does not tell the number of attention heads'):
        load_encoder(tmp_path / 'plain.pth')
    with pytest.raises(ValueError, match='no class token'):
        embed(load_encoder(tmp_path / 'plain.pth', num_heads=2), str(folder), 'class')


def test_neighbors():
    values = np.array([[1, 0], [0.9, 0.1], [0, 1], [-1, 0]], np.float32)
    bank = Embeddings(['a', 'b', 'c', 'd'], values, {})
    names, cosine = nearest_images(Embeddings(['a'], 3 * values[:1], {}), bank, 3)
    assert names == [['b', 'c', 'd']]
    np.testing.assert_allclose(cosine, [[0.9 / np.hypot(0.9, 0.1), 0, -1]], atol=1e-6)
    with pytest.raises(ValueError, match='ask for fewer'):
        nearest_images(bank, bank, 4)


def test_tool(folder, backbone, tmp_path, capsys):
    main = runpy.run_path(TOOL)['main']
    (folder / 'a' / '1b.png').write_bytes(b'no image')
    out = tmp_path / 'features.csv'
    arguments = [str(backbone[0]), str(folder), str(out), '--workers', '0']
    main([*arguments, '--neighbors', '2', '--of', str(folder / 'b' / '3.png')])
    printed = capsys.readouterr()
    assert f'{out}: 6 x 32, pooled' in printed.out and '1b.png' in printed.err
    picture = cv2.imread(str(out.with_suffix('.png')))
    assert picture.shape[0] > 100 and picture.std() > 10
    config = json.dumps({})  # a folder without weights
    (tmp_path / 'model').mkdir()
    (tmp_path / 'model' / 'config.json').write_text(config)
    for wrong, message in (
        (['no.pth', str(folder), str(out)], 'There is no checkpoint'),
        ([str(tmp_path / 'model'), str(folder), str(out)], 'no weights'),
        ([*arguments, '--neighbors', '2', '--of', 'x.png'], 'there is no such image'),
        ([*arguments[:2], str(tmp_path / 'x.json')], 'has to end in'),
    ):
        assert command.run(main, wrong) == command.USER_ERROR
        assert message in capsys.readouterr().err
