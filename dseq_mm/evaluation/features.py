"""Features of a frozen backbone over a whole dataset, in dataset order.

Shape legend: ``B`` images of a batch, ``n`` of the dataset, ``m`` of one process,
``K`` class tokens (0 or 1), ``P`` patches, ``D`` channels.
"""

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, cast

import torch
from mmengine.dataset import BaseDataset, DefaultSampler
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from ..data.keyed_dataset import KeyedDataset
from ..utils.arguments import arguments_of, check_arguments
from .shards import gather_shards

#: What a dataloader config may have.
LOADER = arguments_of(DataLoader).names.keys() | {
    'disable_subprocess_warning',
    'num_batch_per_epoch',
}
Encoder = Callable[[Tensor], dict[str, Tensor]]


@contextlib.contextmanager
def evaluation_mode(*modules: nn.Module) -> Iterator[None]:
    """Evaluate without gradients; each submodule's own mode comes back.

    Args:
        *modules: The modules to switch.

    Yields:
        Nothing.
    """
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        for module in modules:
            module.eval()  # no chaining: some hosts' eval() returns None
        with torch.no_grad():
            yield
    finally:
        for part, training in modes:
            part.training = training


@contextlib.contextmanager
def _outputs(backbone: nn.Module, **settings) -> Iterator[None]:
    """Change output settings of an mmpretrain backbone for a while."""
    before = {name: getattr(backbone, name) for name in settings}
    try:
        for name, value in settings.items():
            setattr(backbone, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(backbone, name, value)


def pooled_blocks(backbone: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Average the patch tokens of the last block and of the last four.

    The final norm is applied to all four blocks, so that each weighs about the same
    in a cosine (the residual stream grows with depth; mmpretrain norms the last block
    only). A network that is no ViT gives its pooled last stages instead.

    Args:
        backbone: A backbone of mmpretrain, in evaluation mode.
        images: ``(B, 3, height, width)``, normalized.

    Returns:
        ``last`` ``(B, D)`` and ``last4`` ``(B, 4 * D)``, the deepest block last; with
        fewer than four blocks all of them.
    """
    # masked-image models mask unless they are told not to
    masked = 'mask' in inspect.signature(backbone.forward).parameters
    arguments = dict(mask=None) if masked else {}
    if not all(hasattr(backbone, name) for name in ('layers', 'out_type')):
        stages = backbone(images, **arguments)
        stages = stages if isinstance(stages, tuple | list) else [stages]
        # (B, D, H, W) -> (B, D)
        pooled = [stage.float().flatten(2).mean(2) for stage in stages[-4:]]
        return dict(last=pooled[-1], last4=torch.cat(pooled, dim=1))
    return pool(last_blocks(backbone, images, **arguments), backbone)


def last_blocks(backbone: nn.Module, images: Tensor, **arguments) -> list[Tensor]:
    """Compute the tokens of the last four blocks of a ViT, all after the final norm.

    Args:
        backbone: A ViT of mmpretrain, in evaluation mode.
        images: ``(B, 3, height, width)``, normalized.
        **arguments: For its forward pass.

    Returns:
        Up to four times ``(B, K + P, D)``, the deepest block last.
    """
    depth = len(cast(nn.ModuleList, backbone.layers))
    blocks = list(range(max(0, depth - 4), depth))
    with _outputs(backbone, out_type='raw', out_indices=blocks):
        outputs = list(backbone(images, **arguments))  # each (B, K + P, D)
    if getattr(backbone, 'final_norm', False):
        norm = backbone.get_submodule('ln1')
        outputs[:-1] = [norm(tokens) for tokens in outputs[:-1]]
    return outputs


def pool(outputs: list[Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """Average the patch tokens of blocks.

    Args:
        outputs: As :func:`last_blocks` returns them.
        backbone: The ViT, which says how many tokens are no patches.

    Returns:
        As :func:`pooled_blocks`.
    """
    first = getattr(backbone, 'num_extra_tokens', 0)
    pooled = [tokens[:, first:].float().mean(1) for tokens in outputs]  # (B, D)
    return dict(last=pooled[-1], last4=torch.cat(pooled, dim=1))


def raw_pixels(images: Tensor) -> dict[str, Tensor]:
    """Take the images themselves as features: what a backbone has to beat.

    Args:
        images: ``(B, 3, height, width)``, normalized.

    Returns:
        ``last``: ``(B, 3 * height * width)``.
    """
    return dict(last=images.float().flatten(1))


def build_loader(config: dict, fraction: float = 1.0) -> DataLoader:
    """Build a dataloader that gives each sample once, in order.

    An image that cannot be read is replaced by the next one, with a warning, as
    :class:`.KeyedDataset` does it.

    Args:
        config: Dataloader config of the runner; its sampler must not shuffle. What
            needs workers (``persistent_workers``, ``prefetch_factor``) is left out if
            ``num_workers`` is 0.
        fraction: Share of the dataset to keep, in (0, 1]: a random subset, always the
            same one, by the dataset's indices.

    Returns:
        The dataloader.

    Raises:
        ValueError: The fraction is out of range, there is no dataset, something in the
            config is read by nothing, or the samples would not come in order.
    """
    if not 0.0 < fraction <= 1.0:
        raise ValueError(f'bank_fraction is in (0, 1], not {fraction}')
    if not isinstance(config, dict) or 'dataset' not in config:
        raise ValueError(
            'a dataloader config is a dict with dataset, batch_size and num_workers'
        )
    check_arguments(config, LOADER, 'the dataloader')
    config = copy.deepcopy(dict(config))
    config.setdefault('sampler', dict(type='DefaultSampler', shuffle=False))
    if not config.setdefault('num_workers', 0):
        for name in ('persistent_workers', 'prefetch_factor'):
            config.pop(name, None)
    dataset = config['dataset']
    if isinstance(dataset, dict):
        dataset = DATASETS.build(dataset)
    config['dataset'] = dataset = _skipping_unreadable(dataset)
    if fraction < 1.0:
        if hasattr(dataset, 'full_init'):  # it may be lazy
            dataset.full_init()
        order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))
        keep = order[: max(1, round(fraction * len(dataset)))].sort().values
        config['dataset'] = Subset(dataset, keep.tolist())
    loader = Runner.build_dataloader(config, seed=0)
    _check_order(loader)
    return loader


def _skipping_unreadable(dataset: Any) -> Any:
    """The data set, in a KeyedDataset unless it prepares its samples itself."""
    usual = isinstance(dataset, BaseDataset) and all(
        getattr(type(dataset), name) is getattr(BaseDataset, name)
        for name in ('prepare_data', '__getitem__')
    )
    return KeyedDataset(dataset) if usual else dataset


def _single_view(inputs: Tensor | list) -> Tensor:
    """One batch of images, whatever the collate function made of it."""
    if isinstance(inputs, Tensor):
        return inputs
    # a list of views (B, 3, H, W): the first; a list of images (3, H, W): all
    return inputs[0] if inputs[0].ndim == 4 else torch.stack(list(inputs))


def labels_of(data_samples: list | None) -> Tensor | None:
    """Collect the classes of the images of a batch.

    Args:
        data_samples: What the pipeline has packed.

    Returns:
        ``(B,)`` on the CPU; None if an image has no class.

    Raises:
        ValueError: An image has several classes.
    """
    if not data_samples or any('gt_label' not in sample for sample in data_samples):
        return None
    labels = [sample.gt_label for sample in data_samples]
    if any(label.numel() != 1 for label in labels):
        raise ValueError('kNN needs one class per image, and this dataset has several')
    return torch.stack([label.reshape(()) for label in labels]).cpu()  # (B,)


def _check_order(dataloader: DataLoader) -> None:
    """The gathering below relies on the order in which shards are dealt out."""
    sampler = dataloader.sampler
    if (
        not isinstance(sampler, DefaultSampler)
        or sampler.shuffle
        or not sampler.round_up
        or dataloader.drop_last
    ):
        raise ValueError(
            'features are gathered in dataset order: give the dataloader '
            "sampler=dict(type='DefaultSampler', shuffle=False) and no drop_last"
        )


def size_of(dataloader: DataLoader) -> int:
    """Count the images of a dataloader.

    Args:
        dataloader: Of a data set that has a length.

    Returns:
        Their number.
    """
    return len(cast(Sized, dataloader.dataset))


def extract_shard(
    encode: Encoder,
    batches: Iterable[dict],
    data_preprocessor: nn.Module,
    device: torch.device | str,
) -> dict[str, Tensor | None]:
    """Run an encoding over the batches of one process; nothing is communicated.

    Args:
        encode: Images ``(B, 3, height, width)`` to named features ``(B, ...)``.
        batches: Of a dataloader.
        data_preprocessor: Normalizes a batch; it is on ``device``.
        device: Where to encode; the result is on the CPU.

    Returns:
        The named features ``(m, ...)`` in float32 and ``labels`` ``(m,)``, or None
        where an image has none.

    Raises:
        ValueError: An image has several classes.
    """
    shards: dict[str, list] = {}
    labels = []
    for batch in batches:
        batch = {**batch, 'inputs': _single_view(batch['inputs'])}
        batch = data_preprocessor(batch, False)
        features = encode(_single_view(batch['inputs']).to(device))
        for name, value in features.items():
            shards.setdefault(name, []).append(value.float().cpu())
        labels.append(labels_of(batch.get('data_samples')))
    known = [part for part in labels if part is not None]
    joined = {name: torch.cat(parts) for name, parts in shards.items()}
    return dict(joined, labels=torch.cat(known) if len(known) == len(labels) else None)


def extract(
    encode: Encoder,
    dataloader: DataLoader,
    data_preprocessor: nn.Module,
    device: torch.device | str,
) -> dict[str, Tensor | None]:
    """Run an encoding over a dataset, each process over its shard.

    Args:
        encode: Images ``(B, 3, height, width)`` to named features ``(B, ...)``.
        dataloader: In order; see :func:`build_loader`.
        data_preprocessor: Normalizes a batch; it is on ``device``.
        device: Where to encode; the result is on the CPU.

    Returns:
        The named features ``(n, ...)`` in float32 and ``labels`` ``(n,)``, or None
        where the dataset has none, in dataset order on all processes.

    Raises:
        ValueError: The dataloader shuffles, or an image has several classes.
    """
    _check_order(dataloader)
    shard = extract_shard(encode, dataloader, data_preprocessor, device)
    return gather_shards(shard, size_of(dataloader))


def extract_features(
    backbone: nn.Module,
    dataloader: DataLoader,
    data_preprocessor: nn.Module,
    device: torch.device | str,
) -> dict[str, Tensor | None]:
    """Extract pooled features of a frozen backbone over a dataset.

    Args:
        backbone: A backbone of mmpretrain, on ``device``; its mode is restored.
        dataloader: In order; see :func:`build_loader`.
        data_preprocessor: Normalizes a batch; it is on ``device``.
        device: Where to encode; the result is on the CPU.

    Returns:
        ``last`` ``(n, D)``, ``last4`` ``(n, 4 * D)`` (see :func:`pooled_blocks`) and
        ``labels`` ``(n,)`` or None, on all processes.

    Raises:
        ValueError: As :func:`extract`.
    """
    with evaluation_mode(backbone, data_preprocessor):
        return extract(
            lambda images: pooled_blocks(backbone, images),
            dataloader,
            data_preprocessor,
            device,
        )
