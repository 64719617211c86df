"""VICReg and its projector, against loops over images and channels."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmpretrain.registry import MODELS
from torch import nn
from torch.testing import assert_close

from dseq_mm.models import TrainingClock, VICRegHead
from dseq_mm.models.heads.projector import Projector
from dseq_mm.models.heads.vicreg import covariance, pairwise_distance, variance
from tests.models.builders import build_jepa, images, jepa_config, samples
from tests.models.test_jepa import regularized
from tests.oracles import regularizers as oracle
from tests.oracles.plans import random_plan

CLOCK = TrainingClock(1, 3, 0.5)
exact = dict(rtol=1e-12, atol=1e-12)


def ragged(steps=3, rows=5, dims=6, seed=0):
    """A plan with ragged blocks, and features with NaN in the padding."""
    generator = torch.Generator().manual_seed(seed)
    plan = random_plan(rows, 12, steps, generator)
    assert not plan.has_empty_group
    assert rows == 1 or (plan.target_ids < 0).any()
    size = (*plan.target_ids.shape, dims)
    padding = plan.target_ids[..., None] < 0
    prediction, target = (
        torch.randn(size, generator=generator, dtype=torch.float64).masked_fill(
            padding, torch.nan
        )
        for _ in range(2)
    )
    return plan, prediction, target


def build(projector=(7, 5, 4), dims=6, **kwargs):
    torch.manual_seed(0)
    head = VICRegHead(dims, projector=projector, **kwargs).double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return head


def projected(head, plan, tokens):
    """Views by the oracle: ``views[block][image]``."""
    means = oracle.block_means(plan, tokens)
    blocks = len(means[0])
    rows = oracle.project(head.projector, [row for sample in means for row in sample])
    return [rows[block::blocks] for block in range(blocks)]


@pytest.mark.parametrize(
    ('views', 'num', 'channels'), [(1, 2, 1), (2, 3, 5), (4, 7, 3)]
)
def test_terms_are_those_of_the_equations(views, num, channels):
    z, t = torch.randn(2, views, num, channels, dtype=torch.float64)
    z[:, :, 0] *= 0.01  # a channel on the hinge
    sim, std, cov = oracle.vicreg_terms(list(z), list(t), gamma=1.5, eps=0.1)
    assert_close(variance(z, 1.5, 0.1), std, **exact)
    assert std > 0
    assert_close(2 * covariance(z), torch.as_tensor(cov).double(), **exact)
    assert_close(torch.nn.functional.mse_loss(z, t), sim, **exact)
    if views > 1:
        pairs, _, _ = oracle.vicreg_terms(list(z))
        assert_close(pairwise_distance(z), pairs, **exact)


@pytest.mark.parametrize('projector', [(), (4,), (7, 5, 4)])
@pytest.mark.parametrize('pairs', ['target', 'blocks'])
def test_loss_is_that_of_the_equations_with_ragged_blocks(pairs, projector):
    head = build(projector, pairs=pairs, weight=0.3, sim=2.0, std=3.0, cov=5.0)
    plan, prediction, target = ragged()
    prediction.requires_grad_()
    loss, log = head.loss(None, prediction, target, plan, CLOCK)
    views = projected(head, plan, prediction)
    targets = projected(head, plan, target) if pairs == 'target' else None
    terms = oracle.vicreg_terms(views, targets)
    for name, term in zip(('sim', 'std', 'cov'), terms, strict=True):
        assert_close(log[f'vicreg_{name}'], term, **exact)
    expected = 0.3 * (2 * terms[0] + 3 * terms[1] + 5 * terms[2])
    assert_close(loss, expected, **exact)
    wanted = [prediction, *head.parameters()]
    found = torch.autograd.grad(loss, wanted, retain_graph=True)
    for one, other in zip(found, torch.autograd.grad(expected, wanted), strict=True):
        assert_close(one, other, rtol=1e-9, atol=1e-12)
        assert one.any()


def test_projector_learns_from_the_targets_too():
    plan, prediction, target = ragged()
    head = build(weight=1.0, std=0.0, cov=0.0)
    head.loss(None, prediction, target, plan, CLOCK)[0].backward()
    found = [parameter.grad.clone() for parameter in head.parameters()]
    views, others = (projected(head, plan, x) for x in (prediction, target))
    fixed = [[row.detach() for row in view] for view in others]
    sim, _, _ = oracle.vicreg_terms(views, fixed)
    one_sided = torch.autograd.grad(25 * sim, list(head.parameters()))
    pairs = zip(found, one_sided, strict=True)
    assert not any(torch.allclose(one, other, rtol=1e-3) for one, other in pairs)


@pytest.mark.parametrize('pairs', ['target', 'blocks'])
def test_unrolled_plan_gives_the_same_loss(pairs):
    plan, prediction, target = ragged()
    single = plan.unroll()

    def unrolled(tokens):
        """The same vectors in the slots of the unrolled plan, by patch and step."""
        rows, slots = single.target_ids.shape
        out = torch.full((rows, slots, tokens.shape[-1]), torch.nan).double()
        for row in range(rows):
            sample, step = row // plan.num_steps, row % plan.num_steps + 1
            for slot, patch in enumerate(single.target_ids[row].tolist()):
                if patch >= 0:
                    same = plan.target_ids[sample] == patch
                    same &= plan.target_step[sample] == step
                    out[row, slot] = tokens[sample, same.nonzero().item()]
        return out

    head = build(pairs=pairs)
    one_pass, _ = head.loss(None, prediction, target, plan, CLOCK)
    again, _ = head.loss(None, unrolled(prediction), unrolled(target), single, CLOCK)
    assert_close(again, one_pass, **exact)


def test_projector_is_the_released_one():
    layers = [
        layer
        for layer in VICRegHead(768).projector.modules()
        if isinstance(layer, (nn.Linear, nn.BatchNorm1d, nn.ReLU))
    ]
    kinds = [type(layer).__name__ for layer in layers]
    assert kinds == [*(['Linear', 'BatchNorm1d', 'ReLU'] * 2), 'Linear']
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in linear] == [3072] * 3
    assert all(layer.bias is None for layer in linear)
    total = sum(p.numel() for layer in layers for p in layer.parameters())
    assert total == 768 * 3072 + 2 * 3072**2 + 4 * 3072


def test_projector_keeps_the_blocks_of_an_image_apart():
    """Batch norm mixes images; in evaluation mode a view is a function of its image."""
    projector = Projector(3, (5, 4)).eval()
    pooled = torch.randn(6, 2, 3)
    views = projector(pooled)
    assert views.shape == (2, 6, 4)
    for image in range(6):
        for block in range(2):
            alone = projector.layers(pooled[image, block][None])[0]
            assert_close(views[block, image], alone)


def test_initialization_is_torchs():
    heads = []
    for initialize in (False, True):
        torch.manual_seed(3)
        heads.append(VICRegHead(6, projector=(7, 5, 4)))
        if initialize:
            heads[-1].init_weights()
    one, other = (head.state_dict() for head in heads)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize('pairs', ['target', 'blocks'])
def test_autocast_keeps_every_term_in_float32(pairs):
    plan, prediction, target = ragged()
    prediction, target = prediction.bfloat16(), target.float()
    head = build(pairs=pairs).float()
    plain, terms = head.loss(None, prediction.float(), target, plan, CLOCK)
    with torch.autocast('cpu', torch.bfloat16):
        loss, log = head.loss(None, prediction, target, plan, CLOCK)
    assert loss.dtype == torch.float32 and torch.equal(loss, plain)
    for name, term in log.items():
        assert term.dtype == torch.float32 and torch.equal(term, terms[name])


@pytest.mark.parametrize('method', ['CJEPA', 'DSeqCJEPA'])
def test_every_term_is_logged_and_adds_up(method):
    model = build_jepa(**regularized(method))
    model.clock = CLOCK
    with torch.autocast('cpu', torch.bfloat16):
        losses = model.loss(images(4), samples(range(4)))
    sim, std, cov = (losses[f'vicreg_{name}'] for name in ('sim', 'std', 'cov'))
    total = losses['latent'] + 0.001 * (25 * sim + 25 * std + cov)
    assert_close(losses['loss'].detach(), total)
    assert losses['loss'].dtype == torch.float32
    parsed, logged = model.parse_losses(losses)
    assert torch.equal(parsed, losses['loss'])  # the terms are not added again
    assert {'latent', 'vicreg_sim', 'vicreg_std', 'vicreg_cov'} <= logged.keys()
    assert not any(logged[name].requires_grad for name in logged if name != 'loss')


@pytest.mark.parametrize('method', ['CJEPA', 'DSeqCJEPA'])
def test_the_method_has_vicreg_by_default(method):
    kwargs = regularized(method)
    del kwargs['regularizers']
    with torch.device('meta'):
        (head,) = MODELS.build(jepa_config(**kwargs)).regularizers
    assert (head.pairs, head.weight, head.sim, head.std, head.cov) == (
        'target',
        0.001,
        25,
        25,
        1,
    )
    assert (head.gamma, head.eps) == (1, 1e-4)


def test_checkpoint_holds_projector_and_its_statistics(tmp_path):
    model = build_jepa(seed=0, **regularized('CJEPA'))
    model.loss(images(4), samples(range(4)))
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    state = torch.load(tmp_path / 'model.pth', weights_only=True)
    names = [name for name in state if name.startswith('regularizers.0.projector.')]
    assert sum(name.endswith('running_mean') for name in names) == 2
    assert sum(state[name].dim() == 2 for name in names) == 3
    other = build_jepa(seed=1, **regularized('CJEPA'))
    other.load_state_dict(state)
    for name in names:
        assert torch.equal(other.state_dict()[name], state[name])
    loss = model.loss(images(4, seed=1), samples(range(4)))['loss']
    again = other.loss(images(4, seed=1), samples(range(4)))['loss']
    assert torch.equal(loss, again)


def test_decay_is_for_the_matrices_of_the_projector_alone():
    model = build_jepa(**regularized('CJEPA'))
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='GuardedOptimWrapper',
            constructor='JEPAOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.04),
            paramwise_cfg=dict(bias_decay_mult=0.0, flat_decay_mult=0.0),
        ),
    )
    decay = {
        id(parameter): group['weight_decay']
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    parameters = list(model.regularizers.parameters())
    assert sorted(parameter.dim() for parameter in parameters) == [1] * 4 + [2] * 3
    for parameter in parameters:
        assert decay[id(parameter)] == (0.04 if parameter.dim() == 2 else 0.0)


def test_a_single_image_is_refused():
    plan, prediction, target = ragged(rows=1)
    with pytest.raises(ValueError, match='2 images.*batch_size'):
        build().loss(None, prediction, target, plan, CLOCK)


def test_an_empty_region_is_refused():
    generator = torch.Generator().manual_seed(1)
    plan = random_plan(4, 4, 4, generator)
    assert plan.has_empty_group
    tokens = torch.randn(*plan.target_ids.shape, 6).double()
    with pytest.raises(ValueError, match='released=False'):
        build().loss(None, tokens, tokens, plan, CLOCK)


def test_blocks_of_one_block_are_refused():
    plan, prediction, target = ragged(steps=1)
    assert build().loss(None, prediction, target, plan, CLOCK)[0].isfinite()
    with pytest.raises(ValueError, match="one block.*pairs='target'"):
        build(pairs='blocks').loss(None, prediction, target, plan, CLOCK)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(pairs='context'), "'target' or 'blocks'"),
        (dict(weight=-1.0), 'weight=-1.0 of VICRegHead: .* from 0'),
        (dict(cov=-1.0), 'cov=-1.0 of VICRegHead'),
        (dict(gamma=0.0), 'gamma=0.0 of VICRegHead: .* above 0'),
        (dict(eps=0.0), 'eps=0.0 of VICRegHead'),
        (dict(projector=(8, 0)), 'widths must be positive'),
        (dict(projector=(8, 1.5)), 'widths must be positive whole'),
    ],
)
def test_nonsense_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        VICRegHead(6, **options)
