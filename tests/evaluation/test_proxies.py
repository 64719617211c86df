"""Every proxy at every block, against images measured one by one."""

import cv2
import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS

from dseq_mm.clock import TrainingClock
from dseq_mm.data.figures import Figures
from dseq_mm.evaluation import load_encoder, saliency_auc
from dseq_mm.evaluation.proxies import Alignment, best, measure_proxies
from dseq_mm.visualization.proxies import draw_proxies
from tests.models.builders import build_jepa
from tests.transfer.conftest import build_vit


@pytest.fixture
def figures(tmp_path):
    """Five noisy images with a bright figure."""
    random = np.random.default_rng(0)
    for place in ('images', 'masks'):
        (tmp_path / place).mkdir()
    for number in range(5):
        mask = np.zeros((32, 32), np.uint8)
        mask[8:20, 4 * number : 4 * number + 10] = 1
        image = random.integers(0, 60, (32, 32, 3)) + 150 * mask[..., None]
        cv2.imwrite(f'{tmp_path}/images/{number}.png', image.astype(np.uint8))
        cv2.imwrite(f'{tmp_path}/masks/{number}.png', mask)
    return Figures(tmp_path / 'images', tmp_path / 'masks')


@pytest.fixture
def file(tmp_path):
    def write(**settings):
        state = build_vit(seed=3, **settings).state_dict()
        meta = dict(architecture=dict(grid=[4, 4], num_heads=2))
        torch.save(dict(state_dict=state, meta=meta), tmp_path / 'x.pth')
        return tmp_path / 'x.pth'

    return write


def test_rows_are_those_of_images_one_by_one(file, figures):
    encoder = load_encoder(file())
    rows = measure_proxies(encoder, figures, batch_size=2)
    vit, clock = encoder.backbone, TrainingClock(0, 0, 1.0)
    assert len(rows) == 4 * vit.num_layers
    assert not any(row.proxy == 'GradCAM' for row in rows)
    height, width = encoder.image_size
    for row in rows[:: vit.num_layers - 1]:
        kind = dict(type=f'dseq_mm.{row.proxy}', block=row.block)
        proxy, found, pointed = MODELS.build(kind), [], []
        for index, name in enumerate(figures.paths):
            image = cv2.imread(f'{figures.images}/{name}')[..., ::-1]
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            pixels = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
            with torch.no_grad():
                encoded = vit.encode(
                    encoder.normalize(pixels), proxy.hidden, proxy.attention
                )
                saliency = proxy(encoded, torch.tensor([index]), clock, None)
            figure, ground = torch.from_numpy(figures.shares(index, (4, 4)))
            found.append(saliency_auc(saliency, figure[None], ground[None]).item())
            pointed.append(figure.flatten()[saliency.flatten().argmax()].item())
        assert row.saliency_auc == pytest.approx(np.mean(found), abs=1e-5)
        assert row.pointing == pytest.approx(np.mean(pointed), abs=1e-5)


def test_inverted_proxies(file, figures):
    encoder = load_encoder(file())
    plain = measure_proxies(encoder, figures)
    inverted = measure_proxies(encoder, figures, polarity='inverted')
    for one, other in zip(plain, inverted, strict=True):
        assert one.saliency_auc + other.saliency_auc == pytest.approx(1)
    found = best(plain)
    assert found.saliency_auc == max(
        max(row.saliency_auc, 1 - row.saliency_auc) for row in plain
    )
    row = Alignment('A', 1, 0.2, *[0.5] * 4)
    assert best([row])[:3] == ('A, inverted', 1, 0.8)
    assert best([row._replace(saliency_auc=0.7)]).proxy == 'A'


def test_what_an_encoder_has(file, figures):
    encoder = load_encoder(file(with_cls_token=False))
    names = {row.proxy for row in measure_proxies(encoder, figures)}
    assert names == {'TokenContrast', 'TokenNorm'}
    model = build_jepa(image=(16, 16), cls_token=True).eval()
    encoder.backbone, encoder.image_size = model.target_encoder.module, (16, 16)
    rows = measure_proxies(encoder, figures, model, num_regions=3)
    assert rows[-1].proxy == 'GradCAM' and rows[-1].block is None
    assert 0 <= rows[-1].saliency_auc <= 1


def test_the_picture(file, figures):
    rows = measure_proxies(load_encoder(file()), figures)
    rows.append(Alignment('GradCAM', None, 0.4, *[0.3] * 4))
    axis = draw_proxies(rows).axes[0]
    labels = axis.get_legend_handles_labels()[1]
    assert labels[-1] == 'GradCAM' and len(labels) == 5
    line = axis.get_lines()[0]
    expected = [row.saliency_auc for row in rows if row.proxy == labels[0]]
    assert list(line.get_ydata()) == expected
