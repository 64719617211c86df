"""Encoders in MMPretrain's ``get_model``, which knows whole models alone.

``get_model(config, pretrained=FILE)`` never initializes the model, and loads by names.
Those of a backbone alone fit nothing, and of a pre-training checkpoint it would take
the context encoder. ``ImageClassifier`` lets its backbone rewrite foreign weights by a
method ``_checkpoint_filter``; MMPretrain's ViT, and what inherits from it, gets one.
"""

from typing import Any

from mmengine.logging import print_log
from mmpretrain.apis import ModelHub
from mmpretrain.models.backbones import VisionTransformer

from ..utils.host import set_checkpoint_filter
from ..utils.shipped import shipped_folder
from .contents import ENCODERS, split_encoders, state_dict_of
from .initialize import load_backbone, strict_entry


def fill_classifier(
    backbone: VisionTransformer, state: dict[str, Any], prefix: str, *_: Any
) -> None:
    """Rewrite what a file holds to the names of a classifier, or refuse the file.

    Rewritten are an exported backbone, a pre-training checkpoint with a target encoder,
    and the layouts of :func:`~dseq_mm.transfer.layouts.read_layout`. Checkpoints of
    classifiers stay as they are.

    Args:
        backbone: Of the classifier that is about to load.
        state: What the classifier is to load; changed in place.
        prefix: Of the classifier's own keys in ``state``.
        _: The other arguments of PyTorch's hooks, unused.

    Raises:
        ValueError: The file has weights of an encoder, which do not fit the backbone.
    """
    own = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
    if not _has_encoder(own):
        return
    options = strict_entry(getattr(backbone, 'init_cfg', None)) or {}
    names = ('encoder', 'grid', 'allow_missing')
    report = load_backbone(
        backbone, own, **{name: options[name] for name in names if name in options}
    )
    print_log(str(report), logger='current')
    for key in own:
        del state[prefix + key]
    for key, value in backbone.state_dict().items():
        state[f'{prefix}backbone.{key}'] = value


def fill_algorithm(algorithm: Any, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Rewrite what a file holds to the names of a JEPA, or refuse the file.

    An exported backbone, a classifier and the files of other projects give both
    encoders; I-JEPA's gives the predictor, too. Checkpoints of the algorithm stay as
    they are.

    Args:
        algorithm: What is about to load; it has a backbone and a target encoder.
        state: What it is to load; changed in place.
        prefix: Of the algorithm's own keys in ``state``.
        _: The other arguments of PyTorch's hooks, unused.

    Raises:
        ValueError: The file has weights of an encoder, which do not fit the backbone.
    """
    own = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
    if not own or any(key.startswith(tuple(ENCODERS.values())) for key in own):
        return
    known = state_dict_of(own)
    report = load_backbone(algorithm.backbone, own)
    print_log(str(report), logger='current')
    for key in own:
        del state[prefix + key]
    for key, value in algorithm.backbone.state_dict().items():
        for encoder in ENCODERS.values():
            state[f'{prefix}{encoder}{key}'] = value
    state |= {prefix + k: v for k, v in known.items() if k.startswith('neck.')}


def _has_encoder(own: dict[str, Any]) -> bool:
    """Whether these are an encoder's weights that a classifier would not find."""
    known = state_dict_of(own) if own else {}
    parts = split_encoders(known)
    mark = 'patch_embed.projection.weight'
    return 'target' in parts or mark in parts.get('plain', {})


def register_models() -> None:
    """Name our pre-training configs to MMPretrain's ``get_model`` and ``list_models``.

    A second call does nothing; without the configs (a part of the package alone) it
    does nothing either.
    """
    folder = shipped_folder('configs').parent
    index = folder / 'model-index.yml'
    if index.is_file() and not ModelHub.has('dseq_vitb16_600e'):
        ModelHub.register_model_index(index, config_prefix=folder)


def install_classifier_filter() -> None:
    """Give MMPretrain's ViT the filter that ``ImageClassifier`` asks for."""
    set_checkpoint_filter(VisionTransformer, fill_classifier)
