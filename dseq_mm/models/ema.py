"""The target encoder: an exponential moving average of the context encoder."""

import torch
from mmengine.model.averaged_model import BaseAveragedModel
from torch import Tensor, nn

from ..registry import MODELS
from ..utils.arguments import check_arguments
from ..utils.host import lerp_all


def build_target_encoder(options: dict | None, model: nn.Module) -> 'TargetEncoder':
    """Build the average that a config asks for.

    Args:
        options: Arguments of :class:`TargetEncoder`, or with a ``type`` of another.
        model: The context encoder; copied.

    Returns:
        The average.

    Raises:
        ValueError: If it has no such argument.
    """
    options = options or {}
    if 'type' not in options:
        check_arguments(options, TargetEncoder, 'target_encoder')
    options = {'type': 'dseq_mm.TargetEncoder', **options}
    return MODELS.build(options, default_args=dict(model=model))


@MODELS.register_module()
class TargetEncoder(BaseAveragedModel):
    """EMA of the context encoder with linearly rising momentum (I-JEPA, Sec. 3).

    ``theta' <- m * theta' + (1 - m) * theta`` once per *optimizer* step, with
    ``m = momentum + (end_momentum - momentum) * progress``. Progress is the share of
    the training that is done; there is no state to restore. Buffers, such as the
    statistics of batch norm, are copied, as the host's averages do by default. (The
    host's base class copies parameters too at its first update, and reads its counter
    ``steps`` on the host each time; this one counts for information alone.)

    Args:
        model: The context encoder; copied.
        momentum: Momentum of the first update.
        end_momentum: Momentum when the training is done.

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
        #: Share of the training that is done; TargetEncoderHook sets it.
        self.progress: float | None = None

    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps) -> None:
        """Move one parameter; the host's interface.

        Args:
            averaged_param: Parameter of the target encoder, changed in place.
            source_param: The same parameter of the context encoder.
            steps: Unused.
        """
        averaged_param.lerp_(source_param, 1.0 - self.momentum_now)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move every parameter once and copy the buffers, on the device.

        Args:
            model: The context encoder.

        Raises:
            ValueError: If ``progress`` was never set.
        """
        averaged = list(self.module.parameters())
        pull = 1.0 - self.momentum_now
        lerp_all(averaged, list(model.parameters()), pull)
        for ours, source in zip(self.module.buffers(), model.buffers(), strict=True):
            ours.copy_(source)
        self.steps += 1

    @torch.no_grad()
    def copy_parameters(self, model: nn.Module) -> None:
        """Make the target encoder equal to the context encoder, at the start.

        Args:
            model: The context encoder.
        """
        self.module.load_state_dict(model.state_dict())

    @property
    def momentum_now(self) -> float:
        """Momentum at the present progress.

        Raises:
            ValueError: If ``progress`` was never set.
        """
        if self.progress is None:
            raise ValueError(
                'a target encoder needs to know how much of the training is done: let '
                'TargetEncoderHook update it (default_hooks=dict(target_encoder='
                "dict(type='TargetEncoderHook'))), or set its progress (0 to 1) before "
                'each update.'
            )
        share = min(max(self.progress, 0.0), 1.0)
        return self.momentum + (self.end_momentum - self.momentum) * share
