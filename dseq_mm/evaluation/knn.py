"""Weighted k-nearest-neighbor accuracy of frozen features.

Shape legend: ``n`` images of the bank and ``q`` queries of this process, ``c`` of one
chunk, ``R`` processes, ``D`` channels, ``k`` neighbors, ``C`` classes.
"""

from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import all_gather, get_rank, get_world_size
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from torch import Tensor, nn

from ..registry import MODELS
from ..transfer.initialize import load_backbone
from .features import (
    evaluation_mode,
    extract_shard,
    pooled_blocks,
    raw_pixels,
    size_of,
)
from .knn_data import open_knn_data
from .rank import feature_std, rank_me
from .shards import count, hand_round, highest, own_rows, total

NO_LABELS = '--linear needs labels: KNNHook has no query, or its bank none'
CHUNK = 512  # queries of all processes compared with the bank at once


def knn_accuracy(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    query_labels: Tensor,
    k: int = 20,
    temperature: float = 0.07,
    num_classes: int | None = None,
) -> dict[str, float]:
    """Classify queries by their nearest neighbors in a bank.

    Each of the ``k`` neighbors by cosine votes for its class with the weight
    ``exp(cosine / temperature)``. Computed in float32, ``CHUNK`` queries at a time.
    Each process gives the rows that it has, and keeps its part of the bank: queries go
    round, and each process names the nearest of its own.

    Args:
        bank: Features with known classes, ``(n, D)``.
        bank_labels: Classes of the bank, ``(n,)``, from 0.
        queries: Features to classify, ``(q, D)``.
        query_labels: Their true classes, ``(q,)``.
        k: Number of neighbors.
        temperature: Of the votes.
        num_classes: Number of classes; by default the highest label decides.

    Returns:
        ``top1`` and, with more than five classes, ``top5``, in percent, the same in
        all processes.

    Raises:
        ValueError: The bank has fewer than ``k`` images, there is no query, or
            ``k`` or ``temperature`` is not positive.
    """
    size, asked = count(bank), count(queries)
    if not 1 <= k <= size:
        raise ValueError(
            f'k={k} neighbors from a bank of {size} images: choose k between 1 '
            'and the size of the bank (bank_fraction makes it smaller)'
        )
    if temperature <= 0 or not asked:
        raise ValueError('kNN needs a positive temperature and at least one query')
    if num_classes is None:
        labels = torch.cat([bank_labels, query_labels])
        num_classes = 1 + highest(int(labels.max()) if len(labels) else -1)
    bank = F.normalize(bank.float(), dim=1)
    top = [1, 5] if num_classes > 5 else [1]
    hits = torch.zeros(len(top), device=bank.device)
    length = max(1, CHUNK // get_world_size())
    for start in range(0, highest(len(queries)), length):
        chunk = queries[start : start + length]
        truth = query_labels[start : start + length]
        cosine, label = nearest(bank, bank_labels, chunk, k, length)
        # relative to the nearest: the same order, no overflow
        weight = ((cosine - cosine[:, :1]) / temperature).exp()
        right = _ranking(weight, label, num_classes, max(top)) == truth[:, None]
        hits += torch.stack([right[:, :t].any(1).sum() for t in top])
    accuracy = 100.0 * total(hits) / asked
    return {f'top{t}': value for t, value in zip(top, accuracy.tolist(), strict=True)}


def _ranking(weight: Tensor, label: Tensor, num_classes: int, places: int) -> Tensor:
    """Classes with the most votes, ``(c, places)``; -1 for one without any vote."""
    votes = weight.new_zeros(len(weight), num_classes)  # (c, C)
    votes.scatter_add_(1, label, weight)
    votes, ranking = votes.topk(places, dim=1)
    return torch.where(votes > 0, ranking, -1)


def nearest(
    bank: Tensor, labels: Tensor, queries: Tensor, k: int, length: int
) -> tuple[Tensor, Tensor]:
    """Find the nearest neighbors of queries in the parts of all processes.

    Args:
        bank: Normalized features of this process, ``(n, D)``.
        labels: Their classes, ``(n,)``.
        queries: Of this process, ``(c, D)``.
        k: Number of neighbors; all processes together have as many.
        length: The highest ``c`` of a process.

    Returns:
        Cosines, the highest first, and classes, both ``(c, k)``.
    """
    everyone = hand_round(queries, length)  # (R, length, D)
    asked = F.normalize(everyone.flatten(0, 1).float(), dim=1)  # (R * length, D)
    found = (asked @ bank.T).topk(min(k, len(bank)), dim=1)  # (R * length, <= k)
    cosine = asked.new_full((len(asked), k), -torch.inf)
    label = labels.new_zeros(len(asked), k)
    cosine[:, : found.values.shape[1]] = found.values
    label[:, : found.values.shape[1]] = labels[found.indices]
    if get_world_size() == 1:
        return cosine[: len(queries)], label[: len(queries)]
    own = get_rank() * length + torch.arange(len(queries), device=bank.device)
    # what R processes have found for the queries of this one: (c, R * k)
    cosine = torch.cat([part[own] for part in all_gather(cosine)], dim=1)
    label = torch.cat([part[own] for part in all_gather(label)], dim=1)
    cosine, place = cosine.topk(k, dim=1)  # (c, k)
    return cosine, label.gather(1, place)


def _check_finite(features: dict[str, Tensor], what: str) -> None:
    for name, value in features.items():
        bad = int(total((~torch.isfinite(value)).flatten(1).any(1).sum()))
        if bad:
            raise ValueError(
                f'the features of {bad} of {count(value)} images of the {what} are NaN '
                f'or infinite ({name})'
            )


def knn_metrics(
    bank: dict[str, Tensor],
    queries: dict[str, Tensor] | None,
    k: int = 20,
    temperature: float = 0.07,
    device: torch.device | str = 'cpu',
) -> dict[str, float]:
    """Measure extracted features.

    Args:
        bank: Named features ``(n, D)`` and ``labels`` ``(n,)`` of this process, as
            :func:`.own_rows` leaves them.
        queries: The same of the queries; None for no kNN, and no labels of the bank.
        k: Number of neighbors.
        temperature: Of the votes.
        device: Where to compare.

    Returns:
        For each name, ``knn_<name>`` and perhaps ``knn_<name>_top5`` in percent; of the
        bank's ``last`` features ``rank_me`` and ``feature_std``.

    Raises:
        ValueError: As :func:`knn_accuracy`, labels are missing, or features are not
            finite.
    """
    labels = bank.get('labels')
    bank = {key: value.to(device) for key, value in bank.items() if key != 'labels'}
    _check_finite(bank, 'bank')
    metrics = {}
    if queries is not None:
        truth = queries.get('labels')
        if highest(labels is None or truth is None):
            raise ValueError('kNN needs labels in both bank and query datasets')
        assert labels is not None and truth is not None
        queries = {name: queries[name].to(device) for name in bank}
        _check_finite(queries, 'queries')
        labels, truth = labels.to(device), truth.to(device)
        for name, value in bank.items():
            accuracy = knn_accuracy(value, labels, queries[name], truth, k, temperature)
            metrics[f'knn_{name}'] = accuracy['top1']
            if 'top5' in accuracy:
                metrics[f'knn_{name}_top5'] = accuracy['top5']
    metrics['rank_me'] = rank_me(bank['last'])
    metrics['feature_std'] = feature_std(bank['last'])
    return dict(sorted(metrics.items()))


def hook_settings(cfg: Config) -> dict:
    """Find the kNN settings of a pre-training config.

    Args:
        cfg: A config with a ``KNNHook`` in ``custom_hooks``.

    Returns:
        The arguments of that hook.

    Raises:
        ValueError: The config has none.
    """
    for hook in cfg.get('custom_hooks') or []:
        name = getattr(hook['type'], '__name__', hook['type'])
        if name.rpartition('.')[2] == 'KNNHook':
            return {key: value for key, value in hook.items() if key != 'type'}
    raise ValueError(
        "the config has no kNN evaluation: add dict(type='KNNHook', bank=..., "
        'query=...) with two dataloader configs to custom_hooks'
    )


def _frozen_backbone(
    cfg: Config, checkpoint: str | Path | None, encoder: str, seed: int
) -> nn.Module:
    """The config's backbone with a checkpoint's weights, or with random ones."""
    set_random_seed(seed)
    backbone = MODELS.build(cfg.model.backbone)
    if checkpoint is None:
        backbone.init_weights()
    else:
        load_backbone(backbone, checkpoint, encoder)
    return backbone


def extract_config(
    cfg: Config,
    checkpoint: str | Path | None,
    encoder: str | None = None,
    seed: int = 0,
    pixels: bool = False,
    labels: bool = False,
) -> tuple[dict, dict | None]:
    """Extract the features of bank and queries that a config names.

    Args:
        cfg: A pre-training config with a ``KNNHook``.
        checkpoint: Pre-training checkpoint or exported backbone; None measures the
            network at its random initialization.
        encoder: 'target' or 'context'; by default what the hook says.
        seed: Of the random initialization.
        pixels: Take the pixels as features, not the backbone's.
        labels: Refuse data without labels before anything is computed.

    Returns:
        Features of the bank and of the queries with ``labels`` of the bank's classes,
        as :func:`.extract_shard` gives them: of several processes each has its own
        rows. None instead of the queries if there are none or the bank has no labels.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: The config has no ``KNNHook``, its data cannot be compared (see
            :func:`open_knn_data`), or the checkpoint does not fit.
    """
    init_default_scope(cfg.get('default_scope') or 'mmpretrain')
    settings = hook_settings(cfg)
    encoder = encoder or settings.get('encoder', 'target') or 'context'
    device = get_device()
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor')
    preprocessor = MODELS.build(preprocessor or dict(type='SelfSupDataPreprocessor'))
    preprocessor.to(device)
    chosen = {key: settings[key] for key in ('bank_fraction', 'k') if key in settings}
    data = open_knn_data(settings.get('bank') or {}, settings.get('query'), **chosen)
    if labels and data.query is None:
        raise ValueError(NO_LABELS)
    for note in data.notes:
        print_log(note)
    encode, modules = raw_pixels, [preprocessor]
    if not pixels:
        backbone = _frozen_backbone(cfg, checkpoint, encoder, seed).to(device)
        encode, modules = partial(pooled_blocks, backbone), [preprocessor, backbone]
    found: list[dict] = []
    with evaluation_mode(*modules):
        for loader in filter(None, (data.bank, data.query)):
            shard = extract_shard(encode, loader, preprocessor, device)
            found.append(own_rows(shard, size_of(loader)))
    if data.query is None:
        return found[0], None
    return found[0], data.relabel(found[1])


def evaluate_config(
    cfg: Config,
    checkpoint: str | Path | None,
    encoder: str | None = None,
    seed: int = 0,
    pixels: bool = False,
) -> dict[str, float]:
    """Measure a checkpoint by the kNN settings of its config's ``KNNHook``.

    Args:
        cfg: A pre-training config with a ``KNNHook``.
        checkpoint: As for :func:`extract_config`.
        encoder: As for :func:`extract_config`.
        seed: As for :func:`extract_config`.
        pixels: As for :func:`extract_config`.

    Returns:
        As :func:`knn_metrics`.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: As :func:`extract_config` and :func:`knn_metrics`.
    """
    bank, queries = extract_config(cfg, checkpoint, encoder, seed, pixels)
    settings = hook_settings(cfg)
    options = {k: settings[k] for k in ('k', 'temperature') if k in settings}
    return knn_metrics(bank, queries, device=get_device(), **options)
