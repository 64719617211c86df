"""What parts are told when they are built, and what they may hand to the log."""

from dataclasses import replace

import pytest
import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import nn

from dseq_mm.models import (
    JEPA,
    JEPAPredictor,
    LatentPredictionHead,
    MultiBlockMaskGenerator,
    RegularizerHead,
)
from dseq_mm.models.parts import build_part, split_log
from tests.models.builders import build_jepa, images, samples

FACTS = dict(grid_size=(3, 4), embed_dims=16, num_heads=2)


class Asks(BaseModule):
    """A part that asks for one fact."""

    def __init__(self, embed_dims, own=1):
        super().__init__()
        self.told = dict(embed_dims=embed_dims, own=own)


class Passes(Asks):
    """A part that passes on what it does not know."""

    def __init__(self, more=2, **kwargs):
        super().__init__(**kwargs)
        self.told['more'] = more


class Silent(nn.Module):
    """A part without arguments."""


class Predictor(JEPAPredictor):
    """A predictor of a user's own."""

    def __init__(self, *args, extra=0, **kwargs):
        super().__init__(*args, **kwargs)


@pytest.mark.parametrize(
    ('cfg', 'told'),
    [
        (dict(type=Asks), dict(embed_dims=16, own=1)),
        (dict(type=Asks, embed_dims=8, own=3), dict(embed_dims=8, own=3)),
        (dict(type=Passes), dict(embed_dims=16, own=1, more=2)),
        (dict(type=Silent), None),
        (dict(type='NextPatchPredictor'), None),
        (dict(type='mmpretrain.LatentPredictionHead'), None),
    ],
)
def test_a_part_is_told_what_it_asks_for(cfg, told):
    assert getattr(build_part(cfg, 'neck', **FACTS), 'told', None) == told


def test_a_predictor_of_a_users_own_is_told_grid_channels_and_heads():
    neck = build_part(dict(type=Predictor, predictor_dims=8, depth=1), 'neck', **FACTS)
    assert neck.grid_size == (3, 4) and neck.embed.in_features == 16
    assert neck.layers[0].attn.num_heads == 2


def test_unknown_parts_are_the_registrys_to_refuse():
    with pytest.raises(KeyError, match='NoSuchPart'):
        build_part(dict(type='NoSuchPart'), 'neck', **FACTS)
    with pytest.raises(KeyError, match='type'):
        build_part(dict(depth=3), 'neck', **FACTS)


def test_jepa_itself_takes_any_masks():
    masks = dict(type='MultiBlockMaskGenerator')
    model = build_jepa(method='JEPA', mask_generator=masks)
    assert type(model) is MODELS.get('JEPA') is JEPA
    named = build_jepa(method='IJEPA')
    for each in (model, named):
        each.clock = each.clock._replace(seed=3)
    losses = [m.loss(images(3), samples(range(3)))['loss'] for m in (model, named)]
    assert torch.equal(*losses)
    with pytest.raises(ValueError, match='JEPA has no masks of its own'):
        build_jepa(method='JEPA')


class Terms(RegularizerHead):
    """A regularizer that logs what a test says."""

    def __init__(self, terms=None, value=0.0):
        super().__init__()
        self.terms, self.value = terms, value

    def loss(self, context, prediction, target, plan, clock):
        value = self.value * prediction.square().mean()
        return value if self.terms is None else (value, self.terms(value))


class Counted(MultiBlockMaskGenerator):
    """Masks that are counted for the log."""

    def forward(self, *args):
        plan = super().forward(*args)
        return replace(plan, log=dict(hidden=(plan.target_ids >= 0).sum()))


class Scored(LatentPredictionHead):
    """A latent loss that logs a second distance."""

    def loss(self, prediction, target, plan):
        return super().loss(prediction, target, plan), dict(bias=prediction.mean())


def build(*regularizers, mask_generator=None, head=None):
    model = build_jepa(
        method='JEPA',
        monitor=False,
        mask_generator=mask_generator or dict(type='MultiBlockMaskGenerator'),
        regularizers=[dict(type=Terms, **options) for options in regularizers],
    )
    model.head = head or model.head
    return model


def test_what_parts_return_is_logged_and_only_losses_are_added():
    terms = [
        dict(terms=lambda value: dict(size=value, share=0.25), value=0.5),
        dict(terms=lambda value: dict(size=2 * value), value=2.0),
        dict(value=1.0),
    ]
    model = build(*terms, mask_generator=dict(type=Counted), head=Scored())
    losses = model.loss(images(3), samples(range(3)))
    names = ['loss', 'hidden', 'bias', 'latent', 'size', 'share', 'size_1']
    assert list(losses) == names
    total, logged = model.parse_losses(losses)
    assert torch.equal(total, losses['loss']) and total.requires_grad
    assert not any(logged[name].requires_grad for name in names[1:])
    assert logged['share'] == 0.25 and logged['hidden'] > 0
    expected = losses['latent'] + losses['size'] * (1 + 4 + 2)
    torch.testing.assert_close(total.detach(), expected)


def test_one_latent_loss_is_logged_as_the_loss_alone():
    assert list(build().loss(images(3), samples(range(3)))) == ['loss']


def test_a_statistic_that_would_be_added_to_the_loss_is_refused():
    model = build(dict(terms=lambda value: dict(my_loss_term=value)))
    with pytest.raises(ValueError, match="Terms logs 'my_loss_term'.*another name"):
        model.loss(images(3), samples(range(3)))


def test_gradcam_reads_the_loss_of_a_head_that_logs():
    model = build_jepa(
        mask_generator=dict(
            type='DiscriminativeMaskGenerator',
            saliency=dict(type='GradCAM'),
            num_regions=4,
        )
    )
    plain = model.loss(images(3), samples(range(3)))
    model.head = Scored()
    scored = model.loss(images(3), samples(range(3)))
    assert torch.equal(plain['loss'], scored['loss']) and 'bias' in scored


@pytest.mark.parametrize(
    'result', [None, {}, torch.zeros(3), (torch.zeros(3), {}), (torch.zeros(()), 1)]
)
def test_what_is_no_loss_is_refused_by_name(result):
    with pytest.raises(ValueError, match=r'loss\(\) of Identity returns a scalar'):
        split_log(result, torch.nn.Identity())


def test_a_mask_generator_that_makes_no_plan_is_refused_by_name():
    model = build()
    model.mask_generator.forward = lambda *given: None
    with pytest.raises(ValueError, match='MultiBlockMaskGenerator returns a Pred'):
        model.loss(images(3), samples(range(3)))
