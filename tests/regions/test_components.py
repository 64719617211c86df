import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage

from dseq_mm.regions.search import components_above
from dseq_mm.regions.selection import neighbor_table


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


def ours(mask, low=1):
    """Labels of the components as found in the whole grid."""
    labels = np.full((len(mask), mask[0].numel()), -1)
    table, marks = (
        neighbor_table(tuple(mask.shape[1:])),
        np.zeros(mask[0].numel(), bool),
    )
    everything = np.arange(mask[0].numel())
    for row, levels in enumerate(mask.flatten(1).numpy().astype(np.int64)):
        for part in components_above(levels, everything, 0, low, marks, table):
            assert (labels[row][part] == -1).all()
            labels[row][part] = part.min()
        assert not marks.any()
    return torch.from_numpy(labels).view(mask.shape)


def opencv(mask):
    """Lowest patch index of each component, by OpenCV."""
    labels = np.full(mask.shape, -1)
    for row, image in enumerate(mask.numpy().astype(np.uint8)):
        count, numbers = cv2.connectedComponents(image, connectivity=8)
        for number in range(1, count):
            labels[row][numbers == number] = np.flatnonzero(numbers == number)[0]
    return torch.from_numpy(labels)


@pytest.fixture(params=[oracle, opencv])
def label(request):
    """Each way of labeling components that is not ours."""
    return request.param


@pytest.mark.parametrize('grid', [(14, 14), (7, 23), (28, 28), (2, 2), (3, 3)])
def test_hard_shapes(label, grid):
    masks = shapes(*grid)
    assert torch.equal(label(masks), ours(masks))


@pytest.mark.parametrize('grid', [(14, 14), (6, 6), (9, 31), (1, 12), (12, 1), (1, 1)])
def test_random_masks(label, grid):
    masks = random_masks(*grid)
    assert torch.equal(label(masks), ours(masks))


@pytest.mark.parametrize('grid', [(3, 3), (4, 3)])
def test_every_mask_of_a_small_grid(label, grid):
    num = grid[0] * grid[1]
    masks = (torch.arange(2**num)[:, None] >> torch.arange(num) & 1).bool()
    masks = masks.view(-1, *grid)
    assert torch.equal(label(masks), ours(masks))


def test_small_components_are_left_out():
    masks = random_masks(9, 9)
    labels = oracle(masks)
    for row in labels:
        for root, size in zip(*row.unique(return_counts=True), strict=True):
            if size < 4:
                row[row == root] = -1
    assert torch.equal(ours(masks, low=4), labels)


def test_a_segment_is_searched_alone():
    # two bars that touch; only the upper one is asked for
    levels, table = np.ones(9, np.int64), neighbor_table((3, 3))
    found = components_above(levels, np.arange(3), 0, 1, np.zeros(9, bool), table)
    assert [sorted(part) for part in found] == [[0, 1, 2]]
