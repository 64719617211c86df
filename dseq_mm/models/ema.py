"""The target encoder: an exponential moving average of the context encoder."""

import torch
from mmengine.model.averaged_model import BaseAveragedModel
from mmpretrain.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class TargetEncoder(BaseAveragedModel):
    """EMA of the context encoder with linearly rising momentum (I-JEPA, Sec. 3).

    ``theta' <- m * theta' + (1 - m) * theta`` once per *optimizer* step, with
    ``m = momentum + (end_momentum - momentum) * steps / total_steps``. The counter
    ``steps`` is a buffer, so a resumed run goes on where it stopped. (The host's base
    class copies at its first update and reads the counter on the host each time; this
    one does neither.)

    Args:
        model: The context encoder; copied.
        momentum: Momentum of the first update.
        end_momentum: Momentum at ``total_steps``.

    Raises:
        ValueError: If the momenta are not ``0 <= momentum <= end_momentum <= 1``.
    """

    def __init__(
        self, model: nn.Module, momentum: float = 0.996, end_momentum: float = 1.0
    ) -> None:
        super().__init__(model)
        if not 0.0 <= momentum <= end_momentum <= 1.0:
            raise ValueError(
                'the target encoder needs 0 <= momentum <= end_momentum <= 1, got '
                f'momentum={momentum}, end_momentum={end_momentum}'
            )
        self.momentum, self.end_momentum = momentum, end_momentum
        #: Updates of the whole training; TargetEncoderHook sets it.
        self.total_steps: int | None = None

    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps) -> None:
        """Move one parameter; the host's interface.

        Args:
            averaged_param: Parameter of the target encoder, changed in place.
            source_param: The same parameter of the context encoder.
            steps: Updates so far, a tensor.
        """
        averaged_param.lerp_(source_param, self._pull(steps).to(averaged_param.dtype))

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move every parameter once, on the device.

        Args:
            model: The context encoder.

        Raises:
            ValueError: If ``total_steps`` was never set.
        """
        averaged = list(self.module.parameters())
        pull = self._pull(self.steps).to(averaged[0].dtype)
        torch._foreach_lerp_(averaged, list(model.parameters()), [pull] * len(averaged))
        self.steps += 1

    @torch.no_grad()
    def copy_parameters(self, model: nn.Module) -> None:
        """Make the target encoder equal to the context encoder, at the start.

        Args:
            model: The context encoder.
        """
        self.module.load_state_dict(model.state_dict())

    def _pull(self, steps: Tensor) -> Tensor:
        """``1 - m`` at a step, a float64 scalar on the device."""
        if self.total_steps is None:
            raise ValueError(
                'how many updates a target encoder will have is not known: let '
                'TargetEncoderHook update it (default_hooks=dict(target_encoder='
                "dict(type='TargetEncoderHook'))), or set its total_steps."
            )
        share = (steps.double() / self.total_steps).clamp(max=1.0)
        return 1.0 - (self.momentum + (self.end_momentum - self.momentum) * share)
