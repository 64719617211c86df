# DSeq-JEPA with a two-stage ConvNeXt: maps of 12 x 12 and 6 x 6.
_base_ = [
    '../../../configs/_base_/models/jepa_vit-digits.py',
    '../../../configs/_base_/datasets/digitscenes_24.py',
    '../../../configs/_base_/schedules/jepa_digitscenes_20e.py',
    '../../../configs/_base_/default_runtime.py',
]
custom_imports = dict(imports=['dseq_mm', 'dseq_mm.projects.any_backbone'])
model = dict(
    type='DSeqJEPA',
    backbone=dict(
        _delete_=True,
        type='MaskedInputBackbone',
        img_size=24,
        network=dict(
            type='ConvNeXt',
            arch=dict(depths=[1, 2], channels=[32, 96]),
            stem_patch_size=2,
            layer_scale_init_value=0.0,  # none: it suits deep networks
            out_indices=[1],  # the last stage
            gap_before_final_norm=False,  # a map, not its mean
        ),
    ),
    mask_generator=dict(
        type='DiscriminativeMaskGenerator',
        saliency=dict(type='GradCAM'),  # the proxy that needs no class token
        num_regions=5,
    ),
    unrolled=True,  # each step has a context, and an image, of its own
)
