"""SIGReg: features of a batch, seen from random directions, as a standard normal.

Shape legend: ``R`` plan rows, ``Lc`` context and ``Lt`` target slots, ``n`` images of
all processes, ``V`` views, ``D`` channels, ``K`` projected channels, ``M`` slices,
``T`` knots.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...clock import TrainingClock
from ...plan import PredictionPlan
from ...randomness import Purpose, keyed_uniform
from ...registry import MODELS
from ...utils.values import check_counts, check_numbers
from ..layers import as_float32
from .base import RegularizerHead
from .projector import Projector, pool_blocks

# Upper end and number of the positive knots; 17 points with 0 or both signs.
QUADRATURES = dict(code=(3.0, 16), paper=(5.0, 8))


@MODELS.register_module()
class SIGRegHead(RegularizerHead):
    """`LeJEPA's <https://arxiv.org/abs/2511.08544>`_ regularizer on a masked predictor.

    Not LeJEPA, which compares augmented crops and has no masks, no predictor and no
    target encoder; it also weighs its latent loss by ``1 - weight``, here it keeps
    weight 1. A sample of the test is one pooled vector per image, for the tokens of one
    image are not independent. Each view is tested by itself, over the images of all
    processes (one iteration's), and views are averaged.

    All features at zero are a stationary point of the test, and the pull away from it
    grows with their spread: the projector's batch norm keeps them from starting there.

    Args:
        embed_dims: ``D``.
        on: ``'context'``, the mean context token of each image, in unrolled training
            one view per step; or ``'prediction'``, the mean of each predicted block,
            one view per block.
        weight: Weight beside the latent loss; LeJEPA's lambda.
        slices: Directions, drawn anew at each iteration.
        quadrature: ``'code'``, 17 points on ``[0, 3]`` doubled by symmetry (released
            code); or ``'paper'``, 17 points on ``[-5, 5]``.
        projector: Widths of the :class:`Projector`, empty for none. The hidden layers
            are those of LeJEPA's released example, the output is ours.
        seed: Key of the directions; None is the run's seed.
        init_cfg: As in MMEngine.

    Raises:
        ValueError: If an option is unknown or out of range.
    """

    def __init__(
        self,
        embed_dims: int,
        on: str = 'context',
        weight: float = 0.05,
        slices: int = 1024,
        quadrature: str = 'code',
        projector: Sequence[int] = (2048, 2048, 512),
        seed: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if on not in ('context', 'prediction'):
            raise ValueError(f"on is 'context' or 'prediction', not {on!r}")
        if quadrature not in QUADRATURES:
            raise ValueError(f"quadrature is 'code' or 'paper', not {quadrature!r}")
        check_numbers(self, weight=weight)
        check_counts(self, slices=slices)
        self.on, self.quadrature, self.slices = on, quadrature, slices
        self.weight, self.seed = weight, seed
        self.projector = Projector(embed_dims, projector)

    def loss(
        self,
        context: Tensor,
        prediction: Tensor,
        target: Tensor,
        plan: PredictionPlan,
        clock: TrainingClock,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See :meth:`RegularizerHead.loss`; the target is not used.

        Args:
            context: ``(R, Lc, D)``.
            prediction: ``(R, Lt, D)``.
            target: ``(R, Lt, D)``.
            plan: Tells blocks and padding apart.
            clock: Its iteration keys the directions.

        Returns:
            A scalar, at least float32; and for the log the same without the weight.

        Raises:
            ValueError: If the batch or the plan leaves nothing to take statistics of.
        """
        with torch.autocast(prediction.device.type, enabled=False):
            if self.on == 'context':
                pooled = plan.pool_context(as_float32(context))
            else:
                pooled = pool_blocks(prediction, plan)
            views = self.projector(pooled)  # (V, n, K)
            key = clock.iteration_key(Purpose.DIRECTIONS, self.seed)
            directions = random_directions(
                key, views.shape[-1], self.slices, views.device
            )
            terms = [sigreg(view, directions, self.quadrature) for view in views]
            term = torch.stack(terms).mean()
            return self.weight * term, dict(sigreg=term)


def random_directions(key: int, channels: int, slices: int, device) -> Tensor:
    """Draw directions uniformly from the sphere, a pure function of the key.

    Args:
        key: See :func:`~dseq_mm.randomness.hash_integers`.
        channels: ``K``.
        slices: ``M``.
        device: Where they are needed.

    Returns:
        Unit columns, ``(K, M)``, float64.
    """
    uniform = keyed_uniform(key, torch.arange(slices, device=device), channels)
    # normal numbers up to a factor; 0 would be infinite
    normal = torch.erfinv(2 * uniform.clamp(min=2.0**-54) - 1)  # (M, K)
    return F.normalize(normal, dim=1).T


def sigreg(z: Tensor, directions: Tensor, quadrature: str = 'code') -> Tensor:
    """Compute a sample's distance from the standard normal, mean over directions.

    In direction ``a`` it is the Epps-Pulley statistic
    ``n * integral of |f(t) - phi(t)|^2 phi(t) dt`` with ``f`` the characteristic
    function of the sample ``a . z`` and ``phi(t) = exp(-t^2 / 2)`` (LeJEPA).
    A standard normal gives about 1.06 on average whatever ``n``, not 0.

    Args:
        z: The sample, ``(n, K)``.
        directions: Unit columns, ``(K, M)``.
        quadrature: ``'code'`` or ``'paper'``, see :class:`SIGRegHead`.

    Returns:
        A scalar, at least float32.
    """
    z = as_float32(z)
    end, knots = QUADRATURES[quadrature]
    # the integrand is even, and zero at zero: the positive knots are enough
    t = torch.arange(1, knots + 1, dtype=z.dtype, device=z.device) * (end / knots)
    normal = torch.exp(-(t**2) / 2)  # (T,)
    weight = 2 * (end / knots) * normal
    weight[-1] /= 2  # the trapezoid's end
    phase = (z @ directions.to(z.dtype))[..., None] * t  # (n, M, T)
    real, imaginary = phase.cos().mean(0), phase.sin().mean(0)  # (M, T)
    distance = (real - normal) ** 2 + imaginary**2
    return len(z) * (distance @ weight).mean()
