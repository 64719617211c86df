"""Time the input pipeline of pre-training in pairs, on photographs made here.

    python tools/benchmarks/input.py [--rounds 8] [--crops 8]

Rows are ways from the bytes of a JPEG to a crop of 224 px: the shipped pipeline, the
host's parts that it replaces (mmpretrain's RandomResizedCrop by Pillow), and
torchvision's functions with the same filter. All take the same crops, round after round
in turn; the lowest time of each counts. One thread, as in a worker of a data loader.
"""

import sys
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch
from mmpretrain.datasets.transforms import RandomResizedCrop
from torchvision.io import decode_jpeg
from torchvision.transforms.v2.functional import resized_crop

from dseq_mm.data import AntialiasedResizedCrop, LoadImage
from dseq_mm.utils import command

SIZES = ((1200, 1600), (375, 500))
CROP = dict(scale=224, crop_ratio_range=(0.3, 1.0), interpolation='bilinear')


def make_photograph(height: int, width: int) -> bytes:
    """Make a JPEG with edges, shades and grain.

    Args:
        height: In pixels.
        width: In pixels.

    Returns:
        The file's content, at quality 90.
    """
    random = np.random.RandomState(0)
    small = random.randint(0, 256, (height // 8, width // 8, 3)).astype(np.uint8)
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    noisy = large + random.normal(0, 8, large.shape)
    image = noisy.clip(0, 255).astype(np.uint8)
    return cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def ways(content: bytes) -> dict[str, tuple[Callable, Callable]]:
    """List the ways, each a function that decodes and one that crops and resizes.

    Args:
        content: Of a JPEG.

    Returns:
        The pairs, by name; what is compared to comes first.
    """
    load = LoadImage()
    ours, host = (
        AntialiasedResizedCrop(**CROP),
        RandomResizedCrop(**CROP, backend='pillow'),
    )
    buffer = torch.frombuffer(bytearray(content), dtype=torch.uint8)

    def decode() -> np.ndarray:
        return load._decode(content, 'photograph.jpg')

    def torchvision_crop(image: torch.Tensor) -> torch.Tensor:
        box = ours.rand_crop_params(np.empty(image.shape[1:]))
        return resized_crop(image, *box, [224, 224], antialias=True)

    return {
        "host's crop, Pillow": (decode, lambda x: host.transform(dict(img=x))),
        'shipped': (decode, lambda x: ours.transform(dict(img=x))),
        'torchvision': (lambda: decode_jpeg(buffer), torchvision_crop),
    }


def time_ways(
    content: bytes, rounds: int, crops: int
) -> dict[str, tuple[float, float]]:
    """Time each way.

    Args:
        content: Of a JPEG.
        rounds: How often each way comes.
        crops: Crops per round.

    Returns:
        Seconds to decode, and to crop and resize, by way.
    """
    best: dict[str, tuple[float, float]] = {}
    for round_ in range(rounds):
        for name, (decode, crop) in ways(content).items():
            np.random.seed(round_)
            start = time.perf_counter()
            image = decode()
            decoded = time.perf_counter()
            for _ in range(crops):
                crop(image)
            times = decoded - start, (time.perf_counter() - decoded) / crops
            before = best.get(name, times)
            best[name] = min(before[0], times[0]), min(before[1], times[1])
    return best


def main(argv: list[str] | None = None) -> None:
    """Print the table.

    Args:
        argv: Arguments; those of the process by default.
    """
    parser = command.Parser(description=__doc__.split('\n')[0])
    whole = command.whole_number(1)
    parser.add_argument('--rounds', type=whole, default=8)
    parser.add_argument('--crops', type=whole, default=8)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print('| JPEG | way | decode, ms | crop and resize, ms | both | times faster |')
    print('|---|---|---|---|---|---|')
    for height, width in SIZES:
        times = time_ways(make_photograph(height, width), args.rounds, args.crops)
        whole_times = {name: sum(pair) for name, pair in times.items()}
        first = next(iter(whole_times.values()))
        for name, (decode, crop) in times.items():
            both = whole_times[name]
            cells = [f'{1e3 * seconds:.1f}' for seconds in (decode, crop, both)]
            cells = [f'{width} x {height}', name, *cells, f'{first / both:.2f}']
            print(f'| {" | ".join(cells)} |')


if __name__ == '__main__':
    sys.exit(command.run(main))
