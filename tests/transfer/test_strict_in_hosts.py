"""In all three libraries a model starts from the checkpoint, or not at all."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope

from tests.libraries import need
from tests.transfer.conftest import ARCH, WRONG

D = ARCH['embed_dims']
NECK = [
    dict(type='mmseg.Feature2Pyramid', embed_dim=D, norm_cfg=dict(type='BN')),
    dict(type='mmdet.FPN', in_channels=[D] * 4, out_channels=8, num_outs=5),
]


def mask_rcnn(backbone):
    def extractor(size):
        return dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=size, sampling_ratio=0),
            out_channels=8,
            featmap_strides=[4, 8, 16, 32],
        )

    return dict(
        type='MaskRCNN',
        backbone=backbone,
        neck=NECK,
        rpn_head=dict(
            type='RPNHead',
            in_channels=8,
            feat_channels=8,
            anchor_generator=dict(
                type='AnchorGenerator',
                scales=[8],
                ratios=[1.0],
                strides=[4, 8, 16, 32, 64],
            ),
        ),
        roi_head=dict(
            type='StandardRoIHead',
            bbox_roi_extractor=extractor(7),
            bbox_head=dict(
                type='Shared2FCBBoxHead',
                in_channels=8,
                fc_out_channels=8,
                num_classes=3,
            ),
            mask_roi_extractor=extractor(14),
            mask_head=dict(
                type='FCNMaskHead',
                num_convs=1,
                in_channels=8,
                conv_out_channels=8,
                num_classes=3,
            ),
        ),
        train_cfg=None,
        test_cfg=dict(rpn=dict(), rcnn=dict()),
    )


def encoder_decoder(backbone):
    return dict(
        type='EncoderDecoder',
        backbone=backbone,
        decode_head=dict(
            type='FCNHead', in_channels=D, in_index=-1, channels=8, num_classes=3
        ),
        test_cfg=dict(mode='whole'),
    )


def classifier(backbone):
    # a list of initializers at the top reaches the backbone's layers too
    return dict(
        type='ImageClassifier',
        backbone=backbone,
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', in_channels=D, num_classes=3),
        init_cfg=[dict(type='TruncNormal', layer='Linear', std=0.02)],
    )


HOSTS = dict(mmdet=mask_rcnn, mmseg=encoder_decoder, mmpretrain=classifier)
BACKBONES = ('mmpretrain.VisionTransformer', 'DenseViT')


@pytest.fixture(params=HOSTS)
def host(request):
    """A function that builds a library's model, in the library's default scope."""
    library = need(request.param)
    need('mmseg')  # of the neck

    def build(backbone, checkpoint, **settings):
        backbone = dict(
            type=backbone,
            arch=ARCH,
            patch_size=8,
            out_type='featmap',
            out_indices=[0, 1, 2, 3],
            init_cfg=dict(type='StrictPretrained', checkpoint=checkpoint),
            **{'img_size': 32, **settings},
        )
        return MODELS.build(ConfigDict(HOSTS[library.__name__](backbone)))

    with DefaultScope.overwrite_default_scope(library.__name__):
        yield build


@pytest.mark.parametrize('backbone', BACKBONES)
@pytest.mark.parametrize('settings', [{}, dict(with_cls_token=False, img_size=48)])
def test_every_parameter_is_the_checkpoints(host, pretraining, backbone, settings):
    path, _, target = pretraining()
    model = host(backbone, str(path), **settings)
    for _ in range(2):
        model.init_weights()
        own, wanted = model.backbone.state_dict(), target.state_dict()
        compared = set(own) - {'pos_embed'} if settings else set(own)
        assert len(compared) > 50 and compared <= set(wanted)
        assert all(torch.equal(own[key], wanted[key]) for key in compared)
        assert own['pos_embed'].shape[1] == (36 if settings else 17)


@pytest.mark.parametrize('backbone', BACKBONES)
@pytest.mark.parametrize('kind', WRONG)
def test_wrong_checkpoints_stop_the_model(
    host, wrong_checkpoint, build_vit, backbone, kind
):
    path, message, marker = wrong_checkpoint(kind)
    model = host(backbone, path)
    with pytest.raises(ValueError, match=f'(?s){message}'):
        model.init_weights()
    assert not marker.exists()
    # nothing of the file came in; hosts draw initial weights before they load
    own = model.backbone.state_dict()
    file = build_vit(seed=3).state_dict()
    assert own.keys() == file.keys()
    assert not any(torch.equal(own[key], value) for key, value in file.items())


@pytest.mark.parametrize('backbone', BACKBONES)
def test_random_weights_are_asked_for(host, pretraining, backbone):
    _, _, target = pretraining()
    model = host(backbone, None)
    model.backbone.init_cfg = None
    model.init_weights()
    weight = 'layers.0.attn.qkv.weight'
    assert not torch.equal(
        model.backbone.state_dict()[weight], target.state_dict()[weight]
    )
