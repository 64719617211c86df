"""Initial weights against I-JEPA's rule, layer kind by layer kind."""

import math

import pytest
import torch
from torch import nn

from dseq_mm.models import JEPAPredictor, JEPAViT
from tests.models.builders import build_jepa

STD = 0.02


def kinds(module):
    """All values of each kind of parameter, joined: ``{kind: values}``."""
    found = {}
    for name, layer in module.named_modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.LayerNorm)):
            kind = type(layer).__name__ if 'attn' not in name else 'attention'
            found.setdefault(f'{kind} weight', []).append(layer.weight.flatten())
            found.setdefault(f'{kind} bias', []).append(layer.bias.flatten())
    return {kind: torch.cat(values).detach() for kind, values in found.items()}


def expected_peak(count):
    """Where the largest of so many normal values lies, in deviations: low, high."""
    typical = math.sqrt(2 * math.log(count))
    return 0.75 * typical, 1.35 * typical


@pytest.mark.parametrize('part', ['encoder', 'predictor'])
def test_mean_deviation_and_largest_value_of_each_kind_of_layer(part):
    torch.manual_seed(0)
    if part == 'encoder':
        arch = dict(embed_dims=192, num_layers=2, num_heads=3, feedforward_channels=768)
        module = JEPAViT(arch=arch, img_size=32, patch_size=16)
    else:
        module = JEPAPredictor(
            embed_dims=192, predictor_dims=192, depth=2, num_heads=3, grid_size=(2, 2)
        )
    module.init_weights()
    values = kinds(module)
    assert {'Linear weight', 'attention weight', 'LayerNorm weight'} <= {*values}
    assert part == 'predictor' or 'Conv2d weight' in values
    for kind, value in values.items():
        if kind == 'LayerNorm weight':
            assert (value == 1).all()
        elif kind.endswith('bias'):
            assert (value == 0).all()
        else:
            error = STD / math.sqrt(len(value))
            low, high = expected_peak(len(value))
            assert abs(value.mean()) < 5 * error, kind
            # cut at two deviations it would be 0.88 of this
            assert value.std().item() == pytest.approx(STD, abs=5 * error), kind
            assert low * STD < value.abs().max() < high * STD, kind


def test_values_are_cut_at_two_and_not_at_two_deviations():
    torch.manual_seed(0)
    arch = dict(embed_dims=64, num_layers=1, num_heads=2, feedforward_channels=256)
    module = JEPAViT(arch=arch, img_size=32, patch_size=16, init_std=1.0)
    module.init_weights()
    value = kinds(module)['Linear weight']
    assert 1.99 < value.abs().max() <= 2
    # a normal distribution cut at two of its deviations
    assert value.std().item() == pytest.approx(0.8796, abs=0.01)


@pytest.mark.parametrize('std', [0.02, 0.06])
def test_tokens_have_the_deviation_of_the_paper_whatever_that_of_the_weights(std):
    torch.manual_seed(0)
    arch = dict(embed_dims=1024, num_layers=1, num_heads=1, feedforward_channels=8)
    encoder = JEPAViT(arch=arch, img_size=32, patch_size=16, init_std=std)
    encoder.init_weights()
    predictor = JEPAPredictor(
        embed_dims=8,
        predictor_dims=1024,
        depth=1,
        mlp_ratio=0.01,
        num_heads=1,
        grid_size=(2, 2),
        init_std=std,
    )
    predictor.init_weights()
    for token in (encoder.cls_token, predictor.mask_token):
        assert token.std().item() == pytest.approx(STD, rel=0.1)
        assert token.abs().max() > 2.5 * STD  # at two deviations nothing is cut


def encoder(**options):
    arch = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32)
    return JEPAViT(arch=arch, img_size=16, patch_size=8, **options)


def predictor(**options):
    options = dict(embed_dims=16, predictor_dims=8, depth=1, num_heads=2) | options
    return JEPAPredictor(**dict(grid_size=(2, 2)) | options)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(depth=0), 'depth=0 of JEPAPredictor: give a whole number from 1'),
        (dict(depth=-2), 'depth=-2 of JEPAPredictor'),
        (dict(depth=1.5), 'depth=1.5 of JEPAPredictor'),
        (dict(depth=True), 'depth=True of JEPAPredictor'),
        (dict(embed_dims=0), 'embed_dims=0 of JEPAPredictor'),
        (dict(predictor_dims=0), 'predictor_dims=0 of JEPAPredictor'),
        (dict(num_heads=0), 'num_heads=0 of JEPAPredictor'),
        (dict(mlp_ratio=0), 'mlp_ratio=0 of JEPAPredictor: give a number above 0'),
        (dict(init_std=-1), 'init_std=-1 of JEPAPredictor'),
        (dict(grid_size=0), 'grid_size=0 of JEPAPredictor'),
        (dict(grid_size=[2, -6]), 'grid_size=-6 of JEPAPredictor'),
    ],
)
def test_a_predictor_without_layers_heads_or_channels_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        predictor(**options)


PARTS = pytest.mark.parametrize('make', [encoder, predictor])


@PARTS
@pytest.mark.parametrize('in_list', [False, True])
def test_init_cfg_comes_after_the_papers_rule(make, in_list):
    config = dict(type='Constant', layer='Linear', val=0.25, bias=0.5)
    module = make(init_cfg=[config] if in_list else config)
    module.init_weights()
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            assert (layer.weight == 0.25).all() and (layer.bias == 0.5).all()
        elif isinstance(layer, nn.LayerNorm):  # of which init_cfg says nothing
            assert (layer.weight == 1).all() and (layer.bias == 0).all()


@PARTS
def test_a_checkpoint_in_init_cfg_has_the_last_word(make, tmp_path):
    source, file = make(), tmp_path / 'part.pth'
    source.init_weights()
    torch.save(source.state_dict(), file)
    pretrained = dict(type='Pretrained', checkpoint=str(file))
    module = make(init_cfg=[pretrained, dict(type='Constant', layer='Linear', val=1)])
    module.init_weights()
    for name, value in source.state_dict().items():
        assert torch.equal(module.state_dict()[name], value), name


@PARTS
def test_a_second_call_draws_nothing(make):
    module = make(init_cfg=dict(type='Normal', layer='Linear', std=1.0))
    module.init_weights()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.get_rng_state()
    module.init_weights()
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_second_call_leaves_a_trained_algorithm_as_it_is():
    """Least of all does the target encoder become the context encoder again."""
    model = build_jepa(method='CJEPA', spread=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.init_weights()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
