# I-JEPA: four target blocks from one context block, without class token.
_base_ = 'jepa_vit-base-p16.py'
model = dict(
    type='IJEPA',
    backbone=dict(with_cls_token=False),
    mask_generator=dict(type='MultiBlockMaskGenerator'),  # its defaults are the paper's
)
