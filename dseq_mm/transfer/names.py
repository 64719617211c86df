"""What the tensors of a ViT are called: here, in timm and at Hugging Face.

A name is a template: ``{}`` stands for the number of a block.

Shape legend: ``D`` channels, ``Dp`` channels of the predictor.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

#: MMPretrain's, timm's and Hugging Face's (ViT, I-JEPA, MAE) name of a layer.
_LAYERS = (
    ('patch_embed.projection', 'patch_embed.proj', 'patch_embeddings.projection'),
    ('layers.{}.ln1', 'blocks.{}.norm1', 'layernorm_before'),
    ('layers.{}.ln2', 'blocks.{}.norm2', 'layernorm_after'),
    ('layers.{}.attn.qkv', 'blocks.{}.attn.qkv', ''),
    ('layers.{}.attn.proj', 'blocks.{}.attn.proj', 'attention.output.dense'),
    ('layers.{}.ffn.layers.0.0', 'blocks.{}.mlp.fc1', 'intermediate.dense'),
    ('layers.{}.ffn.layers.1', 'blocks.{}.mlp.fc2', 'output.dense'),
    ('ln1', 'norm', 'layernorm'),
)
_SCALES = (
    ('layers.{}.attn.gamma1.weight', 'blocks.{}.ls1.gamma', 'layer_scale1.lambda1'),
    ('layers.{}.ffn.gamma2.weight', 'blocks.{}.ls2.gamma', 'layer_scale2.lambda1'),
)
#: Other names of the same: those of `Dinov2Model`, and those of transformers 5.
_NEWER = {
    'encoder.layer.{}.norm1': 'layers.{}.ln1',
    'encoder.layer.{}.norm2': 'layers.{}.ln2',
    'encoder.layer.{}.attention.q_proj': 'layers.{}.attn.query',
    'encoder.layer.{}.attention.k_proj': 'layers.{}.attn.key',
    'encoder.layer.{}.attention.v_proj': 'layers.{}.attn.value',
    'encoder.layer.{}.attention.o_proj': 'layers.{}.attn.proj',
    'encoder.layer.{}.mlp.fc1': 'layers.{}.ffn.layers.0.0',
    'encoder.layer.{}.mlp.fc2': 'layers.{}.ffn.layers.1',
}
#: Parts of the joined projection in the order of their rows.
_PARTS = ('query', 'key', 'value')
_PREDICTOR = (
    ('embed', 'predictor_embed'),
    ('norm', 'predictor_norm'),
    ('project', 'predictor_proj'),
    *(
        (ours, f'predictor_{theirs}')
        for ours, theirs, _ in _LAYERS
        if ours.startswith('layers.')
    ),
)


def _with_parameters(pairs) -> dict[str, str]:
    """Names of weights and biases from pairs of names of layers."""
    kinds = ('weight', 'bias')
    return {f'{a}.{kind}': f'{b}.{kind}' for a, b in pairs for kind in kinds}


def _hugging_face(ours: str, theirs: str) -> str:
    """The whole name of a layer at Hugging Face."""
    if '{}' in ours:
        return f'encoder.layer.{{}}.{theirs}'
    return theirs if ours == 'ln1' else f'embeddings.{theirs}'


#: From MMPretrain's names to timm's, which I-JEPA, DSeq-JEPA, MAE and DINO share.
TIMM = _with_parameters((ours, theirs) for ours, theirs, _ in _LAYERS)
TIMM |= {ours: theirs for ours, theirs, _ in _SCALES}
TIMM |= {name: name for name in ('cls_token', 'dist_token', 'pos_embed')}
#: From MMPretrain's names to those that transformers writes; q, k and v apart.
HUGGING_FACE = _with_parameters(
    (ours, _hugging_face(ours, theirs)) for ours, _, theirs in _LAYERS if theirs
)
HUGGING_FACE |= {ours: _hugging_face(ours, theirs) for ours, _, theirs in _SCALES}
HUGGING_FACE |= {
    'cls_token': 'embeddings.cls_token',
    'pos_embed': 'embeddings.position_embeddings',
    **_with_parameters(
        (f'layers.{{}}.attn.{part}', f'encoder.layer.{{}}.attention.attention.{part}')
        for part in _PARTS
    ),
}
#: The same for `Dinov2Model`.
DINOV2 = HUGGING_FACE | {
    ours: theirs
    for theirs, ours in _with_parameters(_NEWER.items()).items()
    if '.attention.' not in theirs
}
#: From the names of our predictor to those of I-JEPA's.
PREDICTOR = _with_parameters(_PREDICTOR)
PREDICTOR |= {'mask_token': 'mask_token', 'pos_embed': 'predictor_pos_embed'}
#: The other ways round.
FROM_TIMM = {theirs: ours for ours, theirs in TIMM.items()}
FROM_PREDICTOR = {theirs: ours for ours, theirs in PREDICTOR.items()}
FROM_HUGGING_FACE = {theirs: ours for ours, theirs in HUGGING_FACE.items()}
FROM_HUGGING_FACE |= _with_parameters(_NEWER.items())


def rename(key: str, names: Mapping[str, str]) -> str | None:
    """Look a name up.

    Args:
        key: Name of a tensor, with the number of its block.
        names: From template to template.

    Returns:
        Its other name; None if the table has none.
    """
    found = re.search(r'\.(\d+)\.', key)
    if found is None:
        return names.get(key)
    template = f'{key[: found.start()]}.{{}}.{key[found.end() :]}'
    name = names.get(template)
    return name and name.format(found[1])


def join_projections(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Join query, key and value of each block.

    Args:
        state: With ``layers.N.attn.query.weight`` and so on, each ``(D, ...)``.

    Returns:
        With ``layers.N.attn.qkv.weight`` and so on, ``(3 * D, ...)``. What is there in
        part stays as it is.
    """
    joined = dict(state)
    for key in state:
        if '.attn.query.' not in key:
            continue
        names = [key.replace('.query.', f'.{part}.') for part in _PARTS]
        if all(name in joined for name in names):
            parts = [joined.pop(name) for name in names]
            joined[key.replace('.query.', '.qkv.')] = torch.cat(parts)
    return joined


def split_projections(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Do the opposite of :func:`join_projections`.

    Args:
        state: With ``layers.N.attn.qkv.weight`` and so on, each ``(3 * D, ...)``.

    Returns:
        With query, key and value, each ``(D, ...)``.
    """
    split = {}
    for key, value in state.items():
        if '.attn.qkv.' not in key:
            split[key] = value
            continue
        for part, rows in zip(_PARTS, value.chunk(3), strict=True):
            split[key.replace('.qkv.', f'.{part}.')] = rows
    return split
