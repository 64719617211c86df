# Saliency: the attention that the class token pays to the patches.
_base_ = '../dseq_{{$DSEQ_BUDGET:vitb16_600e}}.py'
model = dict(mask_generator=dict(saliency=dict(type='ClassTokenAttention')))
