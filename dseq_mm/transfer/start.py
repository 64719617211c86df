"""The checkpoint that a transfer run starts from, or that is tested.

A transfer config has ``init_cfg=dict(type='StrictPretrained', ...)`` in its backbone.
Each function that changes a config returns what the user should know as a list of
lines for the log.
"""

from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmpretrain.models import BaseSelfSupervisor, VisionTransformer

from ..registry import MODELS
from ..utils.arguments import arguments_of
from ..utils.configs import shipped_configs
from .architectures import ARCHITECTURES
from .checkpoint import load_checkpoint
from .contents import (
    check_finite,
    check_vit,
    choose_encoder,
    facts_of,
    split_encoders,
    state_dict_of,
    whole_model_notes,
)
from .initialize import NO_CHECKPOINT, strict_entry


def start_backbone(
    cfg: Config, checkpoint: str | None = None, scratch: bool = False
) -> list[str]:
    """Apply ``--checkpoint`` and ``--from-scratch``.

    A config that is no transfer config needs neither. One of pre-training can start
    from a checkpoint.

    Args:
        cfg: Changed in place.
        checkpoint: Path of the checkpoint; the one in the config by default.
        scratch: Start from random weights.

    Returns:
        Lines for the log.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A transfer config has no checkpoint, another config has one, or it
            does not fit.
    """
    if scratch:
        return from_scratch(cfg)
    if checkpoint is not None and not is_transfer(cfg) and is_self_supervised(cfg):
        return start_pretraining(cfg, checkpoint)
    entry = _strict_entry(cfg)
    if checkpoint is None and entry is not None:
        checkpoint = entry.get('checkpoint')
        if checkpoint is None:
            raise ValueError(NO_CHECKPOINT)
    return [] if checkpoint is None else use_checkpoint(cfg, checkpoint)


def start_pretraining(cfg: Config, path: str | Path) -> list[str]:
    """Let a pre-training start from weights: a new one, with all clocks at zero.

    Args:
        cfg: Changed in place.
        path: A pre-training checkpoint, an exported backbone or another file that
            ``StrictPretrained`` reads.

    Returns:
        Lines for the log.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file cannot be read, has another architecture or weights that
            are not finite.
    """
    if cfg.get('load_from'):
        raise ValueError(
            f'--checkpoint starts the encoders, load_from={cfg.load_from!r} the whole '
            'model: give one of them'
        )
    path, checkpoint, encoder, _ = _read_start(cfg, path, 'target')
    if 'warm_start' in arguments_of(_kind(cfg)).names:
        cfg.model.warm_start = str(path)
    else:  # the host's algorithms start by their backbone
        init_cfg = dict(type='StrictPretrained', checkpoint=str(path))
        cfg.model.backbone.init_cfg = init_cfg
    return [
        f'A new pre-training starts from {path} ({encoder} encoder).',
        *whole_model_notes(checkpoint),
    ]


def start_resumed(cfg: Config, given: str | bool | None) -> list[str]:
    """Fit a config to the training that goes on; its weights are in the checkpoint.

    Args:
        cfg: Changed in place; ``load_from`` names the checkpoint.
        given: What the user gave to start from, if anything.

    Returns:
        Lines for the log.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The checkpoint is not of a model that was trained with this config.
    """
    notes = fit_to_trained(cfg, cfg.load_from)
    # what the training once started from may be gone by now
    if is_transfer(cfg) and not is_self_supervised(cfg):
        cfg.model.backbone.init_cfg = None
    (cfg.get('model') or {}).pop('warm_start', None)
    if given:
        notes.append(
            'What --checkpoint and --from-scratch say is left aside: the training goes '
            f'on from {cfg.load_from}.'
        )
    return notes


def is_transfer(cfg: Config) -> bool:
    """Tell whether the backbone of a config starts by ``StrictPretrained``.

    Args:
        cfg: The config.

    Returns:
        True if it does.
    """
    return _strict_entry(cfg) is not None


def _strict_entry(cfg: Config) -> dict | None:
    backbone = (cfg.get('model') or {}).get('backbone') or {}
    return strict_entry(backbone.get('init_cfg'))


def use_checkpoint(cfg: Config, path: str | Path) -> list[str]:
    """Let the backbone start from a checkpoint, and fit the config to its encoder.

    Args:
        cfg: Changed in place.
        path: A pre-training checkpoint, an exported backbone or another file that
            ``StrictPretrained`` reads.

    Returns:
        Lines for the log.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The config is no transfer config, or the file cannot be read, has
            another architecture or weights that are not finite.
    """
    init_cfg = _check_transfer(cfg, '--checkpoint')
    wanted = init_cfg.get('encoder', 'target')
    path, checkpoint, encoder, state = _read_start(cfg, path, wanted)
    init_cfg['checkpoint'] = str(path)
    return [
        f'The backbone starts from {path} ({encoder} encoder).',
        *whole_model_notes(checkpoint),
        *_fit_class_token(cfg, 'cls_token' in state),
    ]


def _read_start(cfg: Config, path: str | Path, wanted: str) -> tuple:
    """Read what a backbone starts from: path, checkpoint, name of its encoder, state.

    Raises unless the encoder is one that the config's backbone could take.
    """
    path = Path(path).expanduser().absolute()
    checkpoint = load_checkpoint(path)
    encoder, state = choose_encoder(checkpoint, wanted, str(path))
    _check_architecture(cfg, path, facts_of(checkpoint, state), state)
    check_finite(state, path)
    return path, checkpoint, encoder, state


def from_scratch(cfg: Config) -> list[str]:
    """Let the backbone start from random weights.

    Args:
        cfg: Changed in place.

    Returns:
        Lines for the log.

    Raises:
        ValueError: The config is no transfer config.
    """
    _check_transfer(cfg, '--from-scratch')
    cfg.model.backbone.init_cfg = None
    return ['The backbone starts from random weights.']


def fit_to_trained(cfg: Config, path: str | Path) -> list[str]:
    """Fit a transfer config to the model that was trained with it, for testing.

    It repeats what :func:`use_checkpoint` changed for the training.

    Args:
        cfg: Changed in place; left alone if it is no transfer config, or one of
            pre-training whose backbone has started from a checkpoint.
        path: Checkpoint of the trained detector, segmentor or classifier.

    Returns:
        Lines for the log.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file cannot be read or is that of a backbone.
    """
    if not is_transfer(cfg) or is_self_supervised(cfg):
        return []
    state = state_dict_of(load_checkpoint(path))
    parts = split_encoders(state)
    if 'context' not in parts or 'target' in parts:
        raise ValueError(
            f'{path} is a backbone or a pre-training checkpoint, not a model that was '
            'trained with this config. Train it first: tools/train.py CONFIG '
            f'--checkpoint {path}'
        )
    return _fit_class_token(cfg, 'cls_token' in parts['context'])


def is_self_supervised(cfg: Config) -> bool:
    """Tell whether the model of a config is a self-supervised algorithm.

    Args:
        cfg: The config.

    Returns:
        True if it is.
    """
    kind = _kind(cfg)
    return isinstance(kind, type) and issubclass(kind, BaseSelfSupervisor)


def _kind(cfg: Config) -> Any:
    """Class of the model; None if there is none of this name."""
    kind = (cfg.get('model') or {}).get('type')
    return MODELS.get(kind) if isinstance(kind, str) else kind


def _check_transfer(cfg: Config, argument: str) -> dict:
    entry = _strict_entry(cfg)
    if entry is None:
        raise ValueError(
            f'{argument} is for transfer configs: {_name(cfg)} has no '
            "model.backbone.init_cfg=dict(type='StrictPretrained', ...). To start a "
            'whole model from weights use --cfg-options load_from=PATH.'
        )
    return entry


def _name(cfg: Config) -> str:
    return Path(cfg.filename).name if cfg.filename else 'the config'


def _check_architecture(cfg: Config, path: Path, facts: dict, state: dict) -> None:
    """Raise, and names configs that fit, if file and config differ in size."""
    check_vit(facts, state, path)
    size = facts['embed_dims'], facts['depth'], facts['patch_size'][0]
    backbone = cfg.model.backbone
    arch = backbone.get('arch', 'base')
    if isinstance(arch, str):
        arch = VisionTransformer.arch_zoo.get(arch.lower())
    if arch is None:
        return  # an unknown name, which the backbone reports
    own = arch['embed_dims'], arch['num_layers'], backbone.get('patch_size', 16)
    if size == own:
        return
    shape = '{} channels, {} blocks and patches of {} px'
    word = next((w for w, known in ARCHITECTURES.items() if known[:3] == size), None)
    stems = [p.stem for p in shipped_configs() if p.parent.name == 'transfer']
    fitting = [stem for stem in stems if word and f'_{word}' in stem]
    raise ValueError(
        f'{path} holds a ViT of {shape.format(*size)}, {_name(cfg)} has one of '
        f'{shape.format(*own)}. Configs of dseq_mm that fit the file: '
        f'{", ".join(fitting) or "none; set model.backbone.arch and patch_size"}.'
    )


def class_token_settings(cfg: Config, in_file: bool) -> dict[str, Any]:
    """Tell what fits a config to an encoder with or without class token.

    Args:
        cfg: A transfer config; not changed.
        in_file: Whether the encoder has a class token.

    Returns:
        Dotted key to value, empty where nothing is to be done. A head on the class
        token gets the average of the patch tokens.

    Raises:
        ValueError: The config has a neck that wants the class token.
    """
    backbone = cfg.model.backbone
    if in_file or not backbone.get('with_cls_token', True):
        return {}
    settings: dict[str, Any] = {'model.backbone.with_cls_token': False}
    if backbone.get('out_type') == 'cls_token':
        if cfg.model.get('neck') is not None:
            raise ValueError(
                'The checkpoint has no class token, which is what the neck of this '
                'config gets. Set model.backbone.out_type and model.neck for patch '
                'tokens.'
            )
        settings['model.backbone.out_type'] = 'featmap'
        settings['model.neck'] = dict(type='GlobalAveragePooling')
    return settings


def _fit_class_token(cfg: Config, in_file: bool) -> list[str]:
    """Take the class token out of the config if the file has none."""
    settings = class_token_settings(cfg, in_file)
    for key, value in settings.items():
        *parents, name = key.split('.')
        node = cfg
        for parent in parents:
            node = node[parent]
        node[name] = value
    if not settings:
        return []
    notes = ['The checkpoint has no class token: with_cls_token=False.']
    if 'model.neck' in settings:
        notes.append(
            'So the features are the average of the patch tokens instead of the class '
            'token that the protocol asks for.'
        )
    return notes
