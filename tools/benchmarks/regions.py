"""Time how regions are found, on the host, by grid, threads and number of regions.

    python tools/benchmarks/regions.py [--batch 256] [--rounds 15]

Maps are noise, Gaussian-filtered with sigma 1 patch. A call normalizes the maps, cuts
all of them into regions and fills what is missing; it is what a training step of
DSeq-JEPA does on the host between its two encoders, apart from packing the plan (timed
in the last column, for sequences of all regions). Rounds of all rows come in turn; the
lowest time of each row counts, for whatever else the machine does only adds to it.
"""

import os
import sys
import time

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from dseq_mm.plan import PredictionPlan
from dseq_mm.regions import RegionRule, select_regions
from dseq_mm.utils import command

ROWS = [
    (grid, regions, threads)
    for grid in ((14, 14), (28, 28), (32, 32))
    for regions in (5, 10)
    for threads in (1, 2)
]


def make_rule(regions: int) -> RegionRule:
    """Make a rule whose regions cover about the same share of the image.

    Args:
        regions: Their number.

    Returns:
        The rule; the paper's for five.
    """
    scale = 5 / regions
    return RegionRule(regions, min_area=0.15 * scale, max_area=0.2 * scale)


def time_row(row: tuple, batch: int, seed: int) -> tuple[float, float]:
    """Time one call.

    Args:
        row: Grid, regions and threads.
        batch: Maps.
        seed: Of the maps.

    Returns:
        Seconds for the regions and for packing a plan of them.
    """
    grid, regions, threads = row
    os.environ['DSEQ_THREADS'] = str(threads)
    noise = np.random.RandomState(seed).standard_normal((batch, *grid))
    maps = torch.from_numpy(gaussian_filter(noise, (0, 1, 1))).float()
    draws = torch.rand(batch, regions - 1, 4, dtype=torch.float64)
    start = time.perf_counter()
    found = select_regions(maps, make_rule(regions), draws)
    middle = time.perf_counter()
    PredictionPlan.from_ranks(found.rank.flatten(1), regions)  # (B, H, W) -> (B, P)
    return middle - start, time.perf_counter() - middle


def main(argv: list[str] | None = None) -> None:
    """Print the table.

    Args:
        argv: Arguments; those of the process by default.
    """
    parser = command.Parser(description=__doc__.split('\n')[0])
    whole = command.whole_number(1)
    parser.add_argument('--batch', type=whole, default=256)
    parser.add_argument('--rounds', type=whole, default=15)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    before = os.environ.get('DSEQ_THREADS')
    best: dict[tuple, tuple[float, float]] = {}
    for round_ in range(-1, args.rounds):  # the first one compiles
        for row in ROWS:
            times = time_row(row, args.batch, max(0, round_))
            known = best.get(row, times) if round_ >= 0 else times
            best[row] = min(known[0], times[0]), min(known[1], times[1])
    if before is None:
        del os.environ['DSEQ_THREADS']
    else:
        os.environ['DSEQ_THREADS'] = before
    print(f'{args.batch} maps, ms: lowest of {args.rounds} rounds')
    print('| grid | regions | one thread | two threads | ratio | packing the plan |')
    print('|---|---|---|---|---|---|')
    for grid, regions, threads in ROWS:
        if threads > 1:
            continue
        one, two = best[grid, regions, 1], best[grid, regions, 2]
        print(
            f'| {grid[0]} x {grid[1]} | {regions} | {1e3 * one[0]:.1f} | '
            f'{1e3 * two[0]:.1f} | {one[0] / two[0]:.2f} | {1e3 * one[1]:.1f} |'
        )


if __name__ == '__main__':
    sys.exit(command.run(main))
