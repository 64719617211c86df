"""Count what one training step asks of a device, and time it in pairs.

    python tools/benchmarks/step.py [--check] [--out step.json]
    python tools/benchmarks/step.py --time --device cpu --arch small --batch 4

Counted on any machine, on the CPU under bfloat16 autocast with two images: operations
that launch a kernel on a GPU, and the bytes that they read and write, by stage. Views
and allocations are none; an operation of several kernels, such as a sort, counts once.
Neither number of kernels depends on the batch. FLOP are counted as in flops.py.

Timed with ``--time``, and wherever there is a GPU: whole steps (loss, backward, AdamW,
EMA) on random images, row after row in turn, so that all rows see the same machine;
each row's ratio is the median over rounds of its time over that of the first row.
``--check`` first compares what is computed on the GPU with the CPU (gpu_check.py).
"""

import contextlib
import json
import platform
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(Path(__file__).parent))
import flops  # noqa: E402
import gpu_check  # noqa: E402
from training_step import METHODS, ReleasedStep, Step, model_config  # noqa: E402

from dseq_mm.plan import PredictionPlan  # noqa: E402
from dseq_mm.utils import command  # noqa: E402
from dseq_mm.visibility import Visibility  # noqa: E402

# no kernel: memory is named or set aside, and that is all
FREE = {'empty', 'empty_like', 'empty_strided', 'new_empty', 'new_empty_strided'}
FREE |= {'detach', 'lift_fresh', '_unsafe_view', '_local_scalar_dense'}
FREE |= {'_record_function_enter_new', '_record_function_exit'}


class CountKernels(TorchDispatchMode):
    """Count operations and bytes by stage; ``stage`` None counts nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.stage: str | None = None
        self.kernels: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if self.stage and not func.is_view and name not in FREE:
            self.kernels[self.stage] += 1
            tensors = _tensors([args, result])
            self.bytes[self.stage] += sum(x.numel() * x.element_size() for x in tensors)
        return result


def _tensors(value: Any) -> list[Tensor]:
    """All tensors in nested lists and tuples."""
    if isinstance(value, Tensor):
        return [value]
    parts = value if isinstance(value, list | tuple) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def watched(method: Callable, mode: CountKernels, stage: str) -> Callable:
    """Count what a method does as a stage of its own.

    Args:
        method: The method.
        mode: The counter.
        stage: Name of the stage.

    Returns:
        The method to put in its place.
    """

    def run(*args, **kwargs):
        before, mode.stage = mode.stage, stage
        result = method(*args, **kwargs)
        mode.stage = before
        return result

    return run


def count_stages(config: dict) -> CountKernels:
    """Count one step, after one that sets up the optimizer's state.

    Args:
        config: The model.

    Returns:
        The counter.
    """
    step, mode = Step(config, 2, 'cpu', torch.bfloat16), CountKernels()
    step()
    model, generator = step.model, step.model.mask_generator
    saliency = getattr(generator, 'saliency', None)
    find_plan, masks = generator.forward, 'masks and plan'

    def plan_on_host(*args):
        mode.stage = None
        plan = find_plan(*args).to(torch.device('cpu', 0))  # as to another device
        # copies: of the plan to the device, and of the saliency from it
        mode.kernels[masks] += 1 if saliency is None else 2
        mode.stage = 'targets and loss'
        return plan

    with contextlib.ExitStack() as stack, mode:
        for owner, name, stage in (
            (PredictionPlan, 'context_visibility', masks),
            (PredictionPlan, 'predictor_visibility', masks),
            (PredictionPlan, 'gather', masks),
            (Visibility, 'additive', masks),
            (type(model), 'encode_target', 'target encoder'),
            (type(model), 'encode_context', 'context encoder'),
            (type(model.neck), 'forward', 'predictor'),
            (type(saliency), 'forward', masks),
        ):
            if owner is not type(None):
                method = watched(getattr(owner, name), mode, stage)
                stack.enter_context(mock.patch.object(owner, name, method))
        stack.enter_context(mock.patch.object(generator, 'forward', plan_on_host))
        mode.stage = 'targets and loss'
        loss = step.loss()
        mode.stage = 'backward'
        loss.backward()
        mode.stage = 'update'
        step.update()
    return mode


def padding(config: dict, batch: int) -> float:
    """Measure the share of a step's FLOP that is spent on padding.

    Args:
        config: The model.
        batch: Plans to sample.

    Returns:
        A share, of what attention over padded rows costs.
    """
    plan = flops.sample_plan(config, batch, 0)
    return 1 - flops.real_tokens(config, plan) / flops.count_step(config, plan)


def print_counts(result: dict) -> None:
    """Count the methods of the paper and print the table.

    Args:
        result: Gets what was counted, by method.
    """
    stages = ('target encoder', 'masks and plan', 'context encoder', 'predictor')
    stages += ('targets and loss', 'backward', 'update')
    print('kernels of a step, by stage (and MB read and written with two images)')
    print(f'| method | {" | ".join(stages)} | all | padding at batch 256 |')
    print('|---' * (len(stages) + 3) + '|')
    for method, name in METHODS.items():
        counted = count_stages(model_config(name, 'base'))
        share = padding(model_config(name, 'base'), 256)
        cells = [
            f'{counted.kernels[stage]} ({counted.bytes[stage] / 1e6:.0f})'
            for stage in stages
        ]
        total = f'{counted.kernels.total()} ({counted.bytes.total() / 1e6:.0f})'
        print(f'| {method} | {" | ".join(cells)} | {total} | {share:.1%} |')
        result[method] = dict(kernels=dict(counted.kernels), padding=share)
        result[method]['bytes'] = dict(counted.bytes)


def rows_to_time(arch: str, device: str) -> dict[str, tuple[type[Step], dict]]:
    """List what is timed.

    Args:
        arch: ``'base'`` or ``'small'``.
        device: Where.

    Returns:
        Kind of step and model config by name; the first is what others are compared to.
    """
    dseq, ijepa = METHODS.values()
    rows: dict[str, tuple[type[Step], dict]] = {
        'DSeq-JEPA': (Step, model_config(dseq, arch)),
        'I-JEPA': (Step, model_config(ijepa, arch)),
        'released strategy': (ReleasedStep, model_config(dseq, arch)),
    }
    if device == 'cpu':
        return rows
    varlen = model_config(ijepa, arch, dict(varlen=True))
    compiled = {
        f'{method}, compile_layers': model_config(name, arch, compile_layers=True)
        for method, name in METHODS.items()
    }
    saving = model_config(dseq, arch, dict(with_cp=True))
    sampler = model_config(ijepa, arch)
    sampler['mask_generator'].update(released=True)
    more = {'I-JEPA, varlen': varlen, **compiled, 'DSeq-JEPA, with_cp': saving}
    more['I-JEPA, released sampler'] = sampler
    return rows | {name: (Step, config) for name, config in more.items()}


def wait(device: str) -> None:
    """Wait until a device has done what it was given.

    Args:
        device: Its name.
    """
    if device != 'cpu':
        torch.cuda.synchronize(device)


def print_times(args, result: dict) -> None:
    """Time the rows in turn and print the table.

    Args:
        args: Of the command line.
        result: Gets seconds, ratios and memory by row.
    """
    dtype = None if args.device == 'cpu' else torch.bfloat16
    rows = rows_to_time(args.arch, args.device)
    steps = {
        name: kind(config, args.batch, args.device, dtype)
        for name, (kind, config) in rows.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    memory: dict[str, float] = {}
    for round_ in range(args.warmup + args.rounds):
        for name, step in steps.items():
            if args.device != 'cpu':
                torch.cuda.reset_peak_memory_stats(args.device)
            wait(args.device)
            start = time.perf_counter()
            step()
            wait(args.device)
            if round_ >= args.warmup:
                seconds[name].append(time.perf_counter() - start)
            if args.device != 'cpu':
                memory[name] = torch.cuda.max_memory_allocated(args.device) / 2**30
    first = seconds[next(iter(rows))]
    print(f'\n{args.arch}, batch {args.batch}, {args.rounds} rounds, {device_text()}')
    print('| row | ms per step | images/s | time over the first row | GFLOP | GiB |')
    print('|---|---|---|---|---|---|')
    for name, (kind, config) in rows.items():
        median = statistics.median(seconds[name])
        ratio = statistics.median(
            one / other for one, other in zip(seconds[name], first, strict=True)
        )
        cost = gflop(kind, config)
        peak = f'{memory[name]:.1f}' if name in memory else ''
        print(
            f'| {name} | {1e3 * median:.1f} | {args.batch / median:.1f} | {ratio:.3f} '
            f'| {cost:.1f} | {peak} |'
        )
        result[name] = dict(seconds=seconds[name], ratio=ratio, gflop=cost, gib=peak)


def gflop(kind: type[Step], config: dict) -> float:
    """Count the FLOP of a row.

    Args:
        kind: Of step.
        config: The model.

    Returns:
        GFLOP per image.
    """
    if kind is ReleasedStep:
        return flops.count_released(config, 64, 4)
    return flops.count_step(config, flops.sample_plan(config, 64, 0))


def device_text() -> str:
    """Name the device and the versions that figures belong to.

    Returns:
        A few words.
    """
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU'
    threads = f'{torch.get_num_threads()} threads'
    return f'{gpu}, {threads}, torch {torch.__version__}, {platform.machine()}'


def main(argv: list[str] | None = None) -> None:
    """Print the tables.

    Args:
        argv: Arguments; those of the process by default.

    Raises:
        ValueError: If a GPU is asked for and there is none.
    """
    parser = command.Parser(description=__doc__.split('\n')[0])
    whole = command.whole_number(1)
    parser.add_argument('--check', action='store_true', help='on a GPU, check it first')
    parser.add_argument('--time', action='store_true', help='time steps without a GPU')
    parser.add_argument('--device', default='cuda' if gpu_check.has_gpu() else 'cpu')
    parser.add_argument('--arch', choices=['base', 'small'], default='base')
    parser.add_argument('--batch', type=whole, default=256)
    parser.add_argument('--rounds', type=whole, default=9)
    parser.add_argument('--warmup', type=command.whole_number(0), default=2)
    parser.add_argument('--out', help='write the figures to this JSON file, too')
    args = parser.parse_args(argv)
    if args.device not in ('cpu', 'cuda') or (
        (args.check or args.device == 'cuda') and not gpu_check.has_gpu()
    ):
        raise ValueError(f'there is no GPU here for --check or --device {args.device}')
    if args.out:
        command.check_output(args.out, '--out')
    result: dict[str, Any] = dict(device=device_text(), counts={}, times={})
    if args.check:
        result['check'] = gpu_check.run()
    print_counts(result['counts'])
    if args.time or args.device == 'cuda':
        print_times(args, result['times'])
    if args.out:
        Path(args.out).write_text(json.dumps(result, indent=1), encoding='utf-8')


if __name__ == '__main__':
    sys.exit(command.run(main))
