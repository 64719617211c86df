# C-JEPA, ViT-S/16, 224 px, 100 epochs, for ablations: ours.
_base_ = 'ijepa_vits16_100e.py'
model = dict(type='CJEPA', regularizers=[dict(type='VICRegHead')])
