"""Finding configs: by name, and across packages in ``_base_``."""

from difflib import get_close_matches
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from mmengine.config.utils import MODULE2PACKAGE

PACKAGE = Path(__file__).resolve().parents[1]


def register_config_scopes() -> None:
    """Make ``_base_ = 'dseq_mm::...'`` and ``'mmseg::...'`` known to mmengine.

    mmengine asks pip for a distribution called mmsegmentation. Where mmseg was
    installed under another name, its import name finds it.
    """
    MODULE2PACKAGE.setdefault('dseq_mm', 'dseq_mm')
    try:
        metadata.distribution('mmsegmentation')
    except metadata.PackageNotFoundError:
        if find_spec('mmseg') is not None:
            MODULE2PACKAGE['mmseg'] = 'mmseg'


def shipped_configs() -> list[Path]:
    """Lists the configs that the package ships, without those in ``_base_``.

    Returns:
        Their paths; those of the top folder come first.
    """
    folder = _config_folder()
    found = [path.relative_to(folder) for path in folder.rglob('*.py')]
    found = sorted(found, key=lambda path: (len(path.parts), path))
    return [folder / path for path in found if '_base_' not in path.parts]


def resolve_config(name: str) -> str:
    """Find a config by path, or by its name among those that the package ships.

    Args:
        name: A path, or a name such as ``'dseq_vitb16_600e'``, with or without ``.py``
            and folder.

    Returns:
        Path of an existing file.

    Raises:
        ValueError: If there is none, with the nearest names.
    """
    if Path(name).is_file():
        return name
    wanted = Path(name if name.endswith('.py') else f'{name}.py')
    shipped = shipped_configs()
    for path in shipped:
        if path.parts[-len(wanted.parts) :] == wanted.parts:
            return str(path)
    names = [path.stem for path in shipped]
    near = get_close_matches(wanted.stem, names, n=3) or names
    raise ValueError(
        f'{name!r} is neither a file nor a config of dseq_mm. '
        f'Near it: {", ".join(near) or "none"} (in {_config_folder()}).'
    )


def _config_folder() -> Path:
    shipped = PACKAGE / '.mim' / 'configs'
    # a clone that was not installed has them beside the package
    return shipped if shipped.is_dir() else PACKAGE.parent / 'configs'
