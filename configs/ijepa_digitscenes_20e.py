# I-JEPA on DigitScenes, same budget as dseq_digitscenes_20e.py.
_base_ = [
    '_base_/models/jepa_vit-digits.py',
    '_base_/datasets/digitscenes_24.py',
    '_base_/schedules/jepa_digitscenes_20e.py',
    '_base_/default_runtime.py',
]
model = dict(
    type='IJEPA',
    backbone=dict(with_cls_token=False),
    mask_generator=dict(type='MultiBlockMaskGenerator'),
)
