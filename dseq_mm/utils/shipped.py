"""Where configs, tools and projects lie: beside the package, or within it.

Nothing is imported here but Python's own modules: the command line uses it.
"""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def shipped_folder(name: str, package: Path = PACKAGE) -> Path:
    """Find what is shipped with the package.

    Args:
        name: ``'configs'``, ``'tools'``, ``'projects'`` or ``'docs'``.
        package: Folder of the package.

    Returns:
        The folder: that of an installation, else that of a clone.
    """
    installed = package / '.mim' / name
    return installed if installed.is_dir() else package.parent / name
