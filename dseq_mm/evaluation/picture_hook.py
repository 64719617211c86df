"""Pages of pictures while a model pre-trains."""

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from ..engine.clock import unwrap
from ..models.encoder import JEPAViT
from ..registry import HOOKS
from ..utils.command import explain
from ..utils.host import add_image
from ..utils.values import check_counts
from .encoder_file import Encoder
from .knn_hook import failure_line, preserved_randomness
from .pages import PAGES
from .pictures import read_pictures


@HOOKS.register_module()
class PictureHook(Hook):
    """Draw the same images before the first epoch, every few epochs, after the last.

    The pages go to every backend of the visualizer (files are in
    ``vis_data/vis_image``), drawn by the first process alone from a copy of the target
    encoder. A page that cannot be drawn before the training is an error, later it is a
    warning.

    Args:
        images: Folders, lists, tar archives and image files.
        kinds: Pages of :data:`.PAGES`.
        interval: Epochs from one to the next.
        number: Images, spread over all.

    Raises:
        ValueError: There is no such page, or a number is none from 1.
    """

    priority = 'LOWEST'

    def __init__(
        self,
        images: str | Sequence[str],
        kinds: Sequence[str] = ('regions', 'pca', 'clusters'),
        interval: int = 10,
        number: int = 4,
    ) -> None:
        check_counts(self, interval=interval, number=number)
        if unknown := [kind for kind in kinds if kind not in PAGES]:
            raise ValueError(f'there is no page {unknown[0]!r}: {", ".join(PAGES)}')
        self.images, self.kinds = images, [*kinds]
        self.interval, self.number = interval, number

    def before_train(self, runner) -> None:
        """Draw the network as it is.

        Args:
            runner: The runner.

        Raises:
            ValueError: The images cannot be read, or a page not be drawn.
        """
        if not is_main_process():
            return
        try:
            self._draw(runner, runner.epoch)
        except Exception as error:
            raise ValueError(f'PictureHook: {explain(error)}') from error

    def after_train_epoch(self, runner) -> None:
        """Draw if it is time to.

        Args:
            runner: The runner.
        """
        due = self.every_n_epochs(runner, self.interval)
        if not is_main_process() or not (due or self.is_last_train_epoch(runner)):
            return
        try:
            self._draw(runner, runner.epoch + 1)
        except Exception as error:
            runner.logger.warning(
                f'PictureHook could not draw epoch {runner.epoch + 1}, the training '
                f'goes on: {failure_line(error)}'
            )

    def _draw(self, runner, epoch: int) -> None:
        with preserved_randomness():
            encoder = _copy_encoder(unwrap(runner.model), runner.cfg)
            pictures = read_pictures(self.images, encoder, self.number)
            for kind in self.kinds:
                page = PAGES[kind]({f'epoch {epoch}': encoder}, pictures)
                image = pixels_of(page)
                add_image(runner.visualizer, f'pictures_{kind}', image, epoch)


def pixels_of(figure: Figure) -> np.ndarray:
    """Draw a figure into an array.

    Args:
        figure: The figure.

    Returns:
        RGB, ``(height, width, 3)``, uint8.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _copy_encoder(algorithm, cfg) -> Encoder:
    """The network that is kept, without touching the one that is trained."""
    average = getattr(algorithm, 'target_encoder', None)
    vit = algorithm.backbone if average is None else average.module
    if not isinstance(vit, JEPAViT):
        raise ValueError(
            f'pages are those of a JEPAViT, and the backbone is a {type(vit).__name__}'
        )
    pixels = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    if not (pixels.get('to_rgb') and pixels.get('mean') and pixels.get('std')):
        raise ValueError(
            'pages need a data_preprocessor with mean, std and to_rgb=True'
        )
    generator = cfg.model.get('mask_generator') or {}
    names = ('num_regions', 'saliency', 'rule')
    regions = {name: generator[name] for name in names if generator.get(name)}
    return Encoder(deepcopy(vit), [*pixels['mean']], [*pixels['std']], regions)
