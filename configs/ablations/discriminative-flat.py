# Discriminative regions, each predicted from the rest alone.
_base_ = '../dseq_{{$DSEQ_BUDGET:vitb16_600e}}.py'
model = dict(mask_generator=dict(prediction='flat'))
