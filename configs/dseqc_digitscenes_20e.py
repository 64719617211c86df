# DSeq-C-JEPA on DigitScenes: as dseq_digitscenes_20e.py, VICReg with a small projector.
_base_ = 'dseq_digitscenes_20e.py'
model = dict(
    type='DSeqCJEPA',
    regularizers=[dict(type='VICRegHead', projector=(256, 256, 256))],
)
