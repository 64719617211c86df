"""Count what attention windows save in the dense backbone, in GFLOP per image.

    python tools/benchmarks/dense.py [--side 1024]

The backbones of the Mask R-CNN configs, forward, 2 FLOP per multiply-add, counted by
``torch.utils.flop_counter`` on ``meta`` tensors with the math attention (the counter
knows no other on a machine without GPU). Elementwise operations are not counted. The
last column is the number of attention weights that one forward pass computes, summed
over blocks and heads.
"""

import os.path as osp
import sys

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import dseq_mm  # noqa: F401
from dseq_mm.models import DenseViT
from dseq_mm.utils import command

CONFIGS = osp.join(osp.dirname(osp.abspath(__file__)), '..', '..', 'configs')


def build(name: str, windows: bool) -> DenseViT:
    """The backbone of a transfer config on ``meta``, float32, with or without windows.

    Args:
        name: Name of the config.
        windows: Keep its attention windows.

    Returns:
        The backbone, in evaluation mode.
    """
    config = Config.fromfile(osp.join(CONFIGS, 'transfer', f'{name}.py')).model.backbone
    config.update(dtype=None)
    if not windows:
        config.window_size = None
    with torch.device('meta'):
        return MODELS.build(config).eval()


def count_flops(backbone: DenseViT, side: int) -> int:
    """FLOP of a forward pass over one square image.

    Args:
        backbone: On ``meta``.
        side: Of the image, in pixels.

    Returns:
        The count.
    """
    image = torch.empty(1, 3, side, side, device='meta')
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        with torch.no_grad():
            backbone(image)
    return counter.get_total_flops()


def count_attention_weights(backbone: DenseViT, side: int) -> int:
    """Attention weights of a forward pass over one square image.

    Args:
        backbone: The backbone.
        side: Of the image, in pixels.

    Returns:
        Query-key pairs over blocks and heads, padding of windows included.
    """
    grid = (-(-side // backbone.patch_size),) * 2
    extra, pairs = backbone.num_extra_tokens, 0
    for block in range(backbone.num_layers):
        windows = backbone._windows(block, grid)
        length = extra + grid[0] * grid[1]
        if windows is None:
            pairs += length**2
            continue
        patches = windows.shape[0] * windows.shape[1]
        count = windows.counts[0] * windows.counts[1]
        pairs += count * patches * (extra + patches) + extra * length
    return pairs * backbone.num_heads


def main(argv: list[str] | None = None) -> None:
    """Print the table.

    Args:
        argv: Arguments; those of the process by default.
    """
    parser = command.Parser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--side', type=command.whole_number(1), default=1024, help='pixels'
    )
    side = parser.parse_args(argv).side
    print('| backbone | windows | GFLOP | attention weights, millions |')
    print('|---|---|---|---|')
    for arch in ('vitb16', 'vitl16'):
        for windows in (False, True):
            backbone = build(f'mask-rcnn_{arch}_25e_coco', windows)
            flops = count_flops(backbone, side) / 1e9
            weights = count_attention_weights(backbone, side) / 1e6
            size = backbone.window_size or 'none'
            print(f'| {arch} | {size} | {flops:.0f} | {weights:.0f} |')


if __name__ == '__main__':
    sys.exit(command.run(main))
