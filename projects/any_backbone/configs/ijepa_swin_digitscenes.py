# I-JEPA with a two-stage Swin Transformer: maps of 12 x 12 and 6 x 6, windows of 3.
_base_ = [
    '../../../configs/_base_/models/jepa_vit-digits.py',
    '../../../configs/_base_/datasets/digitscenes_24.py',
    '../../../configs/_base_/schedules/jepa_digitscenes_20e.py',
    '../../../configs/_base_/default_runtime.py',
]
custom_imports = dict(imports=['dseq_mm', 'dseq_mm.projects.any_backbone'])
model = dict(
    type='IJEPA',  # its context has one step, so it needs no unrolling
    backbone=dict(
        _delete_=True,
        type='MaskedInputBackbone',
        img_size=24,
        network=dict(
            type='SwinTransformer',
            arch=dict(embed_dims=48, depths=[2, 2], num_heads=[3, 6]),
            img_size=24,
            patch_size=2,
            window_size=3,
            drop_path_rate=0.0,
            out_indices=(1,),  # the last stage
        ),
    ),
    mask_generator=dict(type='MultiBlockMaskGenerator'),
)
