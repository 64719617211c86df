# Saliency: the distance of each patch from the mean patch (ours, not the paper's).
_base_ = '../dseq_{{$DSEQ_BUDGET:vitb16_600e}}.py'
model = dict(mask_generator=dict(saliency=dict(type='TokenContrast')))
