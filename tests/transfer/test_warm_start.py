"""A new pre-training from the weights of an earlier one."""

import pytest
import torch

import projects.dmt_jepa  # noqa: F401
from dseq_mm.transfer.export import export_backbone
from tests.models.builders import build_jepa

METHODS = ['DSeqJEPA', 'IJEPA', 'NEPA', 'DMTJEPA']


def trained(method):
    """A model whose parts all differ from each other and from a new one."""
    model = build_jepa(method=method)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if 'pos_embed' not in name:
                value.copy_(torch.randn(value.shape, generator=generator))
    return model


def saved(model, path):
    torch.save(dict(meta=dict(epoch=2, iter=9), state_dict=model.state_dict()), path)
    return path


def warm(method, path):
    return build_jepa(method=method, warm_start=str(path), spread=False)


@pytest.mark.parametrize('method', METHODS)
def test_encoders_and_other_parts_start_from_a_checkpoint(tmp_path, method):
    source = trained(method)
    source.target_encoder.steps += 9
    model = warm(method, saved(source, tmp_path / 'x.pth'))
    own, wanted = model.state_dict(), source.state_dict()
    for name, value in wanted.items():
        for prefix in ('target_encoder.module.', 'backbone.'):
            if name.startswith('target_encoder.module.'):  # both from the target
                key = name.replace('target_encoder.module.', prefix)
                assert torch.equal(own[key], value), key
        if name.startswith(('neck.', 'context_head.')):
            assert torch.equal(own[name], value), name
    if method == 'DMTJEPA':
        head = model.target_head.module.state_dict()
        for name, value in source.context_head.state_dict().items():
            assert torch.equal(head[name], value), name
        assert model.target_head.steps == 0
    assert model.target_encoder.steps == 0  # all clocks at zero


def test_a_class_token_that_the_file_lacks_starts_anew(tmp_path):
    """I-JEPA's encoder in DSeq-JEPA, whose saliency reads the token."""
    source = trained('IJEPA')
    model = warm('DSeqJEPA', saved(source, tmp_path / 'x.pth'))
    own = model.backbone.state_dict()
    new = build_jepa(method='DSeqJEPA', spread=False).backbone.state_dict()
    for name, value in source.target_encoder.module.state_dict().items():
        found = own[name][:, 1:] if name == 'pos_embed' else own[name]
        assert torch.equal(found, value), name
    assert torch.equal(own['pos_embed'][:, :1], new['pos_embed'][:, :1])
    assert torch.equal(own['cls_token'], new['cls_token'])
    target = model.target_encoder.module.state_dict()
    assert all(torch.equal(own[name], target[name]) for name in own)


def test_an_exported_backbone_leaves_the_predictor_new(tmp_path):
    source = trained('DSeqJEPA')
    path = tmp_path / 'backbone.pth'
    export_backbone(saved(source, tmp_path / 'x.pth'), path)
    model = warm('DSeqJEPA', path)
    expected = source.target_encoder.module.state_dict()
    for part in (model.backbone, model.target_encoder.module):
        for name, value in part.state_dict().items():
            assert torch.equal(value, expected[name]), name
    assert not torch.equal(model.neck.embed.weight, source.neck.embed.weight)
    assert model.neck.embed.weight.std() > 0


def test_a_predictor_of_other_shape_starts_anew(tmp_path):
    source = trained('IJEPA')
    path = saved(source, tmp_path / 'x.pth')
    state = source.state_dict()
    state['neck.embed.weight'] = state['neck.embed.weight'][:-1]
    torch.save(dict(state_dict=state), path)
    model = warm('IJEPA', path)
    assert not torch.equal(model.neck.embed.bias, source.neck.embed.bias)
    assert torch.equal(model.backbone.pos_embed, source.target_encoder.module.pos_embed)


def test_an_encoder_that_does_not_fit_is_refused(tmp_path):
    source = trained('IJEPA')
    state = source.state_dict()
    del state['target_encoder.module.ln1.weight']
    path = tmp_path / 'x.pth'
    torch.save(dict(state_dict=state), path)
    with pytest.raises(ValueError, match='does not fit the backbone'):
        warm('IJEPA', path)
