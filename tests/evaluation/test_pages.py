"""Pages show what the encoder says, of images of any shape."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import dseq_mm
from dseq_mm.evaluation import PAGES, load_encoder, read_pictures
from dseq_mm.evaluation.pages import attention_page, regions_page, similarity_page
from dseq_mm.evaluation.pictures import class_attention, patch_tokens
from tests.transfer.conftest import build_vit


@pytest.fixture
def file(tmp_path):
    def write(name='x', seed=3, cfg=None, **settings):
        state = build_vit(seed=seed, **settings).state_dict()
        meta = dict(architecture=dict(grid=[4, 4], num_heads=2), cfg=cfg)
        torch.save(dict(state_dict=state, meta=meta), tmp_path / f'{name}.pth')
        return tmp_path / f'{name}.pth'

    return write


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / 'photos'
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, shape in dict(a=(50, 40), b=(30, 90), c=(20, 200), d=(64, 64)).items():
        image = random.integers(0, 256, (*shape, 3), np.uint8)
        cv2.imwrite(f'{folder}/{name}.png', image)
    return folder


def test_images_of_any_shape(file, photos):
    encoder = load_encoder(file())
    step, short = encoder.backbone.patch_size, min(encoder.image_size)
    pictures = read_pictures(str(photos), encoder)
    assert [Path(each.name).stem for each in pictures] == list('abcd')
    for each, (height, width) in zip(
        pictures, [(50, 40), (30, 90), (20, 60), (64, 64)], strict=True
    ):  # the strip is cropped to three times its short side
        found = np.array(each.pixels.shape[:2])
        assert (found % step == 0).all() and found.min() == short
        wanted = np.array([height, width]) * short / min(height, width)
        assert (abs(found - wanted) <= step / 2).all()
        assert patch_tokens(encoder, each).shape[:2] == tuple(found // step)
    assert len(read_pictures(str(photos), encoder, 2)) == 2
    large = read_pictures(f'{photos}/a.png', encoder, size=2 * short)
    assert min(large[0].pixels.shape[:2]) == 2 * short
    with pytest.raises(ValueError, match='count from 1'):
        read_pictures(str(photos), encoder, 0)


def test_colors_are_red_green_blue(file, tmp_path):
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 2] = 200  # OpenCV's order: red
    cv2.imwrite(f'{tmp_path}/red.png', image)
    (picture,) = read_pictures(f'{tmp_path}/red.png', load_encoder(file()))
    assert picture.pixels[0, 0].tolist() == [200, 0, 0]
    assert picture.batch[0, :, 0, 0].tolist() == [200, 0, 0]


def test_attention_is_that_of_the_class_token(file, photos):
    encoder = load_encoder(file())
    (picture,) = read_pictures(f'{photos}/b.png', encoder)
    maps = class_attention(encoder, picture)
    vit = encoder.backbone
    blocks = range(vit.num_layers)
    expected = vit.encode(encoder.normalize(picture.batch), attention=blocks).attention
    assert maps.shape[:2] == (vit.num_layers, 2)
    for block in blocks:
        found = torch.from_numpy(maps[block].mean(0)).flatten()
        assert torch.allclose(found, expected[block][0], atol=1e-6)
    assert not np.allclose(maps[:, 0], maps[:, 1])  # heads differ
    assert not any(layer.ln1._forward_hooks for layer in vit.layers)


@pytest.mark.parametrize('kind', PAGES)
def test_every_page_is_drawn(kind, file, photos, tmp_path):
    encoders = {'one': load_encoder(file()), 'two': load_encoder(file('y', seed=4))}
    pictures = read_pictures(str(photos), encoders['one'], 2)
    figure = PAGES[kind](encoders, pictures)
    figure.savefig(tmp_path / 'page.png')
    drawn = cv2.imread(f'{tmp_path}/page.png')
    assert drawn.std() > 10
    texts = [axis.get_title() + axis.get_ylabel() for axis in figure.axes]
    for name in encoders:
        assert any(name in text for text in texts)


def test_scores_and_regions_of_the_page(file, photos):
    encoder = load_encoder(file())
    pictures = read_pictures(f'{photos}/d.png', encoder)
    figure = regions_page({'one': encoder}, pictures, num_regions=3)
    found = dseq_mm.find_regions(encoder, pictures[0].batch, num_regions=3)
    saliency = found.saliency[0]
    saliency = (saliency - saliency.min()) / (saliency.max() - saliency.min())
    scores = [saliency[found.rank[0] == rank].mean().item() for rank in (0, 1)]
    title = figure.axes[3].get_title().split('\n')[1]
    assert [float(text) for text in title.split()] == pytest.approx(scores, abs=0.006)
    drawn = {text.get_text() for text in figure.axes[3].texts}
    assert drawn == {'1', '2', '3'}


def test_settings_of_the_pre_training_are_taken(file, photos):
    cfg = 'model = dict(mask_generator=dict(num_regions=3, rule=dict(min_area=0.2)))\n'
    encoder = load_encoder(file(cfg=cfg))
    assert encoder.regions == dict(num_regions=3, rule=dict(min_area=0.2))
    (picture,) = read_pictures(f'{photos}/d.png', encoder)
    assert dseq_mm.find_regions(encoder, picture.batch).source.shape == (1, 3)
    other = dseq_mm.find_regions(encoder, picture.batch, num_regions=4)
    assert other.source.shape == (1, 4)
    cfg = "model = dict(mask_generator=dict(saliency=dict(type='GradCAM')))\n"
    with pytest.raises(ValueError, match='Grad-CAM needs the predictor'):
        dseq_mm.find_regions(load_encoder(file(cfg=cfg)), picture.batch)


def test_without_a_class_token(file, photos):
    encoder = load_encoder(file(with_cls_token=False))
    pictures = read_pictures(f'{photos}/d.png', encoder)
    titles = [a.get_title() for a in regions_page({'one': encoder}, pictures).axes]
    assert any('distance from the mean patch' in title for title in titles)
    with pytest.raises(ValueError, match='no class token'):
        attention_page({'one': encoder}, pictures)


def test_refused_places(file, photos):
    encoder = load_encoder(file())
    pictures = read_pictures(f'{photos}/d.png', encoder)
    with pytest.raises(ValueError, match='between 0 and 1'):
        similarity_page({'one': encoder}, pictures, (0.5, 1.5))
    with pytest.raises(ValueError, match='layer 99: one has'):
        attention_page({'one': encoder}, pictures, layer=99)
    with pytest.raises(ValueError, match='clusters are 2 to 8'):
        PAGES['clusters']({'one': encoder}, pictures, counts=[1])
