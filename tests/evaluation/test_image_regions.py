"""Regions of any images are those of a training's mask generator."""

import pytest
import torch
from mmpretrain.registry import MODELS

import dseq_mm
from dseq_mm.clock import TrainingClock
from dseq_mm.evaluation.encoder_file import load_encoder
from tests.transfer.conftest import build_vit


@pytest.fixture
def file(tmp_path):
    def write(**settings):
        state = build_vit(seed=3, **settings).state_dict()
        meta = dict(architecture=dict(grid=[4, 4], num_heads=2))
        torch.save(dict(state_dict=state, meta=meta), tmp_path / 'x.pth')
        return tmp_path / 'x.pth'

    return write


def test_they_are_those_of_the_mask_generator(file):
    encoder = load_encoder(file())
    images = torch.randint(0, 256, (3, 3, 64, 48), dtype=torch.uint8)
    found = dseq_mm.find_regions(encoder, images, num_regions=3, seed=5)
    generator = MODELS.build(
        dict(
            type='dseq_mm.DiscriminativeMaskGenerator',
            saliency=dict(type='dseq_mm.ClassTokenSimilarity', block=1),  # of four
            num_regions=3,
            seed=5,
        )
    )
    with torch.no_grad():
        encoded = encoder.backbone.encode(encoder.normalize(images), (1,), ())
        clock = TrainingClock(0, 0, 1.0)
        expected = generator.regions(encoded, torch.arange(3), clock)
        saliency = generator.saliency(encoded, torch.arange(3), clock, None)
    assert found.rank.shape == found.saliency.shape == (3, 8, 6)
    assert torch.equal(found.rank, expected.rank)
    assert torch.equal(found.source, expected.source)
    assert torch.equal(found.saliency, saliency)
    assert {*found.rank.unique().tolist()} == {0, 1, 2}


def test_what_is_refused(file):
    images = torch.rand(1, 3, 32, 32)
    with pytest.raises(ValueError, match='class token'):
        dseq_mm.find_regions(file(with_cls_token=False), images)
    with pytest.raises(ValueError, match='num_regions'):
        dseq_mm.find_regions(file(), images, num_regions=1)
    with pytest.raises(ValueError, match='images are'):
        dseq_mm.find_regions(file(), images[0])
