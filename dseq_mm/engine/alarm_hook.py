"""A warning, once, when the numbers of a training say that it goes wrong."""

from collections.abc import Callable
from typing import NamedTuple

from mmengine.hooks import Hook

from ..registry import HOOKS
from .clock import progress_of


class TrainingAlarm(RuntimeError):
    """A training that goes wrong was stopped, as it was asked for."""


class Sign(NamedTuple):
    """A scalar of the log, and when it means that something is wrong.

    Attributes:
        scalar: Its name in the log.
        wrong: Whether its mean is.
        limit: The limit in words.
        meaning: What it says, and what to try.
    """

    scalar: str
    wrong: Callable[[float], bool]
    limit: str
    meaning: str


#: The limits are far from what healthy runs show, see docs/log.md.
SIGNS = (
    Sign(
        'target_std',
        lambda value: value < 0.1,
        'below 0.1',
        'the features to be predicted are all alike: the encoder has collapsed. Lower '
        'the learning rate, raise the momentum of target_encoder, and start again from '
        'before it fell',
    ),
    Sign(
        'target_cosine',
        lambda value: value > 0.9,
        'above 0.9',
        'the features to be predicted point the same way: the encoder is collapsing. '
        'Lower the learning rate or raise the momentum of target_encoder',
    ),
    Sign(
        'flat_maps',
        lambda value: value > 0.5,
        'above 0.5',
        'most saliency maps are flat, so that regions are random: look at them with '
        'tools/visualize_regions.py, and take another block or proxy',
    ),
    Sign(
        'saliency_auc',
        lambda value: value < 0.45,
        'below 0.45, where 0.5 is chance',
        'the saliency points at the ground, not at what images show, so that the '
        'first region is background: look at it with tools/visualize.py regions, and '
        'take another block or proxy',
    ),
    Sign(
        'data_wait',
        lambda value: value > 0.5,
        'above 0.5',
        'the training waits for data more than it computes: raise num_workers of '
        'train_dataloader, or put the images on a faster disk',
    ),
)


@HOOKS.register_module()
class AlarmHook(Hook):
    """Look at the means of the last iterations, and warn once of each sign.

    Signs are a collapse (``target_std``, ``target_cosine``, ``rank_me``), a partial one
    (a rank that has fallen to a share of its highest), flat saliency maps, a saliency
    that points at the ground (where AlignmentHook measures it), a training that waits
    for its data, a loss that has grown to a multiple of its least, and an EMA that does
    not move. The numbers are those of the log: nothing is computed or
    waited for.

    Args:
        interval: Iterations from one look to the next, and over which is averaged.
        stop: End the training at the first sign, by an error.
        grown: Multiple of the least mean loss so far that counts as exploding.
        fallen: Share of the highest rank so far that counts as a partial collapse.

    Raises:
        ValueError: If a number is out of its range.
    """

    priority = 'VERY_LOW'

    def __init__(
        self,
        interval: int = 50,
        stop: bool = False,
        grown: float = 3.0,
        fallen: float = 0.5,
    ) -> None:
        if not isinstance(interval, int) or interval < 1 or not grown > 1 > fallen > 0:
            raise ValueError(
                'AlarmHook takes an interval from 1, a multiple above 1 and a share '
                f'below 1, got interval={interval!r}, grown={grown!r} and '
                f'fallen={fallen!r}'
            )
        self.interval, self.stop = interval, stop
        self.grown, self.fallen = grown, fallen
        self._highest_rank = 0.0
        self._told: set[str] = set()
        self._least: float | None = None

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Look, if it is time to.

        Args:
            runner: The runner.
            batch_idx: Unused.
            data_batch: Unused.
            outputs: Unused.

        Raises:
            TrainingAlarm: If something is wrong and ``stop`` is set.
        """
        if not self.every_n_train_iters(runner, self.interval):
            return
        for sign in SIGNS:
            value = self._mean(runner, sign.scalar)
            if value is not None and sign.wrong(value):
                self._tell(runner, sign.scalar, value, sign.limit, sign.meaning)
        self._look_at_loss(runner)
        self._look_at_rank(runner)
        momentum = self._mean(runner, 'ema_momentum')
        if momentum is not None and momentum >= 1.0 and progress_of(runner) < 0.95:
            self._tell(
                runner,
                'ema_momentum',
                momentum,
                '1 before the end',
                'the target encoder does not move: give it a momentum below 1',
            )

    def _look_at_loss(self, runner) -> None:
        loss = self._mean(runner, 'loss')
        if loss is None:
            return
        if self._least is not None and 0 < self.grown * self._least < loss:
            limit = f'above {self.grown:g} times its least, {self._least:.3g}'
            self._tell(
                runner,
                'loss',
                loss,
                limit,
                'the training diverges: lower the learning rate, clip gradients '
                '(optim_wrapper.clip_grad), or train in float32',
            )
        self._least = loss if self._least is None else min(self._least, loss)

    def _look_at_rank(self, runner) -> None:
        scalar = runner.message_hub.log_scalars.get('train/rank_me')
        if scalar is None:
            return
        rank = float(scalar.current())  # it is not measured in each iteration
        self._highest_rank = max(self._highest_rank, rank)
        limit = max(1.5, self.fallen * self._highest_rank)
        if rank < limit:
            self._tell(
                runner,
                'rank_me',
                rank,
                f'below {limit:.3g}, its highest was {self._highest_rank:.3g}',
                'the features of images use few dimensions, a partial collapse: lower '
                'the learning rate, raise the momentum of target_encoder, or add a '
                'regularizer such as VICRegHead',
            )

    def _mean(self, runner, name: str) -> float | None:
        """Mean over the last iterations, or what was last measured; None if neither."""
        scalars = runner.message_hub.log_scalars
        if f'val/{name}' in scalars:
            return float(scalars[f'val/{name}'].current())
        scalar = scalars.get(f'train/{name}')
        return None if scalar is None else float(scalar.mean(self.interval))

    def _tell(self, runner, name: str, value: float, limit: str, text: str) -> None:
        """Warn, once for each scalar."""
        if name in self._told:
            return
        self._told.add(name)
        line = (
            f'Alarm at iteration {runner.iter + 1}: {name} is {value:.3g} ({limit}): '
            f'{text}. See docs/log.md.'
        )
        if self.stop:
            raise TrainingAlarm(line)
        runner.logger.warning(line)
