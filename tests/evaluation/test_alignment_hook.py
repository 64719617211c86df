"""The hook measures what the maps of its own model have in common with masks."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub

from dseq_mm.evaluation import AlignmentHook
from dseq_mm.models.saliency import SaliencyProxy
from tests.models.builders import build_jepa


class Planted(SaliencyProxy):
    """The mean color of each patch, as it is or inverted."""

    needs_class_token = False

    def __init__(self, sign):
        super().__init__()
        self.sign = sign

    def forward(self, encoded, sample_idx, clock, latent_loss):
        return self.sign * self.colors

    def watch(self, model):
        """Keep the mean color of what is encoded."""
        encode, size = model.encode_target, model.backbone.patch_size

        def watched(images):
            self.colors = torch.nn.functional.avg_pool2d(images.mean(1), size)
            return encode(images)

        model.encode_target = watched
        return self


@pytest.fixture
def pictures(tmp_path):
    """Bright squares on black, and their masks."""
    for place in ('images', 'masks'):
        (tmp_path / place).mkdir()
    for number in range(5):
        mask = np.zeros((24, 32), np.uint8)
        left = 8 * (number % 4)
        mask[8:16, left : left + 8] = 1
        image = np.repeat(255 * mask[..., None], 3, 2)
        cv2.imwrite(f'{tmp_path}/images/{number}.png', image)
        cv2.imwrite(f'{tmp_path}/masks/{number}.png', mask)
    return dict(images=f'{tmp_path}/images', masks=f'{tmp_path}/masks')


def run(model, name, epochs=1, **settings):
    hub, said, drawn = MessageHub(name), [], []
    runner = SimpleNamespace(
        model=model,
        message_hub=hub,
        visualizer=SimpleNamespace(add_scalars=lambda values, step: drawn.append(step)),
        logger=SimpleNamespace(info=said.append, warning=said.append),
        max_epochs=epochs,
    )
    hook = AlignmentHook(**settings)
    hook.before_train(runner)
    for runner.epoch in range(epochs):
        hook.after_train_epoch(runner)
    values = {key: scalar.data[0] for key, scalar in hub.log_scalars.items()}
    return values, said, drawn


@pytest.mark.parametrize(('sign', 'auc'), [(1, 1.0), (-1, 0.0)])
def test_the_mask_and_its_inverse(pictures, sign, auc):
    model = build_jepa()
    model.mask_generator.saliency = Planted(sign).watch(model)
    model.mask_generator.hidden = ()
    model.train()
    before = torch.get_rng_state()
    values, said, drawn = run(model, f'auc{sign}', 3, interval=2, **pictures)
    assert torch.equal(torch.get_rng_state(), before) and model.training
    assert drawn == [2, 3] and len(said) == 2 and 'saliency_auc' in said[0]
    assert values['val/saliency_auc'].tolist() == [auc] * 2
    assert values['val/figure'].tolist() == pytest.approx([64 / 768] * 2)
    share, chance = values['val/r1_figure'][0], values['val/figure'][0]
    assert share > 3 * chance if sign > 0 else share < chance


def test_batches_make_no_difference(pictures):
    model = build_jepa()
    whole, *_ = run(model, 'whole', **pictures)
    parts, *_ = run(model, 'parts', batch_size=2, **pictures)
    assert whole.keys() == parts.keys() and len(whole) == 4
    for name, values in whole.items():
        assert values.tolist() == pytest.approx(parts[name].tolist(), rel=1e-6)


def test_what_cannot_be_measured(pictures):
    with pytest.raises(ValueError, match='measures a saliency'):
        run(build_jepa(method='IJEPA'), 'none', **pictures)
    with pytest.raises(ValueError, match='AlignmentHook: .*no such file or folder'):
        run(build_jepa(), 'none', **dict(pictures, masks='nowhere'))
    with pytest.raises(ValueError, match='a whole number from 1'):
        AlignmentHook(**pictures, number=0)


def test_a_failure_amid_the_training_is_a_warning(pictures, monkeypatch):
    def fail(self, model):
        raise OSError('the disk is gone')

    monkeypatch.setattr(AlignmentHook, 'measure', fail)
    values, said, drawn = run(build_jepa(), 'fails', **pictures)
    assert not values and not drawn
    assert 'the training goes on: OSError: the disk is gone' in said[0]
