"""A checkpoint says what it is, exported or not; what is unknown is refused."""

import hashlib
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS

from dseq_mm.engine.record import settings_of
from dseq_mm.runs.subject import other_settings, read_subject
from dseq_mm.runs.tasks import choose_tasks
from dseq_mm.runs.transfer_table import paper_figure
from dseq_mm.tables import TASKS
from dseq_mm.tables.paper import FIGURES
from dseq_mm.transfer.architectures import ARCHITECTURES
from dseq_mm.transfer.export import export_backbone
from dseq_mm.utils.configs import resolve_config
from tests.runs.transfer.conftest import DIGITS

MAE = 'mae/mae_vit-base-p16_8xb512-amp-coslr-1600e_in1k'
MOCO_V3 = 'mocov3/mocov3_vit-small-p16_16xb256-amp-coslr-300e_in1k'
ARCH_KEYS = ('embed_dims', 'num_layers', 'num_heads', 'feedforward_channels')


@pytest.mark.parametrize('method', ['DSeqJEPA', 'IJEPA', 'Own', None])
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
        assert subject.method == (None if finished else 'ImageClassifier')


def published(path, arch='vitb16', heads=12, config=None):
    """A file with the keys and shapes of mmpretrain's MAE, which takes no space."""
    cfg = Config.fromfile(resolve_config(f'mmpretrain::{config or MAE}'))
    cfg.model.backbone.arch = dict(
        zip(ARCH_KEYS, [*ARCHITECTURES[arch][:2], heads, 4], strict=True)
    )
    with torch.device('meta'):
        algorithm = MODELS.build(cfg.model)
    state = {
        key: torch.zeros(()).expand(value.shape)
        for key, value in algorithm.state_dict().items()
    }
    torch.save(dict(state_dict=state, meta=dict(cfg=cfg.pretty_text, epoch=7)), path)
    return path


def test_reads_what_mmpretrain_publishes(tmp_path):
    subject = read_subject(published(tmp_path / 'mae.pth'))
    assert (subject.method, subject.arch, subject.encoder) == (
        'MAE',
        'vitb16',
        'context',
    )
    assert subject.class_token and subject.epoch == 7 and not subject.finished
    chosen, _ = choose_tasks('knn,linear,coco', subject)
    stems = [Path(config).stem for config in chosen.values()]
    assert stems[0] == 'dseq_vitb16_600e'  # there is no mae_vitb16_600e
    (metric,) = TASKS['linear'].metrics
    record = dict(task='linear', random_init=False, user_options=[], deviations=[])
    figure, note = paper_figure(subject, record, metric)
    assert figure is None and 'does not say with which settings' in note


@pytest.mark.parametrize(('heads', 'fits'), [(6, True), (12, False)])
def test_other_heads_are_refused(tmp_path, heads, fits):
    # the shapes are the same, so that nothing else would tell
    path = published(tmp_path / 'moco.pth', 'vits16', heads, MOCO_V3)
    if fits:
        assert read_subject(path).arch == 'vits16'
        return
    with pytest.raises(
        ValueError, match='with 12 heads; the configs for ViT-S.* have 6'
    ):
        read_subject(path)


@pytest.mark.parametrize('written', ['target', 'context', 'other', [1], None])
def test_the_encoder_of_an_exported_file(checkpoint, tmp_path, written):
    export_backbone(checkpoint(), tmp_path / 'a.pth')
    file = torch.load(tmp_path / 'a.pth', weights_only=True)
    file['meta']['encoder'] = written
    torch.save(file, tmp_path / 'a.pth')
    known = written if written in ('target', 'context') else 'plain'
    assert read_subject(tmp_path / 'a.pth').encoder == known


def test_refuses_what_it_does_not_know(checkpoint, tmp_path):
    with pytest.raises(ValueError, match='48 channels, 4 blocks.*Known are'):
        read_subject(checkpoint(arch=dict(DIGITS, embed_dims=48)))
    export_backbone(checkpoint(), tmp_path / 'timm.pth', layout='timm')
    assert read_subject(tmp_path / 'timm.pth').arch == 'digits'
    with pytest.raises(FileNotFoundError):
        read_subject(tmp_path / 'none.pth')


RECORD = dict(version=1, global_batch=2048, max_epochs=600, epoch=600)


def pretrained(tmp_path, epoch=600, images=1_281_167, **changes):
    """A checkpoint of ViT-B with the record that a training leaves."""
    path = published(tmp_path / 'dseq.pth')
    file = torch.load(path, weights_only=True)
    cfg = Config.fromfile(resolve_config('dseq_vitb16_600e'))
    cfg.merge_from_dict(changes.pop('options', {}))
    run = {**RECORD, **changes, 'files': dict(number=images, digest='a')}
    run['settings'] = settings_of(cfg)
    meta = dict(cfg=cfg.pretty_text, epoch=epoch, iter=1, run=run)
    state = file['state_dict']
    state |= {
        k.replace('backbone.', 'target_encoder.module.'): v for k, v in state.items()
    }
    torch.save(dict(state_dict=state, meta=meta), path)
    return path


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({}, ''),
        (dict(options={'train_dataloader.dataset.dataset.data_root': 'there'}), ''),
        (dict(options={'optim_wrapper.dtype': 'float16'}), ''),
        (
            dict(options={'model.mask_generator.order': 'random'}),
            "with model.mask_generator.order 'random' instead of not set",
        ),
        (
            dict(options={'optim_wrapper.optimizer.lr': 0.002}),
            'optimizer.lr 0.002 instead of 0.001',
        ),
        (dict(options={'model.warm_start': 'a.pth'}), 'from the weights of a.pth'),
        (dict(epoch=300), 'with 300 epochs instead of 600'),
        (dict(max_epochs=100), 'with 100 epochs instead of 600'),
        (dict(global_batch=256), 'with 256 batch instead of 2048'),
        (dict(images=5), 'with 5 images instead of 1281167'),
    ],
)
def test_figures_of_the_paper_need_its_settings(tmp_path, changes, reason):
    path = pretrained(tmp_path, **changes)
    (metric,) = TASKS['linear'].metrics
    record = dict(task='linear', random_init=False, user_options=[], deviations=[])
    exported = tmp_path / 'exported.safetensors'
    export_backbone(path, exported)
    known = FIGURES['DSeqJEPA', 'vitb16']['linear']
    for file in (path, exported):
        figure, note = paper_figure(read_subject(file), record, metric)
        assert figure == (None if reason else known)
        assert reason in note


@pytest.mark.parametrize('run', [None, 'a run', 3, {}, dict(settings=[1], files=2)])
def test_a_record_of_another_kind_is_none(run):
    (told,) = other_settings(run, 600, 'DSeqJEPA', 'vitb16')
    assert 'does not say with which settings' in told
