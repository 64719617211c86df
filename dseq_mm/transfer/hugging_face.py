"""Writing an encoder as a folder that ``AutoModel.from_pretrained`` loads.

Without a class token it is an ``IJepaModel``, with one a ``ViTModel`` (whose pooler is
not in the file and starts anew), with layer scales a ``Dinov2Model``.
"""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from .folders import CONFIG, OURS
from .names import DINOV2, HUGGING_FACE, rename, split_projections

_KINDS = dict(ijepa='IJepaModel', vit='ViTModel', dinov2='Dinov2Model')


def kind_of(facts: dict[str, Any]) -> str:
    """Choose the model of transformers that computes the same.

    Args:
        facts: Of the encoder, as :func:`~dseq_mm.transfer.contents.facts_of` tells.

    Returns:
        Its ``model_type``.

    Raises:
        ValueError: There is none.
    """
    if not facts['layer_scale']:
        return 'vit' if facts['class_token'] else 'ijepa'
    if not facts['class_token'] or facts['feedforward_channels'] % facts['embed_dims']:
        raise ValueError(
            'transformers has no ViT with layer scales and without a class token, or '
            'of such a width of its MLP: take another layout'
        )
    return 'dinov2'


def to_hugging_face(
    state: dict[str, Tensor], facts: dict[str, Any]
) -> dict[str, Tensor]:
    """Rename the tensors of an encoder to those of transformers.

    Args:
        state: Under MMPretrain's names.
        facts: Of the encoder.

    Returns:
        Under the names that ``save_pretrained`` writes.

    Raises:
        ValueError: A tensor has no counterpart.
    """
    names = DINOV2 if kind_of(facts) == 'dinov2' else HUGGING_FACE
    renamed = {}
    for key, value in split_projections(state).items():
        name = rename(key, names)
        if name is None:
            raise ValueError(f'"{key}" has no counterpart in a ViT of transformers')
        renamed[name] = value
    return renamed


def model_config(facts: dict[str, Any]) -> dict[str, Any]:
    """Write the architecture as transformers' config.

    Args:
        facts: Of the encoder, ``num_heads`` and ``grid`` among them.

    Returns:
        The content of ``config.json``.
    """
    kind = kind_of(facts)
    patch = facts['patch_size']
    size = [side * step for side, step in zip(facts['grid'], patch, strict=True)]
    config = dict(
        architectures=[_KINDS[kind]],
        model_type=kind,
        hidden_size=facts['embed_dims'],
        num_hidden_layers=facts['depth'],
        num_attention_heads=facts['num_heads'],
        intermediate_size=facts['feedforward_channels'],
        image_size=size[0] if size[0] == size[1] else size,
        patch_size=patch[0] if patch[0] == patch[1] else patch,
        layer_norm_eps=facts['norm_eps'],
        hidden_act='gelu',
        qkv_bias=True,
        num_channels=3,
        attention_probs_dropout_prob=0.0,
        hidden_dropout_prob=0.0,
    )
    if kind == 'dinov2':
        config['mlp_ratio'] = facts['feedforward_channels'] // facts['embed_dims']
    return config


def write_folder(path: Path, state: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write weights, config, image processor and model card.

    Args:
        path: The folder; it is made.
        state: Under the names of transformers.
        meta: Metadata of the export.
    """
    from safetensors.torch import save_file

    path.mkdir()
    save_file(state, str(path / 'model.safetensors'), {'format': 'pt'})
    facts, pixels = meta['architecture'], meta['pixels']
    config = model_config(facts)
    size = config['image_size']
    height, width = size if isinstance(size, list) else (size, size)
    processor = dict(
        image_processor_type='ViTImageProcessor',
        do_resize=True,
        size=dict(height=height, width=width),
        resample=2,
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=[value / 255 for value in pixels['mean']],
        image_std=[value / 255 for value in pixels['std']],
    )
    _write_json(path / CONFIG, config | {OURS: meta})
    _write_json(path / 'preprocessor_config.json', processor)
    (path / 'README.md').write_text(model_card(meta), encoding='utf-8')


def model_card(meta: dict[str, Any]) -> str:
    """Write what a file is and how it is used; no result that was not measured.

    Args:
        meta: Metadata of the export.

    Returns:
        Markdown.
    """
    facts, source = meta['architecture'], meta['source']
    licence = f'license: {meta["license"]}\n' if meta.get('license') else ''
    method = meta.get('method') or 'an unnamed method'
    token = 'with' if facts['class_token'] else 'without'
    return (
        f'---\nlibrary_name: transformers\n{licence}tags: [image-feature-extraction]\n'
        f'---\n\n# {meta["encoder"]} encoder of {method}\n\n'
        f'A ViT of {facts["embed_dims"]} channels, {facts["depth"]} blocks and '
        f'{facts["num_heads"]} heads, {token} a class token, for patches of '
        f'{facts["patch_size"][0]} px. Written by dseq_mm {meta["dseq_mm_version"]} '
        f'from `{source["name"]}` (epoch {source["epoch"]}, SHA-256 '
        f'{source["sha256"]}).\n\n'
        '```python\nfrom transformers import AutoImageProcessor, AutoModel\n\n'
        'model = AutoModel.from_pretrained(FOLDER)\n'
        'processor = AutoImageProcessor.from_pretrained(FOLDER)\n'
        "tokens = model(**processor(images, return_tensors='pt')).last_hidden_state\n"
        '```\n'
    )


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
