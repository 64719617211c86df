#!/usr/bin/env python
"""Draw image, saliency and ordered regions of a few samples.

python tools/visualize_regions.py CONFIG CHECKPOINT OUT.png --num 6
"""

import argparse
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.dataset import default_collate
from mmpretrain.registry import DATASETS, MODELS

from dseq_mm.models import DiscriminativeMaskGenerator, TrainingClock
from dseq_mm.transfer.checkpoint import install_safe_loader, load_checkpoint
from dseq_mm.transfer.contents import check_finite, check_types, state_dict_of
from dseq_mm.transfer.initialize import compare_keys
from dseq_mm.utils.configs import resolve_config
from dseq_mm.visualization import draw_regions


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program; those of the process by default.

    Returns:
        The arguments.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('config', help='pre-training config, path or name')
    parser.add_argument('checkpoint', help='pre-training checkpoint')
    parser.add_argument('out', help='picture to write: .png, .pdf or .svg')
    parser.add_argument('--num', type=int, default=6, help='how many samples')
    parser.add_argument('--start', type=int, default=0, help='index of the first')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    return parser.parse_args(argv)


def load_samples(cfg: Config, start: int, num: int) -> dict:
    """Samples of the evaluation data set if there is one, else of the training set.

    Args:
        cfg: Pre-training config.
        start: Index of the first sample.
        num: How many.

    Returns:
        A collated batch.
    """
    dataset = cfg.train_dataloader.dataset
    for hook in cfg.get('custom_hooks') or []:
        dataset = hook.get('query', dict(dataset=dataset))['dataset']
    dataset = DATASETS.build(dataset)
    step = max(1, (len(dataset) - start) // num)  # spread over the classes
    indices = range(start, len(dataset), step)
    return default_collate([dataset[index] for index in list(indices)[:num]])


def load_weights(model: torch.nn.Module, args: argparse.Namespace) -> None:
    """Load a whole pre-training checkpoint.

    Args:
        model: The algorithm.
        args: Names of the config and the checkpoint.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: It cannot be read or does not fit.
    """
    state = state_dict_of(load_checkpoint(args.checkpoint))
    own = model.state_dict()
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
    cfg = Config.fromfile(resolve_config(args.config))
    cfg.merge_from_dict(args.cfg_options)
    model = MODELS.build(cfg.model).eval()
    generator = model.mask_generator
    if not isinstance(generator, DiscriminativeMaskGenerator):
        raise ValueError(
            f'{args.config} has no regions to draw: its mask generator is a '
            f'{type(generator).__name__}. Use a DSeq-JEPA config.'
        )
    load_weights(model, args)
    raw = load_samples(cfg, args.start, args.num)
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
    try:
        main()
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(str(error)) from None
