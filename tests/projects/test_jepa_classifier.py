"""A classifier with a JEPA loss: the sum of its two parts, and nothing else."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from dseq_mm.models.jepa import TrainingClock
from projects.jepa_classifier import JEPAClassifier
from tests.end_to_end.runs import write_images
from tests.models.builders import ARCH, build_jepa, images, jepa_config, samples

FOLDER = Path(__file__).parents[2] / 'projects' / 'jepa_classifier' / 'configs'
METHODS = ['DSeqJEPA', 'IJEPA']
CLOCK = TrainingClock(2, 5, 1.0)


def build(method, weight=0.5):
    """A tiny classifier with the plan of a method, as its configs would have it."""
    config = jepa_config(method)
    if method == 'IJEPA':
        config['mask_generator'] = dict(type='MultiBlockMaskGenerator')
    config.update(
        type='JEPAClassifier',
        cls_head=dict(type='LinearClsHead', num_classes=3, in_channels=16),
        jepa_weight=weight,
    )
    torch.manual_seed(0)
    model = MODELS.build(config)
    model.init_weights()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if 'pos_embed' not in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.clock = CLOCK
    return model.double()


def jepa_alone(model, method):
    """The method without a classifier, on the same weights."""
    alone = build_jepa(method=method).double()
    state = {k: v for k, v in model.state_dict().items() if 'cls_head' not in k}
    alone.load_state_dict(state)
    alone.clock = CLOCK
    return alone


def classifier_alone(model):
    """MMPretrain's classifier and its own ViT, on the same weights."""
    alone = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(
                type='VisionTransformer',
                arch=ARCH,
                img_size=(12, 16),
                patch_size=4,
                with_cls_token=model.backbone.cls_token is not None,
                out_type='featmap',
            ),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=3, in_channels=16),
        )
    ).double()
    alone.backbone.load_state_dict(model.backbone.state_dict())
    alone.head.load_state_dict(model.cls_head.state_dict())
    return alone


def labeled(indices):
    """Data samples with dataset indices and labels."""
    return [sample.set_gt_label(sample.sample_idx % 3) for sample in samples(indices)]


def batch():
    """Four images and their samples."""
    return images(4, dtype=torch.float64), labeled([7, 3, 11, 0])


@pytest.mark.parametrize('method', METHODS)
def test_loss_is_the_sum_of_both_alone(method):
    model = build(method, weight=0.5)
    total, logged = model.parse_losses(model(*batch(), mode='loss'))
    jepa = jepa_alone(model, method).loss(*batch())['loss']
    classification = classifier_alone(model).loss(*batch())['loss']
    assert jepa > 0.01 and classification > 0.01
    torch.testing.assert_close(logged['loss_jepa'], 0.5 * jepa)
    torch.testing.assert_close(logged['loss_cls'], classification)
    torch.testing.assert_close(total, classification + 0.5 * jepa)
    assert ('lambda' in logged) == (method == 'DSeqJEPA')


@pytest.mark.parametrize('method', METHODS)
def test_gradient_reaches_every_parameter_and_no_target_parameter(method):
    model = build(method).train()
    model.parse_losses(model(*batch(), mode='loss'))[0].backward()
    for name, parameter in model.named_parameters():
        if name.startswith('target_encoder') or 'pos_embed' in name:
            assert parameter.grad is None, name
        else:
            assert parameter.grad.abs().sum() > 0, name
    assert not model.target_encoder.module.training


@pytest.mark.parametrize('method', METHODS)
def test_without_weight_the_gradient_is_that_of_the_classifier(method):
    model = build(method, weight=0.0)
    model.parse_losses(model(*batch(), mode='loss'))[0].backward()
    alone = classifier_alone(model)
    alone.loss(*batch())['loss'].backward()
    for part, twin in ((model.backbone, alone.backbone), (model.cls_head, alone.head)):
        for name, parameter in part.named_parameters():
            if name != 'pos_embed':  # learned in mmpretrain's ViT, fixed in ours
                gradient = twin.get_parameter(name).grad
                torch.testing.assert_close(parameter.grad, gradient)
    assert all(not p.grad.any() for p in model.neck.parameters() if p.requires_grad)


@pytest.mark.parametrize('method', METHODS)
def test_scores_and_predictions_are_those_of_the_classifier(method):
    model = build(method).eval()
    inputs, data_samples = batch()
    scores = model(inputs)
    torch.testing.assert_close(scores, classifier_alone(model).eval()(inputs))
    for given in (data_samples, None):
        predicted = model(inputs, given, mode='predict')
        assert all(isinstance(sample, DataSample) for sample in predicted)
        labels = torch.cat([sample.pred_label for sample in predicted])
        assert torch.equal(labels, scores.argmax(1))
        written = torch.stack([sample.pred_score for sample in predicted])
        torch.testing.assert_close(written, scores.softmax(1))
    assert all('pred_label' in sample for sample in data_samples)  # written in place


@pytest.mark.parametrize('method', METHODS)
def test_image_j_changes_only_row_j(method):
    model = build(method).eval()
    inputs, _ = batch()
    before = model(inputs)
    inputs[2] += torch.randn(3, 12, 16, generator=torch.Generator().manual_seed(1))
    changed = (model(inputs) - before).abs().amax(1)
    assert changed[2] > 1e-3 and changed[[0, 1, 3]].max() < 1e-12


@pytest.mark.parametrize('method', ['dseq', 'ijepa'])
def test_config_trains_and_validates(method, tmp_path):
    """Hooks, labels and the validation loop, on a few images."""
    cfg = Config.fromfile(FOLDER / f'{method}_classifier_digitscenes_20e.py')
    cfg.work_dir, cfg.experiment_name = str(tmp_path / 'work'), f'{method}_classifier'
    cfg.log_level, cfg.custom_hooks = 'ERROR', []
    folder = dict(
        data_root='', data_prefix=str(write_images(tmp_path / 'images', size=24))
    )
    for dataset in (cfg.train_dataloader.dataset.dataset, cfg.val_dataloader.dataset):
        dataset.update(folder)
    # the images that are written are larger than those of DigitScenes
    cfg.val_dataloader.dataset.pipeline.insert(1, dict(type='CenterCrop', crop_size=24))
    cfg.train_dataloader.batch_size = 8
    cfg.train_cfg.max_epochs = 1
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    runner = Runner.from_cfg(cfg)
    runner.train()
    model = runner.model
    assert isinstance(model, JEPAClassifier)
    assert (model.clock.epoch, model.clock.iteration) == (0, 1)
    assert model.target_encoder.steps == 2
    scalars = runner.message_hub.log_scalars
    assert 0 <= scalars['val/accuracy/top1'].current() <= 100
    total = sum(scalars[f'train/loss_{part}'].current() for part in ('cls', 'jepa'))
    assert scalars['train/loss'].current() == pytest.approx(total)


@pytest.mark.parametrize('weight', [-1.0, float('nan'), float('inf')])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(ValueError, match='jepa_weight must be at least 0'):
        build('IJEPA', weight)


def test_images_without_labels_are_refused():
    model = build('IJEPA').float()
    with pytest.raises(ValueError, match='needs labels'):
        model.loss(images(2), samples(range(2)))


def test_the_head_is_for_the_features_of_the_backbone():
    config = jepa_config('IJEPA')
    config.update(type='JEPAClassifier', cls_head=dict(type='LinearClsHead'))
    config['mask_generator'] = dict(type='MultiBlockMaskGenerator')
    config['cls_head']['num_classes'] = 3
    assert MODELS.build(config).cls_head.in_channels == 16
    config['cls_head']['in_channels'] = 96
    with pytest.raises(ValueError, match='for 96 channels, the backbone has 16'):
        MODELS.build(config)
