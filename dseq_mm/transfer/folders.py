"""Models in folders, as transformers saves them: weights and ``config.json``."""

import json
from pathlib import Path
from typing import Any

CONFIG = 'config.json'
OURS = 'dseq_mm'
"""Entry of the config of a folder that we have written: its metadata."""
_WEIGHTS = ('model.safetensors', 'pytorch_model.bin')
#: Entries of the config that change what a ViT computes, and the one value of each
#: that MMPretrain's has.
_FIXED = dict(
    hidden_act=('gelu', 'gelu_python'),
    use_swiglu_ffn=(False,),
    num_channels=(3,),
)


def is_model_folder(path: str | Path) -> bool:
    """Tell whether a path is a folder that transformers has saved.

    Args:
        path: Any path.

    Returns:
        Whether there is a config in it.
    """
    return (Path(path).expanduser() / CONFIG).is_file()


def weight_files(folder: Path) -> list[Path]:
    """Find the files of weights of a model in a folder.

    Args:
        folder: The folder.

    Returns:
        One file, or the parts of a large model.

    Raises:
        FileNotFoundError: There are none, or not all.
    """
    if not is_model_folder(folder):
        raise FileNotFoundError(
            f'{folder} is a folder without {CONFIG}: give the path of a checkpoint, or '
            'a folder that transformers has saved.'
        )
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f'{name}.index.json'
        if index.is_file():
            names = sorted(set(_read_json(index).get('weight_map', {}).values()))
            parts = [folder / Path(part).name for part in names]
            missing = [part.name for part in parts if not part.is_file()]
            if missing or not parts:
                raise FileNotFoundError(
                    f'{folder} lacks {", ".join(missing) or "its parts"}, which '
                    f'{index.name} names: copy it again.'
                )
            return parts
    raise FileNotFoundError(
        f'{folder} has a {CONFIG} and no weights ({" or ".join(_WEIGHTS)}): copy it '
        'again.'
    )


def read_folder_meta(folder: Path) -> dict[str, Any]:
    """Read what a folder says about its model.

    Args:
        folder: The folder.

    Returns:
        Our metadata if we have written it. Else ``architecture`` with number of heads,
        grid and the norm's epsilon, ``model_type`` and ``license``, as far as the
        folder tells them.

    Raises:
        ValueError: The config cannot be read, or is of a network that a plain ViT
            cannot represent.
    """
    config = _read_json(folder / CONFIG)
    if isinstance(ours := config.get(OURS), dict):
        return ours
    for name, values in _FIXED.items():
        if name in config and config[name] not in values:
            raise ValueError(
                f'{folder} is a network with {name}={config[name]!r}, which '
                "MMPretrain's VisionTransformer has not: it cannot be read"
            )
    grid = None
    size, patch = (_pair(config.get(name)) for name in ('image_size', 'patch_size'))
    if size and patch and min(patch) > 0:
        grid = [side // step for side, step in zip(size, patch, strict=True)]
    facts = dict(
        num_heads=config.get('num_attention_heads'),
        grid=grid,
        norm_eps=config.get('layer_norm_eps'),
    )
    kind = config.get('model_type')
    return dict(architecture=facts, model_type=kind, license=_license(folder))


def _license(folder: Path) -> str | None:
    """The licence that the model card names."""
    card = folder / 'README.md'
    lines = card.read_text(encoding='utf-8').splitlines() if card.is_file() else []
    found = [line for line in lines if line.startswith('license:')]
    return found[0].partition(':')[2].strip() if found else None


def _pair(value: Any) -> list[int] | None:
    """Height and width, whether one number or two are written."""
    pair = [value, value] if isinstance(value, int) else value
    whole = isinstance(pair, list) and len(pair) == 2
    return pair if whole and all(isinstance(side, int) for side in pair) else None


def _read_json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise ValueError(f'{path} cannot be read: {error}') from error
    return content if isinstance(content, dict) else {}
