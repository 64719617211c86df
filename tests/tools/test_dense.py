"""The counts of the dense backbone against arithmetic by hand."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / 'tools' / 'benchmarks' / 'dense.py'


@pytest.fixture(scope='module')
def dense():
    spec = importlib.util.spec_from_file_location('dense', PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('windows', [False, True])
def test_counts_by_hand(dense, windows):
    # ViT-B, a grid of 28 x 28: four windows of 14 x 14 without padding
    side, width, patches, tokens = 448, 768, 784, 785
    backbone = dense.build('mask-rcnn_vitb16_25e_coco', windows)
    linear = 2 * patches * width * 3 * 16**2 + 12 * 2 * tokens * 12 * width**2
    everywhere, inside = tokens**2, patches * 197 + tokens
    pairs = 4 * everywhere + 8 * (inside if windows else everywhere)
    assert dense.count_attention_weights(backbone, side) == 12 * pairs
    attention = 2 * 2 * pairs * width  # two products of d per head and pair
    assert dense.count_flops(backbone, side) == linear + attention
