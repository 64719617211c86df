# DMT-JEPA, ViT-B/16, 224 px, 600 epochs: 8 GPUs x 256 images = 2048. The recipe of the
# released configs, which is I-JEPA's with a longer warm-up.
_base_ = '../../../configs/ijepa_vitb16_600e.py'
custom_imports = dict(imports=['dseq_mm', 'dseq_mm.projects.dmt_jepa'])
model = dict(
    type='DMTJEPA',
    aggregation=dict(query='selected_mean', window=3, neighbors=4),
)
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(start_factor=0.2, end=40 / 600)  # 2e-4 -> 1e-3
