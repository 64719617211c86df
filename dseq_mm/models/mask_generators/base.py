"""What mask generators share: they own the randomness and return a plan.

Draws that belong to a sample are keyed by (seed, epoch, dataset index), draws that
belong to a whole batch by (seed, iteration), never by rank, worker or place: the
:class:`~dseq_mm.clock.TrainingClock` makes the keys.

Shape legend: ``B`` images, ``P`` patches on a grid ``(H, W)``.
"""

from mmengine.model import BaseModule
from torch import Tensor

from ...clock import TrainingClock
from ...plan import PredictionPlan
from ..encoder import EncodedImage
from ..saliency import LatentLoss


class MaskGenerator(BaseModule):
    """Base of the mask generators.

    Args:
        seed: Key of all randomness; None is the run's seed.
    """

    #: Blocks of the target encoder whose output or attention is needed.
    hidden: tuple[int, ...] = ()
    attention: tuple[int, ...] = ()

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self.seed = seed

    def check(self, depth: int, with_cls_token: bool) -> None:
        """Compare what is needed with what the encoder has.

        Args:
            depth: Number of blocks of the encoder.
            with_cls_token: Whether it has a class token.

        Raises:
            ValueError: If the encoder cannot serve this generator.
        """

    def forward(
        self,
        encoded: EncodedImage,
        sample_idx: Tensor,
        clock: TrainingClock,
        latent_loss: LatentLoss | None = None,
    ) -> PredictionPlan:
        """Make the plan of a batch.

        Args:
            encoded: Full images as the target encoder sees them.
            sample_idx: Dataset index of each image, ``(B,)``, int64, on the host.
            clock: The time, and the seed of the run.
            latent_loss: See :class:`~dseq_mm.models.saliency.SaliencyProxy`.

        Returns:
            The plan, on the host; its ``log`` holds scalars for the log.
        """
        raise NotImplementedError
