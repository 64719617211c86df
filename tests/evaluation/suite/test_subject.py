"""A checkpoint says what it is, exported or not; what is unknown is refused."""

import hashlib

import pytest
import torch

from dseq_mm.evaluation.suite.subject import read_subject
from dseq_mm.transfer.contents import ARCHITECTURES
from dseq_mm.transfer.export import export_backbone
from tests.evaluation.suite.conftest import DIGITS


@pytest.mark.parametrize('method', ['DSeqJEPA', 'IJEPA', None])
@pytest.mark.parametrize('exported', [None, 'target', 'context'])
def test_reads_checkpoints_and_exported_files(checkpoint, method, exported, tmp_path):
    path = checkpoint(method, class_token=method != 'IJEPA')
    if exported:
        export_backbone(path, tmp_path / 'backbone.safetensors', exported)
        path = tmp_path / 'backbone.safetensors'
    subject = read_subject(path)
    assert subject.method == method and subject.arch == 'digits'
    assert subject.encoder == (exported or 'target') and subject.epoch == 3
    assert subject.class_token == (method != 'IJEPA')
    assert subject.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert subject.path == path


@pytest.mark.parametrize('arch', ARCHITECTURES)
def test_knows_the_architectures(arch, tmp_path):
    width, depth, patch, side = ARCHITECTURES[arch][:4]
    state = {f'layers.{block}.ln1.weight': torch.zeros(1) for block in range(depth)}
    state['patch_embed.projection.weight'] = torch.zeros(width, 3, patch, patch)
    state['pos_embed'] = torch.zeros(1, side * side + 1, width)
    state['cls_token'] = torch.zeros(1, 1, width)
    path = tmp_path / 'plain.pth'
    torch.save(state, path)
    subject = read_subject(path)
    assert (subject.arch, subject.encoder, subject.method) == (arch, 'plain', None)
    # the same network on another grid is another case
    state['pos_embed'] = torch.zeros(1, (side + 1) ** 2 + 1, width)
    torch.save(state, path)
    with pytest.raises(ValueError, match='no configs. Known are: .*ViT-L/16'):
        read_subject(path)


def test_knows_a_finished_classifier(checkpoint, tmp_path):
    path = checkpoint('ImageClassifier')
    assert not read_subject(path).finished  # with a target encoder it is none
    file = torch.load(path, weights_only=True)
    weights = {k: v for k, v in file['state_dict'].items() if k.startswith('backbone.')}
    for name, finished in [('neck.weight', False), ('head.fc.weight', True)]:
        state = weights | {name: torch.zeros(10, 96)}
        torch.save(dict(state_dict=state, meta=file['meta']), path)
        subject = read_subject(path)
        assert subject.finished == finished and subject.encoder == 'context'
        assert subject.method is None


def test_refuses_what_it_does_not_know(checkpoint, tmp_path):
    with pytest.raises(ValueError, match='48 channels, 4 blocks.*Known are'):
        read_subject(checkpoint(arch=dict(DIGITS, embed_dims=48)))
    export_backbone(checkpoint(), tmp_path / 'timm.pth', layout='timm')
    with pytest.raises(ValueError, match='--layout mmpretrain'):
        read_subject(tmp_path / 'timm.pth')
    with pytest.raises(FileNotFoundError):
        read_subject(tmp_path / 'none.pth')
