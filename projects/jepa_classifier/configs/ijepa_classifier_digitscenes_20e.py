# The same with I-JEPA's plan.
_base_ = 'dseq_classifier_digitscenes_20e.py'
model = dict(
    backbone=dict(with_cls_token=False),
    mask_generator=dict(_delete_=True, type='MultiBlockMaskGenerator'),
)
