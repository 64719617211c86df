# DMT-JEPA on DigitScenes, same budget as ijepa_digitscenes_20e.py.
_base_ = '../../../configs/ijepa_digitscenes_20e.py'
custom_imports = dict(imports=['dseq_mm', 'dseq_mm.projects.dmt_jepa'])
model = dict(
    type='DMTJEPA',
    aggregation=dict(query='selected_mean', window=3, neighbors=4),
)
