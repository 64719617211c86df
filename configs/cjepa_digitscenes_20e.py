# C-JEPA on DigitScenes: as ijepa_digitscenes_20e.py, VICReg with a small projector.
_base_ = 'ijepa_digitscenes_20e.py'
model = dict(
    type='CJEPA',
    regularizers=[dict(type='VICRegHead', projector=(256, 256, 256))],
)
