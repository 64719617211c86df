"""The loss of each step of prediction, of a checkpoint of a pre-training.

Shape legend: ``R`` plan rows, ``Lt`` target slots, ``S`` steps, ``D`` channels.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.config import Config

from ..clock import TrainingClock
from ..models.jepa import JEPA, as_target
from ..models.mask_generators import DiscriminativeMaskGenerator
from ..registry import MODELS
from ..transfer.checkpoint import load_checkpoint
from ..transfer.contents import meta_of, state_dict_of
from ..transfer.initialize import compare_keys
from .encoder_file import load_encoder
from .features import evaluation_mode
from .pictures import read_pictures


def load_algorithm(file: str | Path) -> JEPA:
    """Build the algorithm of a checkpoint of ours, with its weights.

    Args:
        file: A checkpoint of a pre-training.

    Returns:
        The algorithm.

    Raises:
        ValueError: The file has no config of such an algorithm, or its weights do not
            fit.
    """
    checkpoint = load_checkpoint(Path(file).expanduser())
    text = meta_of(checkpoint).get('cfg')
    config = Config.fromstring(text, '.py') if isinstance(text, str) else Config()
    with MODELS.switch_scope_and_registry('mmpretrain') as registry:
        model = registry.build(config.model) if 'model' in config else None
    if not isinstance(model, JEPA):
        raise ValueError(
            f'{file} is no checkpoint of a pre-training of ours: the loss of a step '
            'needs its predictor, which an exported backbone has not'
        )
    state = state_dict_of(checkpoint)
    report = compare_keys(model.state_dict(), state, 'whole')
    if differs := (*report.missing, *report.unexpected, *report.mismatched):
        raise ValueError(
            f'the weights in {file} are not those of its config ({len(differs)} '
            f'differences, such as {differs[0]})'
        )
    model.load_state_dict(state)
    return model


@torch.no_grad()
def step_losses(
    file: str | Path, sources: str | Sequence[str], number: int = 100
) -> list[float]:
    """Compute the mean loss of each region that is predicted, R2 to RN.

    It is the smooth L1 distance of I-JEPA, mean over channels, patches of the region,
    and images; regions are those of the end of the curriculum. The paper plots it at
    epoch 450 over 10,000 images.

    Args:
        file: A checkpoint of a pre-training with DSeq-JEPA.
        sources: As for :func:`.read_pictures`.
        number: Images to measure on, spread over all.

    Returns:
        Loss of each step.

    Raises:
        ValueError: As :func:`load_algorithm`, or the images cannot be read.
    """
    model = load_algorithm(file)
    if not isinstance(model.mask_generator, DiscriminativeMaskGenerator):
        raise ValueError(f'{file} predicts no regions: take one of DSeq-JEPA')
    encoder = load_encoder(file)
    size = tuple(model.backbone.img_size)
    pictures = read_pictures(sources, encoder, number, min(size))
    totals = torch.zeros(2, model.mask_generator.rule.num_regions, dtype=torch.float64)
    clock = TrainingClock(0, 0, 1.0)
    with evaluation_mode(model):
        for index, picture in enumerate(pictures):
            pixels = F.interpolate(picture.batch.float(), size, mode='area')
            images = encoder.normalize(pixels / 255)
            encoded = model.encode_target(images)
            key = torch.tensor([index])
            plan = model.mask_generator(encoded, key, clock, model.latent_loss)
            prediction = model.neck(model.encode_context(images, plan), plan)
            target = plan.gather(as_target(encoded.patches), plan.target_ids)
            loss = F.smooth_l1_loss(
                prediction.float(), target.float(), reduction='none'
            ).mean(-1)  # (R, Lt)
            real = plan.target_ids >= 0
            steps = plan.target_step[real]
            for row, values in enumerate((loss[real], torch.ones_like(loss[real]))):
                totals[row].index_add_(0, steps, values.double())
    loss, count = totals[:, 1:]  # (S,) each; the first region is not predicted
    return (loss / count)[count > 0].tolist()
