# DSeq-C-JEPA, ViT-B/16, 224 px, 600 epochs: DSeq-JEPA, and VICReg on its predictions.
# Its statistics are those of all processes: 8 GPUs x 256 images = 2048.
_base_ = 'dseq_vitb16_600e.py'
model = dict(
    type='DSeqCJEPA',
    regularizers=[
        dict(
            type='VICRegHead',
            weight=0.001,
            sim=25.0,
            std=25.0,
            cov=1.0,
            gamma=1.0,
            eps=1e-4,
            projector=(3072, 3072, 3072),
        )
    ],
)
