# NEPA on DigitScenes, same budget as dseq_digitscenes_20e.py.
_base_ = [
    '_base_/models/jepa_vit-digits.py',
    '_base_/datasets/digitscenes_24.py',
    '_base_/schedules/jepa_digitscenes_20e.py',
    '_base_/default_runtime.py',
]
model = dict(
    type='NEPA',
    backbone=dict(with_cls_token=False),
    neck=dict(_delete_=True, type='NextPatchPredictor'),
    head=dict(_delete_=True, type='LatentPredictionHead', distance='cosine'),
    target_encoder=dict(momentum=0.99, end_momentum=0.99),  # the average of weights
)
