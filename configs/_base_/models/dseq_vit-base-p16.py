# DSeq-JEPA: five regions, from the most to the least discriminative.
_base_ = 'jepa_vit-base-p16.py'
model = dict(
    type='DSeqJEPA',
    mask_generator=dict(
        type='DiscriminativeMaskGenerator',
        saliency=dict(type='ClassTokenSimilarity', block=9),  # the 10th block
        num_regions=5,
    ),
)
