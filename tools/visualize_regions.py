#!/usr/bin/env python
"""Draw image, saliency and ordered regions of a few samples.

python tools/visualize_regions.py CONFIG CHECKPOINT OUT.png --num 6
python tools/visualize_regions.py CONFIG CHECKPOINT OUT.png --data FOLDER_OF_IMAGES
"""

import argparse
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmpretrain.models.utils import to_2tuple
from mmpretrain.registry import DATASETS, MODELS

from dseq_mm.cli import launch
from dseq_mm.cli.building import name_parts
from dseq_mm.cli.figures import check_picture
from dseq_mm.cli.options import add_options_argument
from dseq_mm.cli.resume import check_file
from dseq_mm.models import DiscriminativeMaskGenerator, TrainingClock
from dseq_mm.transfer.checkpoint import install_safe_loader, load_checkpoint
from dseq_mm.transfer.contents import check_finite, check_types, state_dict_of
from dseq_mm.transfer.initialize import compare_keys
from dseq_mm.utils import command
from dseq_mm.utils.configs import read_config
from dseq_mm.visualization import draw_regions


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program; those of the process by default.

    Returns:
        The arguments.
    """
    parser = command.Parser(description=__doc__.split('\n')[0])
    parser.add_argument('config', help='pre-training config, path or name')
    parser.add_argument('checkpoint', help='pre-training checkpoint')
    parser.add_argument('out', help='picture to write: .png, .pdf or .svg')
    parser.add_argument(
        '--num', type=command.whole_number(1), default=6, help='how many samples'
    )
    parser.add_argument(
        '--start', type=command.whole_number(0), default=0, help='index of the first'
    )
    parser.add_argument(
        '--data',
        nargs='+',
        action='extend',
        metavar='PLACE',
        help='draw these images, whole, resized to the size of the network: folders, '
        'lists (.txt) or tar archives',
    )
    add_options_argument(parser)
    return parser.parse_args(argv)


def choose_images(cfg: Config, places: list[str] | None) -> dict:
    """The data set to draw: one's own, else that of evaluation, else of training.

    Args:
        cfg: Pre-training config.
        places: What ``--data`` gave.

    Returns:
        Config of the data set.
    """
    if places:
        height, width = to_2tuple(cfg.model.backbone.get('img_size', 224))
        resize = dict(type='Resize', scale=(width, height), backend='pillow')
        pipeline = [dict(type='LoadImage'), resize, dict(type='PackInputs')]
        return dict(type='OwnImages', sources=places, pipeline=pipeline)
    dataset = cfg.train_dataloader.dataset
    for hook in cfg.get('custom_hooks') or []:
        dataset = (hook.get('query') or dict(dataset=dataset))['dataset']
    return dataset


def load_samples(dataset: dict, start: int, num: int) -> dict:
    """Some samples, spread over a data set.

    Args:
        dataset: Config of the data set.
        start: Index of the first sample.
        num: How many.

    Returns:
        A collated batch.

    Raises:
        ValueError: There are fewer samples than ``start``.
    """
    dataset = DATASETS.build(dataset)
    if start >= len(dataset):
        raise ValueError(f'--start {start}: there are {len(dataset)} samples')
    step = max(1, (len(dataset) - start) // num)  # spread over the classes
    indices = range(start, len(dataset), step)
    return default_collate([dataset[index] for index in list(indices)[:num]])


def load_weights(model: torch.nn.Module, args: argparse.Namespace) -> None:
    """Load a whole pre-training checkpoint, ours or one of I-JEPA's layout.

    Args:
        model: The algorithm.
        args: Names of the config and the checkpoint.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: It cannot be read or does not fit.
    """
    state = state_dict_of(load_checkpoint(args.checkpoint))
    own = model.state_dict()
    # files of others count no steps, and nothing reads them here
    state |= {k: v for k, v in own.items() if k.endswith('.steps') and k not in state}
    report = compare_keys(own, state, 'whole')
    if differs := (*report.missing, *report.unexpected, *report.mismatched):
        raise ValueError(
            f'{args.checkpoint} is no pre-training checkpoint of {args.config} '
            f'({len(differs)} differences, such as {differs[0]}): give the checkpoint '
            'that its training wrote, not an exported backbone.'
        )
    check_finite(state, args.checkpoint)
    check_types(state, args.checkpoint, own)
    model.load_state_dict(state)


@torch.no_grad()
def main(argv=None) -> None:
    """Draw.

    Args:
        argv: Arguments without the program; those of the process by default.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: The config has no regions, or the checkpoint does not fit it.
    """
    args = parse_args(argv)
    install_safe_loader()
    check_picture(args.out)
    check_file(args.checkpoint)
    cfg = read_config(args.config)
    launch.change_config(cfg, args.cfg_options)
    with name_parts(cfg):
        model = MODELS.build(cfg.model).eval()
    generator = getattr(model, 'mask_generator', None)
    if not isinstance(generator, DiscriminativeMaskGenerator):
        raise ValueError(
            f'{args.config} has no regions to draw: its mask generator is '
            f'{type(generator).__name__}, and regions are what a '
            'DiscriminativeMaskGenerator finds. Use a DSeq-JEPA config.'
        )
    load_weights(model, args)
    with name_parts(cfg):
        dataset = choose_images(cfg, args.data)
        raw = load_samples(dataset, args.start, args.num)
    batch = model.data_preprocessor(raw)
    encoded = model.encode_target(batch['inputs'])
    index = torch.tensor([sample.sample_idx for sample in batch['data_samples']])
    clock = TrainingClock(0, 0, 1.0)
    latent_loss = getattr(model, 'latent_loss', None)  # Grad-CAM's; a JEPA has it
    saliency = generator.saliency(encoded, index, clock, latent_loss)
    regions = generator.regions(encoded, index, clock, latent_loss, 1.0)
    pixels = torch.stack(list(raw['inputs']))  # (B, 3, h, w)
    if model.data_preprocessor._channel_conversion:
        pixels = pixels.flip(1)
    figure = draw_regions(
        pixels.permute(0, 2, 3, 1).numpy(),  # (B, 3, h, w) -> (B, h, w, 3)
        saliency.numpy(),
        regions.rank.numpy(),
        regions.source.numpy(),
    )
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=120)
    print(f'{out}: {len(pixels)} samples')


if __name__ == '__main__':
    sys.exit(command.run(main))
