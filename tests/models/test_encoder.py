import pytest
import torch
from mmpretrain.models.backbones import VisionTransformer

from dseq_mm.models import JEPAViT
from dseq_mm.models.layers import sincos_position_embedding
from tests.models.builders import ARCH, images
from tests.oracles.plans import random_plan


@pytest.mark.parametrize('cls_token', [True, False])
def test_state_dict_loads_into_the_stock_vit_and_gives_its_features(cls_token):
    options = dict(
        arch=ARCH,
        img_size=(12, 16),
        patch_size=4,
        with_cls_token=cls_token,
        out_type='raw',
        out_indices=[0, 1],
    )
    ours = JEPAViT(**options).double()
    ours.init_weights()
    stock = VisionTransformer(**options).double()
    stock.load_state_dict(ours.state_dict())
    inputs = images(2, dtype=torch.float64)
    for mine, theirs in zip(ours(inputs), stock(inputs), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)
    encoded = ours.encode(inputs, hidden=[0])
    extra = int(cls_token)
    torch.testing.assert_close(
        encoded.patches, stock(inputs)[1][:, extra:], rtol=0, atol=1e-10
    )
    torch.testing.assert_close(encoded.hidden[0], stock(inputs)[0], rtol=0, atol=1e-10)
    assert encoded.grid == (3, 4)


def test_class_token_attention_row_equals_the_softmax_by_hand():
    vit = JEPAViT(arch=ARCH, img_size=(12, 16), patch_size=4).double()
    vit.init_weights()
    inputs = images(2, dtype=torch.float64)
    encoded = vit.encode(inputs, hidden=[0], attention=[1])
    tokens = vit.layers[1].ln1(encoded.hidden[0])
    attn = vit.layers[1].attn
    query, key, _ = attn.qkv(tokens).chunk(3, dim=-1)
    for image in range(2):
        rows = []
        for head in range(2):
            part = slice(head * 8, head * 8 + 8)
            scores = key[image, :, part] @ query[image, 0, part] / 8**0.5
            rows.append(scores.softmax(0))
        expected = torch.stack(rows).mean(0)[1:].float()
        torch.testing.assert_close(encoded.attention[1][image], expected)


@pytest.mark.parametrize('grid', [(3, 4), (5, 2), (4, 4)])
def test_position_embedding_is_raster_ordered(grid):
    dims, (rows, columns) = 8, grid
    table = sincos_position_embedding(grid, dims)[0]
    for row in range(rows):
        for column in range(columns):
            expected = []
            for value in (row, column):
                angles = [value / 10000 ** (i / 2) for i in range(2)]
                angles = torch.tensor(angles)
                expected += [angles.sin(), angles.cos()]
            torch.testing.assert_close(
                table[row * columns + column], torch.cat(expected)
            )


@pytest.mark.parametrize(
    'options',
    [
        dict(layer_cfgs=dict(drop_path_rate=0.5)),
        dict(layer_cfgs=[dict(drop_path_rate=0.5)]),
        dict(layer_cfgs=dict(drop_path_rate=0.5), drop_path_rate=0.1),
    ],
    ids=['all layers', 'each layer', 'both'],
)
def test_drop_path_drops_whole_rows(options):
    """One layer by hand: a row keeps both branches, one or none, at twice the size."""
    arch = dict(ARCH, num_layers=1)
    vit = JEPAViT(arch=arch, img_size=16, patch_size=4, final_norm=False, **options)
    vit.init_weights()
    with torch.no_grad():
        for parameter in vit.layers.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    rows = 32
    plan = random_plan(rows, 16, 2, torch.Generator().manual_seed(0))
    real = plan.context_ids >= 0
    assert not real.all()  # rows are ragged, so tokens would be packed
    inputs, layer, copies = images(rows, (16, 16)), vit.layers[0], 2
    tokens = plan.gather(vit._embed_patches(inputs)[0], plan.context_ids)
    class_token = (vit.cls_token + vit.pos_embed[:, :1]).expand(rows, copies, -1)
    tokens = torch.cat([class_token, tokens], dim=1)
    visible = plan.context_visibility(copies)._replace(slots=None)
    layer.eval()
    attended = 2 * layer.attn(layer.ln1(tokens), visible)
    wanted = []
    for kept in (0, 1):
        middle = tokens + kept * attended
        for branch in (0, 1):
            mixed = middle + 2 * branch * layer.ffn.layers(layer.ln2(middle))
            wanted.append(mixed[:, copies:])
    vit.train()
    out = vit(inputs, plan)
    found = set()
    for row in range(rows):
        fits = [
            torch.allclose(out[row, real[row]], each[row, real[row]], atol=1e-5)
            for each in wanted
        ]
        assert sum(fits) == 1, row
        found.add(fits.index(True))
    assert found == {0, 1, 2, 3}


def test_rates_of_layers_are_those_of_the_linear_rule_given_one_by_one():
    plan = random_plan(4, 16, 2, torch.Generator().manual_seed(0))
    each = [dict(drop_path_rate=0.0), dict(drop_path_rate=0.5)]
    outputs = []
    for options in (dict(drop_path_rate=0.5), dict(layer_cfgs=each)):
        torch.manual_seed(0)
        vit = JEPAViT(arch=ARCH, img_size=16, patch_size=4, **options)
        vit.init_weights()
        vit.train()
        outputs.append(vit(images(4, (16, 16)), plan))
    assert torch.equal(*outputs)


def test_a_second_initialization_changes_nothing():
    vit = JEPAViT(arch=ARCH, img_size=(12, 16), patch_size=4)
    vit.init_weights()
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    vit.init_weights()
    for name, value in vit.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(layer_cfgs=dict(drop_path=0.1)), "layer_cfgs.*mean 'drop_path_rate'"),
        (dict(layer_cfgs=[{}, dict(norm=1)]), "layer_cfgs has no argument 'norm'"),
        (dict(layer_cfgs=[{}]), 'list of 1, and there are 2 layers'),
        (dict(layer_cfgs=[{}] * 3), 'list of 3, and there are 2 layers'),
        (dict(patch_cfg=dict(strid=4)), "patch_cfg.*mean 'stride'"),
        (dict(arch=dict(ARCH, depth=2)), "arch has no argument 'depth'; it has embed"),
        (dict(arch='base', layer_cfgs=[{}] * 2), 'of 2, and there are 12 layers'),
    ],
)
def test_options_that_nothing_reads_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        JEPAViT(**dict(dict(arch=ARCH, img_size=16, patch_size=4), **options))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(drop_path_rate=2), 'drop_path_rate=2 of JEPAViT: .* from 0, below 1'),
        (dict(drop_path_rate=-1), 'drop_path_rate=-1 of JEPAViT'),
        (dict(drop_rate=1), 'drop_rate=1 of JEPAViT'),
        (dict(layer_cfgs=dict(drop_path_rate=1.0)), 'drop_path_rate=1.0 of MaskedEnc'),
        (dict(layer_cfgs=[{}, dict(drop_path_rate=-1)]), 'drop_path_rate=-1 of Masked'),
        (dict(layer_cfgs=dict(attn_drop_rate=2)), 'attn_drop_rate=2 of MaskedEncoderL'),
        (
            dict(arch=dict(ARCH, num_layers=0)),
            'num_layers=0 of JEPAViT: .* from 1,',
        ),
        (dict(arch=dict(ARCH, num_layers=-2)), 'num_layers=-2 of JEPAViT'),
        (dict(arch=dict(ARCH, embed_dims=0)), 'embed_dims=0 of JEPAViT'),
        (dict(arch=dict(ARCH, num_heads=0)), 'num_heads=0 of JEPAViT'),
        (dict(arch=dict(ARCH, feedforward_channels=1.5)), 'channels=1.5 of JEPAViT'),
        (dict(layer_cfgs=dict(feedforward_channels=0)), 'channels=0 of MaskedEncoder'),
        (dict(patch_size=0), 'patch_size=0 of JEPAViT'),
        (dict(patch_size=-4), 'patch_size=-4 of JEPAViT'),
        (dict(img_size=0), 'img_size=0 of JEPAViT'),
        (dict(img_size=(16, 2**31)), 'img_size=2147483648 of JEPAViT'),
        (dict(init_std=0), 'init_std=0 of JEPAViT: .* above 0'),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    """Rates of 2 and networks of no layer trained without a word."""
    with pytest.raises(ValueError, match=message):
        JEPAViT(**dict(dict(arch=ARCH, img_size=16, patch_size=4), **options))
