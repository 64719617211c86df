"""Features are those of the patch tokens, in dataset order, on all processes."""

import multiprocessing

import pytest
import torch
import torch.distributed
from mmpretrain.models import ResNet
from mmpretrain.registry import MODELS
from PIL import Image
from torch.utils.data import DataLoader

from dseq_mm.cli.processes import leave_group
from dseq_mm.evaluation.features import (
    build_loader,
    evaluation_mode,
    extract,
    extract_features,
    pooled_blocks,
    raw_pixels,
)


@pytest.fixture
def images():
    return torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('class_token', [True, False])
def test_pooled_blocks_against_hooks(build_vit, images, class_token):
    out_type = 'cls_token' if class_token else 'featmap'
    vit = build_vit(with_cls_token=class_token, out_type=out_type)
    torch.nn.init.normal_(vit.ln1.weight)
    seen = []
    for layer in vit.layers:
        layer.register_forward_hook(lambda module, args, out: seen.append(out))
    with evaluation_mode(vit):
        got = pooled_blocks(vit, images)
        expected = []
        for tokens in seen[-4:]:
            tokens = torch.nn.functional.layer_norm(
                tokens, (32,), vit.ln1.weight, vit.ln1.bias, vit.ln1.eps
            )
            rows = []
            for sample in tokens:
                patches = [token for token in sample][int(class_token) :]
                assert len(patches) == 16
                rows.append(sum(patches) / 16)
            expected.append(torch.stack(rows))
    torch.testing.assert_close(got['last'], expected[-1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        got['last4'], torch.cat(expected, dim=1), atol=1e-5, rtol=1e-5
    )
    assert vit.out_type == out_type and vit.out_indices == [4]


def test_fewer_blocks_and_other_networks(build_vit, images):
    arch = dict(embed_dims=8, num_layers=2, num_heads=2, feedforward_channels=8)
    with torch.no_grad():
        vit = build_vit(arch=arch)
        assert pooled_blocks(vit, images)['last4'].shape == (3, 16)
        resnet = ResNet(depth=18, out_indices=(2, 3))
        pooled = pooled_blocks(resnet, images)
    assert pooled['last'].shape == (3, 512) and pooled['last4'].shape == (3, 768)


def test_masked_image_models_are_not_masked(images):
    arch = dict(embed_dims=32, num_layers=4, num_heads=2, feedforward_channels=64)
    mae = MODELS.build(
        dict(type='MAEViT', arch=arch, img_size=16, patch_size=4, mask_ratio=0.75)
    )
    mae.init_weights()
    with evaluation_mode(mae):
        first, second = (pooled_blocks(mae, images)['last4'] for _ in range(2))
    assert torch.equal(first, second) and first.shape == (3, 128)


def test_modes_come_back(build_vit):
    vit = build_vit()
    vit.train()
    vit.layers[1].eval()
    before = [part.training for part in vit.modules()]
    with pytest.raises(RuntimeError), evaluation_mode(vit):
        assert not any(part.training for part in vit.modules())
        assert not torch.is_grad_enabled()
        raise RuntimeError
    assert [part.training for part in vit.modules()] == before
    assert torch.is_grad_enabled()


@pytest.mark.parametrize('collate', ['default_collate', 'pseudo_collate'])
@pytest.mark.parametrize('kind', ['SelfSupDataPreprocessor', 'ClsDataPreprocessor'])
def test_dataset_order(loader_config, preprocessor, collate, kind):
    loader = build_loader(loader_config(collate=collate))
    module = MODELS.build({**preprocessor, 'type': kind})
    found = extract(raw_pixels, loader, module, 'cpu')
    assert found['labels'].tolist() == [index % 3 for index in range(11)]
    assert found['last'].dtype == torch.float32
    for index in range(11):
        image = loader.dataset[index]['inputs'].float().flip(0)
        torch.testing.assert_close(found['last'][index], ((image - 128) / 64).flatten())


def test_views_and_labels(loader_config, preprocessor):
    module = MODELS.build(preprocessor)
    unlabeled = build_loader(loader_config(labeled=False))
    assert extract(raw_pixels, unlabeled, module, 'cpu')['labels'] is None
    for sampler in (
        dict(type='DefaultSampler', shuffle=True),
        dict(type='InfiniteSampler', shuffle=False),
        dict(type='DefaultSampler', shuffle=False, round_up=False),
    ):
        with pytest.raises(ValueError, match='shuffle=False'):
            build_loader(loader_config(sampler=sampler))
    loader = DataLoader(unlabeled.dataset, shuffle=True)
    with pytest.raises(ValueError, match='shuffle=False'):
        extract(raw_pixels, loader, module, 'cpu')
    with pytest.raises(ValueError, match='is a dict with dataset'):
        build_loader(dict(batch_size=2))
    with pytest.raises(ValueError, match="'num_wokers'; did you mean 'num_workers'"):
        build_loader(loader_config() | dict(num_wokers=2))


def test_settings_of_workers_without_workers(loader_config):
    config = loader_config() | dict(persistent_workers=True, prefetch_factor=4)
    assert len([*build_loader(config)]) == 3
    del config['num_workers']
    assert build_loader(config).num_workers == 0
    assert config['persistent_workers']  # the config is the user's


def test_fraction_is_one_subset(loader_config):
    one, two = (build_loader(loader_config(size=40), 0.25) for _ in range(2))
    assert len(one.dataset) == 10
    whole = build_loader(loader_config(size=40)).dataset
    kept = [whole[i]['inputs'] for i in range(40)]
    for i in range(10):
        assert torch.equal(one.dataset[i]['inputs'], two.dataset[i]['inputs'])
    places = [
        next(j for j in range(40) if torch.equal(kept[j], one.dataset[i]['inputs']))
        for i in range(10)
    ]
    assert places == sorted(places) and places != list(range(10))
    wrapped = loader_config(size=40)
    wrapped['dataset'] = dict(type='KeyedDataset', dataset=wrapped['dataset'])
    kept = build_loader(wrapped, 0.25).dataset
    assert all(torch.equal(kept[i]['inputs'], one.dataset[i]['inputs']) for i in (0, 9))
    for fraction in (0.0, 1.5):
        with pytest.raises(ValueError, match='bank_fraction'):
            build_loader(loader_config(), fraction)


def run_process(rank, store, queue, vit, config, preprocessor):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{store}', rank=rank, world_size=2
    )
    loader = build_loader(config)
    found = extract_features(vit, loader, MODELS.build(preprocessor), 'cpu')
    queue.put((rank, len(loader.sampler), {k: v.numpy() for k, v in found.items()}))
    leave_group()


@pytest.mark.parametrize('size', [11, 4])
def test_two_processes_give_what_one_gives(
    tmp_path, build_vit, loader_config, preprocessor, size
):
    vit, config = build_vit(), loader_config(batch_size=2, size=size)
    module = MODELS.build(preprocessor)
    alone = extract_features(vit, build_loader(config), module, 'cpu')
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    processes = [
        context.Process(
            target=run_process,
            args=(rank, tmp_path / 'store', queue, vit, config, preprocessor),
        )
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    results = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(timeout=60)
    assert {rank for rank, *_ in results} == {0, 1}
    for _, shard, found in results:
        assert shard == (size + 1) // 2  # each saw its share, padding included
        for name, value in alone.items():
            torch.testing.assert_close(torch.from_numpy(found[name]), value)


@pytest.mark.parametrize('fraction', [1.0, 0.5])
@pytest.mark.parametrize('broken', [0, 3, 7, 11])
def test_an_unreadable_image_is_replaced(tmp_path, preprocessor, broken, fraction):
    for index in range(12):
        path = tmp_path / 'ab'[index // 6] / f'{index:02}.png'
        path.parent.mkdir(exist_ok=True)
        Image.new('RGB', (16, 16), (20 * index, 0, 0)).save(path)
        if index == broken:
            path.write_bytes(path.read_bytes()[:40])
    pipeline = [dict(type='LoadImage'), dict(type='PackInputs')]
    dataset = dict(type='ImageFolder', data_root=str(tmp_path), pipeline=pipeline)
    config = dict(
        batch_size=4,
        dataset=dataset,
        collate_fn=dict(type='default_collate'),
    )
    loader = build_loader(config, fraction)
    kept = getattr(loader.dataset, 'indices', range(12))
    used = [(index + (index == broken)) % 12 for index in kept]
    rows = extract(raw_pixels, loader, MODELS.build(preprocessor), 'cpu')
    assert rows['labels'].tolist() == [index // 6 for index in used]
    reds = rows['last'].unflatten(1, (3, 16, 16)).amax((1, 2, 3))
    order = torch.tensor(used, dtype=torch.float)
    assert torch.equal(reds.argsort(stable=True), order.argsort(stable=True))
