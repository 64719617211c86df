"""Layer-wise learning-rate decay for models of all three libraries."""

from collections.abc import Callable
from functools import partial

from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmpretrain.engine.optimizers import LearningRateDecayOptimWrapperConstructor
from torch import nn


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class BackboneDecayOptimWrapperConstructor(LearningRateDecayOptimWrapperConstructor):
    """MMPretrain's layer-wise decay, for detectors and segmentors too.

    MMPretrain's own asks the model for the depth of a parameter, which only
    classifiers can tell; this one asks ``model.backbone``. Everything outside the
    backbone has the full learning rate. ``paramwise_cfg`` is that of
    ``LearningRateDecayOptimWrapperConstructor``.
    """

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = '',
        get_layer_depth: Callable | None = None,
        **kwargs,
    ) -> None:
        """Add the parameters of a module to the parameter groups.

        Args:
            params: The groups so far, changed in place.
            module: The module.
            prefix: Its name in the model, with a trailing dot.
            get_layer_depth: Name of a parameter to its depth and the number of
                depths; None, for the model itself, takes the backbone's.
            **kwargs: Unused, as in MMPretrain.

        Raises:
            ValueError: The backbone cannot tell the depth of its parameters.
        """
        if get_layer_depth is None:
            backbone = getattr(module, 'backbone', None)
            if backbone is None or not hasattr(backbone, 'get_layer_depth'):
                raise ValueError(
                    f'layer-wise decay: the backbone {type(backbone).__name__} has no '
                    'get_layer_depth. Use DenseViT or a ViT of mmpretrain.'
                )
            get_layer_depth = partial(backbone.get_layer_depth, prefix='backbone.')
        super().add_params(params, module, prefix, get_layer_depth, **kwargs)
