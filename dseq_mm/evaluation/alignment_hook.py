"""Whether the saliency finds what images show, while a model pre-trains.

Shape legend: ``n`` images, ``(H, W)`` patches.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dataset import Compose, default_collate
from mmengine.dist import all_reduce, get_rank, get_world_size
from mmengine.hooks import Hook
from mmpretrain.registry import TRANSFORMS
from torch import Tensor, nn

from ..clock import TrainingClock
from ..data.figures import Figures
from ..engine.clock import unwrap
from ..models.mask_generators import DiscriminativeMaskGenerator
from ..registry import HOOKS
from ..utils.command import explain
from ..utils.values import check_counts
from .alignment import alignment
from .features import evaluation_mode
from .knn_hook import failure_line, free_memory, preserved_randomness


@HOOKS.register_module()
class AlignmentHook(Hook):
    """Measure saliency and regions against masks, every few epochs and after the last.

    It logs ``saliency_auc`` (1 if the saliency is the mask, 0.5 if it says nothing, 0
    if it is the inverse), ``r1_figure`` (share of R1 that is figure), ``figure`` (the
    same of the whole image, which is what chance would give) and ``r1_iou``: means over
    images, of regions without the curriculum. Masks teach nothing. The training goes on
    as if it had not been there.

    Args:
        images: As :class:`~dseq_mm.data.figures.Figures` takes them.
        masks: The same.
        ground: The same.
        ignored: The same.
        number: Images to measure on, spread over all.
        interval: Epochs from one measurement to the next.
        batch_size: Images at a time.

    Raises:
        ValueError: A number is none from 1.
    """

    priority = 'LOWEST'  # after the checkpoint is written

    def __init__(
        self,
        images: str,
        masks: str,
        ground: Sequence[int] = (0,),
        ignored: Sequence[int] = (255,),
        number: int = 200,
        interval: int = 1,
        batch_size: int = 50,
    ) -> None:
        check_counts(self, number=number, interval=interval, batch_size=batch_size)
        self.places: dict[str, Any] = dict(
            images=images, masks=masks, ground=ground, ignored=ignored, number=number
        )
        self.interval, self.batch_size = interval, batch_size

    def before_train(self, runner) -> None:
        """Find the images, and read the first one.

        Args:
            runner: The runner.

        Raises:
            ValueError: The algorithm has no saliency, or an image or mask cannot be
                had.
        """
        generator = getattr(unwrap(runner.model), 'mask_generator', None)
        if not isinstance(generator, DiscriminativeMaskGenerator):
            raise ValueError(
                f'AlignmentHook measures a saliency, and {type(generator).__name__} '
                'has none: take it out, or a DSeq-JEPA config'
            )
        try:
            self._figures = Figures(**self.places)
            self._read(runner.model, [0])
        except Exception as error:
            raise ValueError(f'AlignmentHook: {explain(error)}') from error

    def after_train_epoch(self, runner) -> None:
        """Measure if it is time to.

        Args:
            runner: The runner.
        """
        due = self.every_n_epochs(runner, self.interval)
        if not (due or self.is_last_train_epoch(runner)):
            return
        reason, found = None, torch.zeros(0)
        try:
            with preserved_randomness():
                found = self.measure(runner.model)
        except Exception as error:
            reason = failure_line(error)
        failed = torch.tensor(float(reason is not None))
        all_reduce(failed)
        if failed > 0:
            free_memory()
            runner.logger.warning(
                f'AlignmentHook could not measure epoch {runner.epoch + 1}, the '
                f'training goes on: {reason or "another process failed"}'
            )
            return
        metrics = _means(found)
        for name, value in metrics.items():
            runner.message_hub.update_scalar(f'val/{name}', value)
        runner.visualizer.add_scalars(metrics, step=runner.epoch + 1)
        text = ', '.join(f'{name} {value:.3g}' for name, value in metrics.items())
        runner.logger.info(f'Epoch {runner.epoch + 1}: {text}')

    @torch.no_grad()
    def measure(self, model: nn.Module) -> Tensor:
        """Measure this process's share of the images.

        Args:
            model: The algorithm, perhaps in a distributed wrapper.

        Returns:
            ``(4, 2)``, float64: of each of ``_NAMES`` the sum over images, and how many
            have it.
        """
        algorithm = unwrap(model)
        generator, clock = algorithm.mask_generator, TrainingClock(0, 0, 1.0)
        latent_loss = getattr(algorithm, 'latent_loss', None)
        mine = range(get_rank(), len(self._figures), get_world_size())
        totals = torch.zeros(len(_NAMES), 2, dtype=torch.float64)
        with evaluation_mode(algorithm):
            for start in range(0, len(mine), self.batch_size):
                chosen = [*mine[start : start + self.batch_size]]
                images, shares = self._read(model, chosen)
                encoded = algorithm.encode_target(images)
                index = torch.tensor(chosen)
                saliency = generator.saliency(encoded, index, clock, latent_loss)
                rank = generator.regions(encoded, index, clock, latent_loss, 1.0).rank
                figure, ground = shares.unbind(1)  # (n, H, W) each
                found = alignment(saliency.cpu(), rank.cpu(), figure, ground)
                values = torch.stack([found[name] for name in _NAMES])  # (4, n)
                valid = values.isfinite()
                totals[:, 0] += values.where(valid, 0).sum(1)
                totals[:, 1] += valid.sum(1)
        return totals

    def _read(self, model: nn.Module, chosen: list[int]) -> tuple[Tensor, Tensor]:
        """Images for the network, and shares of figure and ground, ``(n, 2, H, W)``."""
        algorithm = unwrap(model)
        height, width = algorithm.backbone.img_size
        resize = dict(type='Resize', scale=(width, height), backend='pillow')
        steps = [dict(type='LoadImage'), resize, dict(type='PackInputs')]
        pipeline = Compose([TRANSFORMS.build(step) for step in steps])
        samples = [
            pipeline(dict(img_path=f'{self._figures.images}/{path}'))
            for path in (self._figures.paths[index] for index in chosen)
        ]
        batch = default_collate(samples)
        grid = tuple(algorithm.backbone.patch_resolution)
        shares = [torch.from_numpy(self._figures.shares(i, grid)) for i in chosen]
        return algorithm.data_preprocessor(batch)['inputs'], torch.stack(shares)


_NAMES = ('saliency_auc', 'r1_figure', 'figure', 'r1_iou')


def _means(totals: Tensor) -> dict[str, float]:
    """Means over the images of all processes, without those that no image has."""
    all_reduce(totals)
    pairs = zip(_NAMES, totals.tolist(), strict=True)
    means = {name: total / count for name, (total, count) in pairs if count}
    assert all(math.isfinite(value) for value in means.values())
    return means
