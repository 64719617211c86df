# The first three regions alone (Top-3).
_base_ = '../dseq_{{$DSEQ_BUDGET:vitb16_600e}}.py'
model = dict(mask_generator=dict(keep_regions=3))
