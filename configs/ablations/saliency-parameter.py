# Saliency: the bare class-token parameter as the query (released code).
_base_ = '../dseq_{{$DSEQ_BUDGET:vitb16_600e}}.py'
model = dict(mask_generator=dict(saliency=dict(query='parameter')))
