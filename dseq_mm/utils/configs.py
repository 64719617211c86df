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
    shipped = PACKAGE / '.mim' / 'configs'
    if not shipped.is_dir():  # a clone that was not installed
        shipped = PACKAGE.parent / 'configs'
    wanted = Path(name if name.endswith('.py') else f'{name}.py')
    if (shipped / wanted).is_file():
        return str(shipped / wanted)
    names = [path.stem for path in sorted(shipped.glob('*.py'))]
    near = get_close_matches(wanted.stem, names, n=3) or names
    raise ValueError(
        f'{name!r} is neither a file nor a config of dseq_mm. '
        f'Near it: {", ".join(near) or "none"} (in {shipped}).'
    )
