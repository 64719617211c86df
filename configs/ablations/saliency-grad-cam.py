# Saliency: label-free Grad-CAM.
_base_ = '../dseq_{{$DSEQ_BUDGET:vitb16_600e}}.py'
model = dict(mask_generator=dict(saliency=dict(_delete_=True, type='GradCAM')))
