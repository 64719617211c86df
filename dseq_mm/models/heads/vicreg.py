"""VICReg on predictions: what C-JEPA adds to I-JEPA.

Shape legend: ``R`` plan rows, ``Lc`` context and ``Lt`` target slots, ``n`` images of
all processes, ``S`` predicted blocks, ``D`` channels, ``K`` projected channels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...clock import TrainingClock
from ...plan import PredictionPlan
from ...registry import MODELS
from ...utils.values import check_numbers
from .base import RegularizerHead
from .projector import Projector, pool_blocks


@MODELS.register_module()
class VICRegHead(RegularizerHead):
    """Variance, invariance and covariance of pooled predictions (VICReg; C-JEPA).

    ``weight * (sim * S + std * V + cov * C)`` over the projected means ``z_m`` of the
    predicted blocks, on the batch of all processes (one iteration's: gradient
    accumulation does not enlarge it). ``V`` is the mean of :func:`variance` and ``C``
    twice that of :func:`covariance` over blocks: VICReg's scale, where a pair counts
    ``(v + v') / 2`` and ``c + c'``.

    C-JEPA's paper (arXiv 2410.19560) can be read in several ways about what invariance
    compares, see ``pairs``. ``'target'`` is what the code of DSeq-JEPA's authors does,
    which is where that paper's results of C-JEPA and DSeq-C-JEPA come from; it is the
    default because those are the figures to reproduce. (That code counts ``V`` twice
    and mixes the images of its rows; this does neither.) ``'blocks'`` is Algorithm 1 of
    C-JEPA's paper. The paper gives no projector; the default is that code's.

    Args:
        embed_dims: ``D``.
        pairs: What ``S`` compares: ``'target'``, each predicted block with the target
            of the same block, which passes the same projector; or ``'blocks'``, the
            predicted blocks of an image with each other, all pairs.
        weight: Weight of the whole beside the latent loss.
        sim: Weight of invariance.
        std: Weight of variance.
        cov: Weight of covariance.
        gamma: Standard deviation below which a channel is penalized.
        eps: Added to the variance under the root.
        projector: Widths of the :class:`Projector`, empty for none.
        init_cfg: As in MMEngine.

    Raises:
        ValueError: If an option is unknown or out of range.
    """

    def __init__(
        self,
        embed_dims: int,
        pairs: str = 'target',
        weight: float = 0.001,
        sim: float = 25.0,
        std: float = 25.0,
        cov: float = 1.0,
        gamma: float = 1.0,
        eps: float = 1e-4,
        projector: Sequence[int] = (3072, 3072, 3072),
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if pairs not in ('target', 'blocks'):
            raise ValueError(f"pairs is 'target' or 'blocks', not {pairs!r}")
        check_numbers(self, weight=weight, sim=sim, std=std, cov=cov)
        check_numbers(self, True, gamma=gamma, eps=eps)
        self.pairs, self.gamma, self.eps = pairs, gamma, eps
        self.weight, self.sim, self.std, self.cov = weight, sim, std, cov
        self.projector = Projector(embed_dims, projector)

    def loss(
        self,
        context: Tensor,
        prediction: Tensor,
        target: Tensor,
        plan: PredictionPlan,
        clock: TrainingClock,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See :meth:`RegularizerHead.loss`; context and clock are not used.

        Args:
            context: ``(R, Lc, D)``.
            prediction: ``(R, Lt, D)``.
            target: ``(R, Lt, D)``, no gradient.
            plan: Tells blocks and padding apart.
            clock: Time.

        Returns:
            A scalar, at least float32; and for the log its terms without weights.

        Raises:
            ValueError: If the batch or the plan leaves nothing to take statistics of.
        """
        with torch.autocast(prediction.device.type, enabled=False):
            z = self.projector(pool_blocks(prediction, plan))  # (S, n, K)
            if self.pairs == 'target':
                sim = F.mse_loss(z, self.projector(pool_blocks(target, plan)))
            else:
                sim = pairwise_distance(z)
            std = variance(z, self.gamma, self.eps)
            cov = 2 * covariance(z)
            loss = self.weight * (self.sim * sim + self.std * std + self.cov * cov)
            return loss, dict(vicreg_sim=sim, vicreg_std=std, vicreg_cov=cov)


def variance(z: Tensor, gamma: float = 1.0, eps: float = 1e-4) -> Tensor:
    """Compute the hinge on each channel's standard deviation (VICReg, Eq. 1 and 2).

    Args:
        z: Views, ``(S, n, K)``.
        gamma: Deviation below which a channel is penalized.
        eps: Added to the variance under the root.

    Returns:
        A scalar, the mean over views and channels.
    """
    return F.relu(gamma - (z.var(dim=1) + eps).sqrt()).mean()


def covariance(z: Tensor) -> Tensor:
    """Sum squared covariances of different channels, over channels (VICReg, Eq. 3, 4).

    Args:
        z: Views, ``(S, n, K)``.

    Returns:
        A scalar, the mean over views.
    """
    _, num, channels = z.shape
    centered = z - z.mean(dim=1, keepdim=True)
    matrix = centered.transpose(1, 2) @ centered / (num - 1)  # (S, K, K)
    diagonal = torch.eye(channels, dtype=torch.bool, device=z.device)
    return matrix.masked_fill(diagonal, 0.0).square().sum((1, 2)).mean() / channels


def pairwise_distance(z: Tensor) -> Tensor:
    """Compute the mean squared difference of all pairs of views (C-JEPA, Algorithm 1).

    The mean over pairs is twice the unbiased variance over views.

    Args:
        z: Views, ``(S, n, K)``.

    Returns:
        A scalar.

    Raises:
        ValueError: If there is one view, hence no pair.
    """
    if len(z) < 2:
        raise ValueError(
            "pairs='blocks' compares the predicted blocks of an image, and this plan "
            "has one block: predict more blocks, or take pairs='target'"
        )
    return 2 * z.var(dim=0).mean()
