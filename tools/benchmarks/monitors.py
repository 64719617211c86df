"""Measure what the monitors of a pre-training cost, in pairs with and without.

    python tools/benchmarks/monitors.py [--arch base --batch 64]

Whole steps (loss, backward, AdamW, EMA) on random images in turn: without monitors,
with the statistics of each step, and with the sample of the effective rank as well; the
ratio is the median over rounds. Then what is measured once in a while, beside the time
of the steps between two of them.
"""

import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
import gpu_check  # noqa: E402
from step import count_stages, device_text, wait  # noqa: E402
from training_step import METHODS, Step, model_config  # noqa: E402

from dseq_mm.evaluation import EffectiveRankHook, lidar, rank_me  # noqa: E402
from dseq_mm.models import TrainingClock  # noqa: E402
from dseq_mm.models.monitors import batch_statistics  # noqa: E402
from dseq_mm.models.rolling_sample import RollingSample  # noqa: E402
from dseq_mm.utils import command  # noqa: E402


def steps_of(arch: str, batch: int, device: str) -> dict[str, Step]:
    """Build what is compared; the first row is what others are compared to.

    Args:
        arch: 'base' or 'small'.
        batch: Images.
        device: Where.

    Returns:
        Steps by name.
    """
    name = next(iter(METHODS.values()))
    dtype = None if device == 'cpu' else torch.bfloat16
    steps = {
        row: Step(model_config(name, arch, monitor=monitor), batch, device, dtype)
        for row, monitor in dict(
            none=False, statistics=True, statistics_and_sample=True
        ).items()
    }
    steps['statistics_and_sample'].model.sample = RollingSample()
    return steps


def print_pairs(args, steps: dict[str, Step]) -> float:
    """Time the rows in turn and print the table.

    Args:
        args: Of the command line.
        steps: Steps by name.

    Returns:
        Seconds of the first row.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(2 + args.rounds):
        for name, step in steps.items():
            wait(args.device)
            start = time.perf_counter()
            step()
            wait(args.device)
            if round_ >= 2:
                seconds[name].append(time.perf_counter() - start)
    first = seconds['none']
    print(f'{args.arch}, batch {args.batch}, {args.rounds} rounds, {device_text()}')
    print('| monitors | ms per step | time over none, median (quartiles) |')
    print('|---|---|---|')
    for name, values in seconds.items():
        ratios = [one / other for one, other in zip(values, first, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f'| {name} | {1e3 * statistics.median(values):.1f} '
            f'| {middle:.4f} ({low:.4f} to {high:.4f}) |'
        )
    return statistics.median(first)


def print_alone(step: Step, seconds: float, device: str) -> None:
    """Time the statistics by themselves, where pairs are too noisy to show them.

    Args:
        step: Gives a plan and the width of the features.
        seconds: Of a step.
        device: Where.
    """
    model, samples = step.model, torch.arange(len(step.images))
    clock = TrainingClock(0, 0, 1.0)
    encoded = model.encode_target(step.images)
    with torch.no_grad():
        plan = model.mask_generator(encoded, samples, clock, model.latent_loss)
    plan = plan.to(torch.device(device))
    target = model.targets(encoded, plan)
    prediction = torch.randn_like(target)
    sample = RollingSample()
    spent = []
    for _ in range(12):
        wait(device)
        start = time.perf_counter()
        batch_statistics(prediction, target, plan)
        sample.add(encoded.patches)
        wait(device)
        spent.append(time.perf_counter() - start)
    alone = statistics.median(spent[2:])
    print(
        f'statistics and sample by themselves: {1e3 * alone:.2f} ms, '
        f'{alone / seconds:.3%} of a step'
    )


def print_occasional(step: Step, seconds: float, device: str) -> None:
    """Time the effective rank, and compare it with the steps between two of them.

    Args:
        step: Tells the channels.
        seconds: Of a step.
        device: Where.
    """
    interval, size = EffectiveRankHook().interval, EffectiveRankHook().size
    dims = step.model.backbone.embed_dims
    pooled = torch.randn(size, dims, device=device)
    groups = torch.randn(size, 8, dims, device=device)
    rank_me(pooled), lidar(groups)  # the first call sets things up
    start = time.perf_counter()
    rank_me(pooled), lidar(groups)
    spent = time.perf_counter() - start
    print(
        f'effective rank of {size} images of {dims} channels: {1e3 * spent:.0f} ms, '
        f'{spent / (interval * seconds):.3%} of the {interval} steps of this batch '
        'between two of them'
    )


def print_kernels(arch: str) -> None:
    """Count the operations of a step with and without the statistics.

    Args:
        arch: 'base' or 'small'.
    """
    name = next(iter(METHODS.values()))
    counts = [
        count_stages(model_config(name, arch, monitor=monitor)).kernels.total()
        for monitor in (False, True)
    ]
    print(f'kernels of a step: {counts[0]} without, {counts[1]} with the statistics')


def main(argv: list[str] | None = None) -> None:
    """Print the tables.

    Args:
        argv: Arguments; those of the process by default.
    """
    parser = command.Parser(description=__doc__.split('\n')[0])
    whole = command.whole_number(1)
    parser.add_argument('--device', default='cuda' if gpu_check.has_gpu() else 'cpu')
    parser.add_argument('--arch', choices=['base', 'small'], default='small')
    parser.add_argument('--batch', type=whole, default=8)
    parser.add_argument('--rounds', type=command.whole_number(2), default=15)
    args = parser.parse_args(argv)
    print_kernels(args.arch)
    steps = steps_of(args.arch, args.batch, args.device)
    seconds = print_pairs(args, steps)
    print_alone(steps['none'], seconds, args.device)
    print_occasional(steps['none'], seconds, args.device)


if __name__ == '__main__':
    sys.exit(command.run(main))
