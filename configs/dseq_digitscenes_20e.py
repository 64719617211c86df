# DSeq-JEPA on DigitScenes: what the quickstart runs, minutes on one CPU core.
_base_ = [
    '_base_/models/jepa_vit-digits.py',
    '_base_/datasets/digitscenes_24.py',
    '_base_/schedules/jepa_digitscenes_20e.py',
    '_base_/default_runtime.py',
]
model = dict(
    type='DSeqJEPA',
    mask_generator=dict(
        type='DiscriminativeMaskGenerator',
        saliency=dict(type='ClassTokenSimilarity', block=1),  # depth - 3
        num_regions=5,
    ),
)
