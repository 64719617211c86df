"""Compare what is computed on a GPU with the CPU: ``step.py --check``.

Each check raises ``AssertionError`` with what differs. Small networks, real plans.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from dseq_mm.models import TrainingClock

ARCH = dict(embed_dims=64, num_layers=4, num_heads=2, feedforward_channels=256)
SALIENCY = dict(type='dseq_mm.ClassTokenSimilarity', block=1)


def has_gpu() -> bool:
    """Tell whether there is a GPU.

    Returns:
        Whether PyTorch can use one.
    """
    return torch.cuda.is_available()


def build(method: str, parts: dict | None = None, **options) -> torch.nn.Module:
    """Build a small model, the same at every call.

    Args:
        method: ``'DSeqJEPA'`` or ``'IJEPA'``.
        parts: Options of backbone and predictor.
        **options: Options of the model.

    Returns:
        The model, initialized.
    """
    torch.manual_seed(0)
    if method == 'DSeqJEPA':
        kind = 'dseq_mm.DiscriminativeMaskGenerator'
        options['mask_generator'] = dict(type=kind, saliency=SALIENCY)
    backbone = dict(type='dseq_mm.JEPAViT', arch=ARCH, img_size=224, patch_size=16)
    backbone['with_cls_token'] = method == 'DSeqJEPA'
    neck = dict(type='dseq_mm.JEPAPredictor', predictor_dims=32, depth=2)
    model = MODELS.build(
        dict(
            type=f'dseq_mm.{method}',
            backbone=backbone | (parts or {}),
            neck=neck | (parts or {}),
            head=dict(type='dseq_mm.LatentPredictionHead'),
            **options,
        )
    )
    model.init_weights()
    return model


def step(
    model: torch.nn.Module, dtype: torch.dtype | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run the forward and backward pass of one step on where the model is.

    Args:
        model: Of :func:`build`.
        dtype: Of autocast; None leaves it out.

    Returns:
        Loss and gradients, on the host.
    """
    device = next(model.parameters()).device
    images = torch.randn(16, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    samples = [DataSample(metainfo=dict(sample_idx=index)) for index in range(16)]
    model.train().zero_grad()
    model.clock = TrainingClock(0, 3, 1.0)
    with torch.autocast(device.type, dtype, enabled=dtype is not None):
        loss = model.loss(images.to(device), samples)['loss']
    loss.backward()
    named = model.named_parameters()
    return loss.detach().cpu(), {
        n: p.grad.cpu() for n, p in named if p.grad is not None
    }


def assert_close(one, other, relative: float) -> None:
    """Compare two results of :func:`step`.

    Args:
        one: A result.
        other: Another one.
        relative: Greatest difference of loss and of each gradient over its norm.

    Raises:
        AssertionError: If they differ by more.
    """
    assert abs(one[0] - other[0]) <= relative * abs(one[0]), (one[0], other[0])
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        difference = (gradient - other[1][name]).norm()
        assert difference <= relative * gradient.norm() + 1e-7, (name, difference)


def check_step_equals_cpu(method: str) -> None:
    """One step in float32 is the CPU's, regions and plan with it.

    Args:
        method: See :func:`build`.
    """
    assert_close(step(build(method)), step(build(method).cuda()), 1e-3)


def check_half_precision(method: str) -> None:
    """bfloat16 is close to float32, and finite.

    Args:
        method: See :func:`build`.
    """
    model = build(method).cuda()
    exact, rough = step(model), step(model, torch.bfloat16)
    assert abs(exact[0] - rough[0]) <= 0.05 * abs(exact[0]), (exact[0], rough[0])
    assert all(gradient.isfinite().all() for gradient in rough[1].values())


def check_waits(method: str) -> None:
    """A step waits for the device once if it reads a saliency, else never.

    Args:
        method: See :func:`build`.
    """
    model = build(method).cuda()
    step(model)
    images = torch.randn(16, 3, 224, 224, device='cuda')
    samples = [DataSample(metainfo=dict(sample_idx=index)) for index in range(16)]
    # what is allowed to wait is done apart from what is not
    generator, find_plan = model.mask_generator, model.mask_generator.forward
    allowed = 'default' if method == 'DSeqJEPA' else 'error'

    def plan_of(*args):
        torch.cuda.set_sync_debug_mode(allowed)
        plan = find_plan(*args)
        torch.cuda.set_sync_debug_mode('error')
        return plan

    generator.forward = plan_of
    torch.cuda.set_sync_debug_mode('error')
    try:
        model.loss(images, samples)['loss'].backward()
    finally:
        torch.cuda.set_sync_debug_mode('default')


def check_option(method: str, dtype: torch.dtype | None, relative: float, **options):
    """An option of a step changes how it is computed, and nothing of what.

    Args:
        method: See :func:`build`.
        dtype: Of autocast.
        relative: See :func:`assert_close`.
        **options: Of :func:`build`.
    """
    plain = step(build(method).cuda(), dtype)
    assert_close(plain, step(build(method, **options).cuda(), dtype), relative)


def check_distributed() -> None:
    """One process under DistributedDataParallel and NCCL is one process."""
    with tempfile.TemporaryDirectory() as folder:
        store = dist.FileStore(str(Path(folder) / 'store'), 1)
        dist.init_process_group('nccl', store=store, rank=0, world_size=1)
        try:
            model = build('DSeqJEPA').cuda()
            wrapped = DistributedDataParallel(model)
            plain = step(build('DSeqJEPA').cuda())
            assert_close(plain, step(wrapped.module), 1e-4)
        finally:
            dist.destroy_process_group()


def run() -> dict[str, str]:
    """Run all checks on the GPU and print how each ends.

    Returns:
        ``'ok'`` or what differs, by check.
    """
    half = torch.bfloat16
    checks: dict[str, Callable[[], None]] = {'one process, NCCL': check_distributed}
    for method in ('DSeqJEPA', 'IJEPA'):
        for name, check in (
            ('a step is that of the CPU', check_step_equals_cpu),
            ('bfloat16', check_half_precision),
            ('waits', check_waits),
        ):
            checks[f'{method}: {name}'] = lambda m=method, c=check: c(m)
        checks[f'{method}: with_cp'] = lambda m=method: check_option(
            m, None, 1e-5, parts=dict(with_cp=True)
        )
        checks[f'{method}: compile_layers'] = lambda m=method: check_option(
            m, None, 1e-3, compile_layers=True
        )
    checks['IJEPA: varlen'] = lambda: check_option(
        'IJEPA', half, 0.05, parts=dict(varlen=True)
    )
    result = {}
    for name, check in checks.items():
        try:
            check()
            result[name] = 'ok'
        except Exception as error:  # a check that fails must not hide the others
            result[name] = f'{type(error).__name__}: {error}'
        print(f'{name}: {result[name]}')
    return result
