import pytest
import torch

from dseq_mm.models.saliency import class_token_similarity, grad_cam
from dseq_mm.regions import normalize_saliency


def test_min_max_of_each_map():
    maps = torch.tensor([[[1.0, 3.0], [2.0, 1.0]], [[-4.0, 0.0], [4.0, 2.0]]])
    normalized, degenerate = normalize_saliency(maps)
    expected = torch.tensor([[[0.0, 1.0], [0.5, 0.0]], [[0.0, 0.5], [1.0, 0.75]]])
    torch.testing.assert_close(normalized, expected, atol=1e-6, rtol=0)
    assert normalized[0, 0, 1] == torch.tensor(2.0) / torch.tensor(2.0 + 1e-6)
    assert not degenerate.any()


@pytest.mark.parametrize(
    'values',
    [
        [3.0, 3.0, 3.0, 3.0],
        [0.0, -0.0, 0.0, -0.0],
        [1.0, float('nan'), 2.0, 3.0],
        [1.0, float('inf'), 2.0, 3.0],
        [1.0, float('-inf'), 2.0, 3.0],
        [float('nan')] * 4,
        [-3e38, 3e38, 0.0, 1.0],
    ],
)
def test_degenerate_maps_become_zeros_and_leave_others_alone(values):
    good = torch.tensor([0.0, 1.0, 2.0, 3.0])
    maps = torch.stack([good, torch.tensor(values)]).view(2, 2, 2)
    normalized, degenerate = normalize_saliency(maps)
    assert degenerate.tolist() == [False, True]
    assert (normalized[1] == 0).all()
    torch.testing.assert_close(normalized[0], normalize_saliency(maps[:1])[0][0])


def test_one_patch_is_degenerate():
    normalized, degenerate = normalize_saliency(torch.tensor([[[5.0]]]))
    assert degenerate.all() and (normalized == 0).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_any_floating_type(dtype):
    maps = torch.rand(2, 4, 4).to(dtype)
    normalized, _ = normalize_saliency(maps)
    assert normalized.dtype == torch.float32
    torch.testing.assert_close(normalized, normalize_saliency(maps.float())[0])


def test_class_token_similarity_is_the_cosine():
    query, tokens = torch.randn(2, 5), torch.randn(2, 3, 5)
    similarity = class_token_similarity(query, tokens)
    for image in range(2):
        for patch in range(3):
            a, b = query[image], tokens[image, patch]
            expected = a @ b / (a.norm() * b.norm())
            torch.testing.assert_close(similarity[image, patch], expected)
    assert class_token_similarity(query.half(), tokens.half()).dtype == torch.float32


def test_grad_cam_by_hand():
    tokens = torch.tensor([[[1.0, 2.0], [3.0, -1.0]]])
    gradients = torch.tensor([[[1.0, 0.0], [3.0, -2.0]]])
    # channel weights 2 and -1: 1 * 2 - 2 = 0, 3 * 2 + 1 = 7
    assert grad_cam(tokens, gradients).tolist() == [[0.0, 7.0]]
    assert grad_cam(tokens, -gradients).tolist() == [[0.0, 0.0]]
