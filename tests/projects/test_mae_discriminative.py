"""MAE on discriminative regions: which patches are hidden, and nothing else changes."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.models.selfsup import MAEViT
from mmpretrain.registry import MODELS

from dseq_mm.models.jepa import TrainingClock
from projects.mae_discriminative import DiscriminativeMAE, OrderedMAEViT
from tests.end_to_end.runs import write_images
from tests.models.builders import ARCH, images, samples

CONFIG = next(
    (Path(__file__).parents[2] / 'projects/mae_discriminative/configs').glob('*.py')
)
SIDE, PATCHES = 16, 16  # 4 x 4 patches of 4 px
INDICES = [7, 3, 11, 0]


def build(mask_ratio=0.75, progress=1.0, epoch=2, seed=5, **generator):
    """A tiny MAE; all parameters clearly non-zero."""
    torch.manual_seed(0)
    generator.setdefault('type', 'DiscriminativeMaskGenerator')
    if generator['type'] == 'DiscriminativeMaskGenerator':
        proxy = dict(type='ClassTokenSimilarity', block=1)
        generator.setdefault('saliency', proxy)
    model = DiscriminativeMAE(
        backbone=dict(
            type='OrderedMAEViT',
            arch=ARCH,
            img_size=SIDE,
            patch_size=4,
            mask_ratio=mask_ratio,
        ),
        neck=dict(
            type='MAEPretrainDecoder',
            num_patches=PATCHES,
            patch_size=4,
            embed_dim=16,
            decoder_embed_dim=8,
            decoder_depth=1,
            decoder_num_heads=2,
        ),
        head=dict(
            type='MAEPretrainHead',
            patch_size=4,
            norm_pix=True,
            loss=dict(type='PixelReconstructionLoss', criterion='L2'),
        ),
        mask_generator=dict(seed=seed, **generator),
    )
    model.init_weights()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if 'pos_embed' not in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.clock = TrainingClock(epoch, 9, progress)
    return model


def pictures(count=4, seed=0):
    """Random images for the tiny MAE."""
    return images(count, (SIDE, SIDE), seed)


def masks(model, inputs, indices=INDICES):
    """What a training step hides, ``(B, P)``, 1 where hidden."""
    seen = []
    handle = model.backbone.register_forward_hook(lambda m, a, out: seen.append(out[1]))
    model.loss(inputs, samples(indices))
    handle.remove()
    assert len(seen) == 1
    return seen[0]


def ranks(model, image, index):
    """Rank of the region of each patch of one image, from the package alone."""
    generator = model.mask_generator
    encoded = model.target_encoder.module.encode(image[None], generator.hidden)
    lam = generator.probability(model.clock.progress)
    regions = generator.regions(
        encoded, torch.tensor([index]), model.clock, probability=lam
    )
    return regions.rank.flatten().tolist()


@pytest.mark.parametrize('progress', [0.0, 0.5, 1.0])
@pytest.mark.parametrize('mask_ratio', [0.25, 0.5, 0.75])
def test_the_first_regions_are_hidden_and_exactly_the_ratio(mask_ratio, progress):
    model, inputs = build(mask_ratio, progress), pictures(8)
    indices = list(range(20, 28))
    hidden = masks(model, inputs, indices)
    assert hidden.sum(1).tolist() == [mask_ratio * PATCHES] * 8
    orders = set()
    for image, index, row in zip(inputs, indices, hidden.tolist(), strict=True):
        rank = ranks(model, image, index)
        assert len(set(rank)) == 5
        orders.add(tuple(rank))
        worst = max(r for r, is_hidden in zip(rank, row, strict=True) if is_hidden)
        best = min(r for r, is_hidden in zip(rank, row, strict=True) if not is_hidden)
        assert worst <= best
    assert len(orders) == 8  # per image


def test_inverse_order_hides_what_is_least_discriminative():
    model, inputs = build(0.5), pictures()
    inverse = build(0.5, order='inverse')
    for image, index, row in zip(
        inputs, INDICES, masks(inverse, inputs).tolist(), strict=True
    ):
        rank = ranks(model, image, index)
        hidden = [r for r, is_hidden in zip(rank, row, strict=True) if is_hidden]
        visible = [r for r, is_hidden in zip(rank, row, strict=True) if not is_hidden]
        assert min(hidden) >= max(visible)


def test_masks_are_keyed_by_seed_epoch_and_index():
    inputs = pictures()  # the ratio cuts through a region, so chance has a say
    first = masks(build(0.5), inputs)
    assert torch.equal(masks(build(0.5), inputs), first)
    torch.rand(3)  # the global generator has no part in it
    order = [2, 0, 3, 1]
    moved = masks(build(0.5), inputs[order], [INDICES[i] for i in order])
    assert torch.equal(moved, first[order])
    other_time = build(0.5)
    other_time.clock = TrainingClock(2, 10, 1.0)
    assert torch.equal(masks(other_time, inputs), first)
    for change in (dict(seed=6), dict(epoch=3)):
        assert not torch.equal(masks(build(0.5, **change), inputs), first)
    assert not torch.equal(masks(build(0.5), inputs, [8, 4, 12, 1]), first)


def test_within_a_region_chance_decides():
    """Of the region that the ratio cuts through, each patch is hidden sometimes."""
    model, image = build(0.5), pictures(1)
    rank = ranks(model, image[0], 0)
    share = sum(
        masks(model, image.expand(64, -1, -1, -1), range(64 * k, 64 * k + 64)).mean(0)
        for k in range(4)
    )
    share = (share / 4).tolist()
    by_rank = [
        {s for s, r in zip(share, rank, strict=True) if r == k} for k in range(5)
    ]
    cut = [k for k, shares in enumerate(by_rank) if shares - {0.0, 1.0}]
    assert len(cut) == 1
    (k,) = cut
    size, before = rank.count(k), sum(r < k for r in rank)
    expected = (PATCHES // 2 - before) / size
    assert all(abs(s - expected) < 0.12 for s in by_rank[k])  # 256 draws each
    assert all(by_rank[j] == {float(j < k)} for j in range(5) if j != k)


def test_image_j_changes_only_row_j():
    inputs = pictures()
    for progress, changes in ((1.0, True), (0.0, False)):  # random regions see nothing
        model = build(progress=progress)
        before = masks(model, inputs)
        changed = inputs.clone()
        changed[2] = pictures(1, seed=8)[0]
        different = (masks(model, changed) != before).any(1).tolist()
        assert different == [False, False, changes, False]


def test_encoder_is_the_hosts_under_the_same_noise(monkeypatch):
    model, inputs = build(), pictures()
    host = MAEViT(arch=ARCH, img_size=SIDE, patch_size=4)
    assert list(host.state_dict()) == list(model.backbone.state_dict())
    host.load_state_dict(model.backbone.state_dict())
    scores, _ = model.scores(inputs, samples(INDICES))
    ours = model.backbone(inputs, scores)
    torch.testing.assert_close(model.backbone(inputs, None), host(inputs, None))
    monkeypatch.setattr(torch, 'rand', lambda *size, device: scores)
    theirs = host(inputs)
    torch.testing.assert_close(ours, theirs)
    assert ours[1].dtype == theirs[1].dtype
    torch.testing.assert_close(model.backbone(inputs), theirs)  # its own noise


@pytest.mark.parametrize('query', ['ClassTokenSimilarity', 'ClassTokenAttention'])
def test_gradient_reaches_every_parameter_and_no_target_parameter(query):
    model = build(saliency=dict(type=query, block=1)).train()
    losses = model.loss(pictures(), samples(INDICES))
    assert losses['lambda'] == 1.0 and losses['flat_maps'] == 0.0
    losses['loss'].backward()
    for name, parameter in model.named_parameters():
        if name.startswith('target_encoder') or 'pos_embed' in name:
            assert parameter.grad is None, name
        else:
            assert parameter.grad.abs().sum() > 0, name
    assert not model.target_encoder.module.training


def test_target_encoder_starts_equal():
    config = Config.fromfile(CONFIG).model
    model = MODELS.build(config)
    model.init_weights()
    target = model.target_encoder.module
    assert isinstance(target, OrderedMAEViT)
    for name, parameter in model.backbone.named_parameters():
        assert torch.equal(parameter, target.get_parameter(name)), name
    # Xavier as MAE has it, not the initialization of a JEPAViT
    weight = model.backbone.layers[0].ffn.layers[1].weight
    bound = (6 / sum(weight.shape)) ** 0.5
    assert 0.95 * bound < weight.abs().max() <= bound


def test_parts_that_do_not_fit_are_refused():
    config = Config.fromfile(CONFIG).model
    config.backbone.type = 'MAEViT'
    with pytest.raises(ValueError, match='OrderedMAEViT.*got MAEViT'):
        MODELS.build(config)
    with pytest.raises(ValueError, match='DiscriminativeMaskGenerator, got Multi'):
        build(type='MultiBlockMaskGenerator')
    with pytest.raises(ValueError, match="'sample' or 'region'"):
        build(curriculum=dict(unit='batch'))
    with pytest.raises(ValueError, match='MAE has none'):
        build(saliency=dict(type='GradCAM'))
    with pytest.raises(ValueError, match='block 2.*has 2'):
        build(saliency=dict(type='ClassTokenSimilarity', block=2))


def test_sizes_that_do_not_fit_are_refused():
    config = Config.fromfile(CONFIG).model
    config.neck.num_patches = 49
    with pytest.raises(ValueError, match='num_patches=36'):
        MODELS.build(config)
    for ratio in (0.0, 0.99, 1.5):
        with pytest.raises(ValueError, match='leave some visible'):
            build(mask_ratio=ratio)
    model = build()
    with pytest.raises(ValueError, match='equal to img_size'):
        model.loss(images(2, (28, 28)), samples(range(2)))
    model.clock = None
    with pytest.raises(ValueError, match="type='ClockHook'"):
        model.loss(images(2, (SIDE, SIDE)), samples(range(2)))


def test_config_trains(tmp_path):
    """Hooks and all, on a few images."""
    cfg = Config.fromfile(CONFIG)
    cfg.work_dir, cfg.experiment_name = str(tmp_path / 'work'), 'mae_discriminative'
    cfg.log_level, cfg.custom_hooks = 'ERROR', []
    cfg.train_dataloader.dataset.dataset.update(
        data_root='', data_prefix=str(write_images(tmp_path / 'images'))
    )
    cfg.train_dataloader.batch_size = 8
    cfg.train_cfg.max_epochs = 2
    runner = Runner.from_cfg(cfg)
    runner.train()
    model = runner.model
    assert (model.clock.epoch, model.clock.progress) == (1, 0.75)
    assert (model.clock.seed, int(model.target_encoder.steps)) == (0, 4)
    scalars = runner.message_hub.log_scalars
    assert 0 < scalars['train/loss'].current() < 10
    hidden = masks(model, torch.randn(4, 3, 24, 24))
    assert hidden.sum(1).tolist() == [27] * 4
