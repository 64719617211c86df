# Saliency: that of DSeq-JEPA, inverted (ours): R1 is least like the class token.
_base_ = '../dseq_{{$DSEQ_BUDGET:vitb16_600e}}.py'
model = dict(mask_generator=dict(saliency=dict(polarity='inverted')))
