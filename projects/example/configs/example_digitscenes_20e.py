# Random segments and a spread of predictions on DigitScenes.
_base_ = '../../../configs/ijepa_digitscenes_20e.py'
custom_imports = dict(imports=['dseq_mm', 'dseq_mm.projects.example'])
model = dict(
    type='JEPA',
    mask_generator=dict(type='RandomSegments', num_segments=4),
    regularizers=[dict(type='SpreadHead', weight=0.1)],
)
