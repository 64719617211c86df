"""Count the forward pass of each part, in GFLOP per image: the table of the README.

python -m dseq_mm.projects.any_backbone.count_flops

2 FLOP per multiply-add, counted by ``torch.utils.flop_counter`` under one plan at the
end of the curriculum; images and weights are drawn from one seed.
"""

import logging
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dseq_mm.models import TrainingClock
from dseq_mm.utils import command

ROOT = Path(__file__).resolve().parents[2]
OURS, PROJECT = 'configs', 'projects/any_backbone/configs'
#: Config, whether to take one pass per step also where it does not, images.
ROWS = (
    (f'{OURS}/ijepa_digitscenes_20e', False, 64),
    (f'{PROJECT}/ijepa_swin_digitscenes', False, 64),
    (f'{OURS}/dseq_digitscenes_20e', False, 64),
    (f'{OURS}/dseq_digitscenes_20e', True, 64),
    (f'{PROJECT}/dseq_convnext_digitscenes', False, 64),
    (f'{OURS}/dseq_vitb16_600e', False, 2),
    (f'{PROJECT}/dseq_swin-tiny_600e', False, 2),
)


def count(function, *args) -> tuple:
    """Run a function.

    Args:
        function: What to count.
        *args: Its arguments.

    Returns:
        What it returns, and its FLOP.
    """
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as counter:
            result = function(*args)
    return result, counter.get_total_flops()


def count_parts(config: str, unrolled: bool, batch: int) -> list[float]:
    """Count target encoder, context encoder and predictor.

    Args:
        config: Path in the clone, without ``.py``.
        unrolled: Take one pass per step, also where the config does not.
        batch: Images, ``B``.

    Returns:
        GFLOP per image of each.
    """
    torch.manual_seed(0)
    cfg = Config.fromfile(ROOT / f'{config}.py').model
    model = MODELS.build({**cfg, 'unrolled': unrolled or cfg.get('unrolled', False)})
    model.init_weights()
    images = torch.randn(batch, 3, cfg.backbone.img_size, cfg.backbone.img_size)
    encoded, target = count(model.encode_target, images)
    clock, index = TrainingClock(0, 0, 1.0), torch.arange(batch)
    plan = model.mask_generator(encoded, index, clock, model.latent_loss)
    plan = plan.unroll() if model.unrolled else plan
    features, context = count(model.encode_context, images, plan)
    _, prediction = count(model.neck, features, plan)
    return [flop / batch / 1e9 for flop in (target, context, prediction)]


def main(argv: list[str] | None = None) -> None:
    """Print the table.

    Args:
        argv: Arguments; those of the process by default.
    """
    command.Parser(description=__doc__.splitlines()[0]).parse_args(argv)
    logging.disable(logging.WARNING)  # of the initialization
    print('| config | target encoder | context encoder | predictor |')
    print('|---|---|---|---|')
    for config, unrolled, batch in ROWS:
        name = f'`{Path(config).name}`' + ', unrolled' * unrolled
        cells = [f'{value:.3g}' for value in count_parts(config, unrolled, batch)]
        print(f'| {name} | {" | ".join(cells)} |')


if __name__ == '__main__':
    sys.exit(command.run(main))
