# DSeq-C-JEPA, ViT-S/16, 224 px, 100 epochs, for ablations: ours.
_base_ = 'dseq_vits16_100e.py'
model = dict(type='DSeqCJEPA', regularizers=[dict(type='VICRegHead')])
