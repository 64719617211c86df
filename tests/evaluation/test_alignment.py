"""Alignment with masks, against sums over pixels and on maps whose values are known."""

import json

import cv2
import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from dseq_mm.data.figures import Figures
from dseq_mm.evaluation.alignment import first_region_overlap, saliency_auc


def made(seed, ties=False):
    """Saliency, and shares of figure and ground of which some pixels are neither."""
    generator = torch.Generator().manual_seed(seed)
    saliency = torch.randn(3, 4, 5, generator=generator)
    if ties:
        saliency = (2 * saliency).round()
    figure, ground, _ = torch.rand(3, 3, 4, 5, generator=generator).unbind(0)
    figure = figure * (figure > 0.4)
    return saliency, figure, (1 - figure) * ground.round()


@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('seed', range(3))
def test_auc_of_pixels(seed, ties):
    saliency, figure, ground = made(seed, ties)
    found = saliency_auc(saliency, figure, ground)
    for image in range(3):
        values = saliency[image].flatten().tolist() * 2
        weights = [*figure[image].flatten().tolist(), *ground[image].flatten().tolist()]
        labels = [1] * 20 + [0] * 20
        expected = roc_auc_score(labels, values, sample_weight=weights)
        assert found[image].item() == pytest.approx(expected, abs=1e-9)


def test_the_mask_itself_its_inverse_and_nothing():
    figure = (torch.rand(4, 6, 6, generator=torch.Generator().manual_seed(0)) > 0.7) * 1
    ground = 1 - figure
    assert saliency_auc(figure, figure, ground).tolist() == [1.0] * 4
    assert saliency_auc(-figure, figure, ground).tolist() == [0.0] * 4
    assert saliency_auc(0 * figure, figure, ground).tolist() == [0.5] * 4
    assert saliency_auc(figure, 0 * figure, ground).isnan().all()
    rank = ground  # R1 is the figure
    precision, share, iou = first_region_overlap(rank, figure, ground)
    assert precision.tolist() == [1.0] * 4 and iou.tolist() == [1.0] * 4
    assert torch.allclose(share, figure.double().mean((1, 2)))
    precision, _, iou = first_region_overlap(1 - rank, figure, ground)
    assert precision.tolist() == [0.0] * 4 and iou.tolist() == [0.0] * 4


@pytest.mark.parametrize('seed', range(3))
def test_overlap_by_loops(seed):
    _, figure, ground = made(seed)
    rank = torch.randint(3, (3, 4, 5), generator=torch.Generator().manual_seed(seed))
    found = first_region_overlap(rank, figure, ground)
    for image in range(3):
        inside = first = whole = pixels = 0.0
        for row in range(4):
            for column in range(5):
                at = image, row, column
                both = float(figure[at] + ground[at])
                whole, pixels = whole + float(figure[at]), pixels + both
                if rank[at] == 0:
                    inside, first = inside + float(figure[at]), first + both
        expected = [inside / first, whole / pixels, inside / (whole + first - inside)]
        assert found[:, image].tolist() == pytest.approx(expected, rel=1e-5)


@pytest.fixture
def pictures(tmp_path):
    """Two images of 12 x 8 pixels; the left third of the first is a figure."""
    (tmp_path / 'images/sub').mkdir(parents=True)
    (tmp_path / 'masks/sub').mkdir(parents=True)
    for name in ('a', 'sub/b', 'bare'):
        cv2.imwrite(f'{tmp_path}/images/{name}.jpg', np.zeros((8, 12, 3), np.uint8))
    labels = np.zeros((8, 12), np.uint8)
    labels[:, :4], labels[:, 10:] = 3, 255
    cv2.imwrite(f'{tmp_path}/masks/a.png', labels)
    cv2.imwrite(f'{tmp_path}/masks/sub/b.png', labels[:, ::-1])
    return tmp_path


def test_maps_of_labels(pictures):
    figures = Figures(pictures / 'images', pictures / 'masks')
    assert figures.paths == ['a.jpg', 'sub/b.jpg'] and len(figures) == 2
    figure, ground = figures.shares(0, (2, 3))
    assert figure.tolist() == [[1, 0, 0]] * 2
    assert ground.tolist() == [[0, 1, 0.5]] * 2  # half of the last is ignored
    assert figures.shares(1, (2, 3))[0].tolist() == [[0, 0, 1]] * 2
    inverse = Figures(pictures / 'images', pictures / 'masks', ground=[3])
    assert inverse.shares(0, (2, 3))[1].tolist() == [[1, 0, 0]] * 2
    assert len(Figures(pictures / 'images', pictures / 'masks', number=1)) == 1


def test_instances_of_coco(pictures):
    polygon = [0, 0, 4, 0, 4, 8, 0, 8]
    runs = dict(size=[8, 12], counts=[64, 32])  # column after column
    content = dict(
        images=[
            dict(id=7, file_name='a.jpg', height=8, width=12),
            dict(id=8, file_name='sub/b.jpg', height=8, width=12),
        ],
        annotations=[
            dict(image_id=7, segmentation=[polygon]),
            dict(image_id=7, segmentation=runs),
        ],
    )
    file = pictures / 'instances.json'
    file.write_text(json.dumps(content))
    figures = Figures(pictures / 'images', file)
    assert figures.paths == ['a.jpg']  # the other one shows nothing
    figure, ground = figures.shares(0, (2, 3))
    assert figure.tolist() == [[1, 0, 1]] * 2
    assert ground.tolist() == [[0, 1, 0]] * 2


def test_refused(pictures):
    images = pictures / 'images'
    with pytest.raises(FileNotFoundError, match='no such file or folder'):
        Figures(images, pictures / 'no')
    (pictures / 'empty').mkdir()
    with pytest.raises(ValueError, match='none of the 3 images'):
        Figures(images, pictures / 'empty')
    (pictures / 'bad.json').write_text('[1]')
    with pytest.raises(ValueError, match="no file of COCO's instances"):
        Figures(images, pictures / 'bad.json')
    cv2.imwrite(f'{pictures}/masks/a.png', np.zeros((8, 12, 3), np.uint8))
    with pytest.raises(ValueError, match='one channel'):
        Figures(images, pictures / 'masks').shares(0, (2, 3))
    with pytest.raises(ValueError, match='number is a whole number'):
        Figures(images, pictures / 'masks', number=0)
