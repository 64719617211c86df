"""How many dimensions the features use, while a model pre-trains."""

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook

from ..engine.clock import unwrap
from ..models.rolling_sample import RollingSample
from ..registry import HOOKS
from ..utils.values import check_counts
from .rank import lidar, rank_me


@HOOKS.register_module()
class EffectiveRankHook(Hook):
    """Log the effective rank of what the target encoder says of the last images.

    ``rank_me`` is that of pooled features, ``lidar`` that of what tells images apart
    (see :func:`.lidar`; its rows are patches). No labels, no image is encoded again.
    The images are the last ``size`` of all processes together, so that two processes
    tell what one does. An algorithm without a ``sample``, as those of others have none,
    is named in the log and not measured.

    Args:
        interval: Iterations from one measurement to the next.
        size: Images to measure on.

    Raises:
        ValueError: A number is not a whole one, from 1 and from 2.
    """

    priority = 55  # before LoggerHook (60)

    def __init__(self, interval: int = 100, size: int = 512) -> None:
        check_counts(self, interval=interval)
        check_counts(self, 2, size=size)
        self.interval, self.size = interval, size

    def before_train(self, runner) -> None:
        """Let the algorithm keep its share of the sample.

        Args:
            runner: The runner.
        """
        algorithm = unwrap(runner.model)
        if not hasattr(algorithm, 'sample'):
            runner.logger.info(
                f'EffectiveRankHook: {type(algorithm).__name__} keeps no sample of '
                'features, so rank_me and lidar are not logged.'
            )
            return
        if algorithm.sample is None:  # OnlineProbeHook may have come first
            algorithm.sample = RollingSample(max(1, self.size // get_world_size()))

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Measure, if it is time to.

        Args:
            runner: The runner.
            batch_idx: Unused.
            data_batch: Unused.
            outputs: Unused.
        """
        sample = getattr(unwrap(runner.model), 'sample', None)
        if sample is None or not self.every_n_train_iters(runner, self.interval):
            return
        count = torch.tensor(min(sample.seen, sample.size))
        all_reduce(count, 'min')  # a last batch may have been smaller in one
        if count * get_world_size() < 2:
            return
        pooled, patches = sample.rows(int(count))
        runner.message_hub.update_scalar('train/rank_me', rank_me(pooled))
        if patches.shape[1] > 1:
            runner.message_hub.update_scalar('train/lidar', lidar(patches))

    def after_train(self, runner) -> None:
        """Let the sample go.

        Args:
            runner: The runner.
        """
        algorithm = unwrap(runner.model)
        if hasattr(algorithm, 'sample'):
            algorithm.sample = None
