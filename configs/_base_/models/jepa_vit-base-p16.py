# The parts that I-JEPA and DSeq-JEPA share, for ViT-B/16 at 224 px.
# The predictor's grid, channels and heads are taken from the backbone.
model = dict(
    data_preprocessor=dict(
        type='SelfSupDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
        non_blocking=True,
    ),
    backbone=dict(type='JEPAViT', arch='base', img_size=224, patch_size=16),
    neck=dict(type='JEPAPredictor', predictor_dims=384, depth=6),
    head=dict(type='LatentPredictionHead', beta=1.0),
    target_encoder=dict(momentum=0.996, end_momentum=1.0),
)
