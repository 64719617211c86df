import numpy as np
import pytest
import torch
from scipy import ndimage

from dseq_mm.regions import components, label_components


def oracle(mask):
    """Lowest patch index of each component, by scipy."""
    labels = np.full(mask.shape, -1)
    for row, image in enumerate(mask.numpy()):
        numbers, count = ndimage.label(image, np.ones((3, 3)))
        for number in range(1, count + 1):
            labels[row][numbers == number] = np.flatnonzero(numbers == number)[0]
    return torch.from_numpy(labels)


def spiral(height, width):
    """A path of one patch that winds inwards, one empty patch between its arms."""
    image = np.zeros((height, width), dtype=bool)
    top, left, bottom, right = 0, 0, height - 1, width - 1
    row, column = 0, 0
    while top <= bottom and left <= right:
        image[top, column : right + 1] = True
        image[top : bottom + 1, right] = True
        image[bottom, left : right + 1] = True
        column = left
        left, top, bottom, right = left + 2, top + 2, bottom - 2, right - 2
        row = top
        if top <= bottom and left <= right:
            image[row : bottom + 3, column] = True
            image[row, column : left + 1] = True
    return image


def serpentine(height, width):
    """One path through every second row."""
    image = np.zeros((height, width), dtype=bool)
    image[::2] = True
    image[1::4, -1] = True
    image[3::4, 0] = True
    return image


def shapes(height, width):
    """Masks that are hard for one or the other way of labeling."""
    comb = np.zeros((height, width), dtype=bool)
    comb[:, ::2], comb[-1] = True, True
    checkers = np.indices((height, width)).sum(0) % 2 == 0
    dots = np.zeros((height, width), dtype=bool)
    dots[::2, ::2] = True
    zigzag = np.zeros((height, width), dtype=bool)
    zigzag[np.arange(width) % 2 + height // 2 - 1, np.arange(width)] = True
    basic = [
        spiral(height, width),
        serpentine(height, width),
        comb,
        checkers,
        dots,
        zigzag,
        np.ones((height, width), dtype=bool),
        np.zeros((height, width), dtype=bool),
    ]
    turned = [flip(image) for image in basic for flip in (np.fliplr, np.flipud)]
    return torch.from_numpy(np.stack(basic + turned))


def random_masks(height, width, count=150):
    generator = torch.Generator().manual_seed(height * width)
    density = torch.rand(count, 1, 1, generator=generator)
    return torch.rand(count, height, width, generator=generator) < density


@pytest.fixture(params=['early exit', 'bounded', 'opencv'])
def label(request, monkeypatch):
    """Each way of labeling components."""
    if request.param == 'opencv':
        return lambda mask: label_components(mask, 'opencv')
    if request.param == 'bounded':
        monkeypatch.setattr(components, 'may_look', lambda x: False)
    return label_components


@pytest.mark.parametrize('grid', [(14, 14), (7, 23), (28, 28), (2, 2), (3, 3)])
def test_hard_shapes(label, grid):
    masks = shapes(*grid)
    assert torch.equal(label(masks), oracle(masks))


@pytest.mark.parametrize('grid', [(14, 14), (6, 6), (9, 31), (1, 12), (12, 1), (1, 1)])
def test_random_masks(label, grid):
    masks = random_masks(*grid)
    assert torch.equal(label(masks), oracle(masks))


@pytest.mark.parametrize('grid', [(3, 3), (4, 3)])
def test_every_mask_of_a_small_grid(label, grid):
    num = grid[0] * grid[1]
    masks = (torch.arange(2**num)[:, None] >> torch.arange(num) & 1).bool()
    masks = masks.view(-1, *grid)
    assert torch.equal(label(masks), oracle(masks))
