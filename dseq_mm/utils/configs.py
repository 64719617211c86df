"""Finding configs: by name, and across packages in ``_base_``."""

import ast
import inspect
import sys
import traceback
from collections.abc import Iterator
from difflib import get_close_matches
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

from .command import quietly
from .host import bases_of, find_bases_by
from .shipped import shipped_folder
from .stack import PACKAGES

PACKAGE = Path(__file__).resolve().parents[1]
#: Environment variable that names the base of the configs in ``configs/ablations``.
BUDGET_VARIABLE = 'DSEQ_BUDGET'
_OPERATORS = 'mmcv.ops'


class MissingBase(ValueError):
    """A config that another one is based on does not exist.

    Attributes:
        file: Its path.
    """

    def __init__(self, path: str, file: str) -> None:
        super().__init__(f'{path}: {file}, named in _base_, does not exist')
        self.file = file


def register_config_scopes() -> None:
    """Make ``_base_ = 'dseq_mm::...'`` and ``'mmseg::...'`` known to mmengine.

    mmengine marks what it reads from another package with that package's registry
    scope. Our configs are written for several libraries, each with its own scope, so
    they must not be marked; hence one of its methods is wrapped. And it asks pip for
    a distribution called mmsegmentation; where mmseg was installed under another
    name, its import name finds it.
    """
    find_bases_by(_find_own_base)
    try:
        metadata.distribution('mmsegmentation')
    except metadata.PackageNotFoundError:
        if find_spec('mmseg') is not None:
            MODULE2PACKAGE['mmseg'] = 'mmseg'


def _find_own_base(cfg_path: str) -> tuple[str, str | None] | None:
    """Path and scope of an entry of ``_base_`` that is ours."""
    package, separator, name = cfg_path.partition('::')
    if separator and package == 'dseq_mm':
        places = [folder / name for folder in _config_folders()]
        found = (place for place in places if place.is_file())
        return str(next(found, places[0])), None
    return None


def shipped_configs(package: str = 'dseq_mm') -> list[Path]:
    """List the configs that a package ships, without those in ``_base_``.

    Args:
        package: This one, or the import name of an installed library of OpenMMLab.

    Returns:
        Their paths; those of the top folder come first, our projects' last.
    """
    shipped = []
    for folder in _config_folders(package):
        found = [path.relative_to(folder) for path in folder.rglob('*.py')]
        found = sorted(found, key=lambda path: (len(path.parts), path))
        shipped += [folder / path for path in found if '_base_' not in path.parts]
    return shipped


def resolve_config(name: str) -> str:
    """Find a config by path, or by its name among those that a package ships.

    Args:
        name: A path; or a name such as ``'dseq_vitb16_600e'``, with or without ``.py``
            and folder; or such a name in a library of OpenMMLab, after ``'::'``, such
            as ``'mmpretrain::mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py'``.

    Returns:
        Path of an existing file.

    Raises:
        ValueError: If there is none, with the nearest names; or the library is not
            installed.
    """
    _add_projects()
    if Path(name).is_file():
        return name
    if Path(name).is_dir():
        raise ValueError(f'{name} is a folder; name one of the configs in it')
    package, separator, inner = name.rpartition('::')
    package = package or 'dseq_mm'
    wanted = Path(inner if inner.endswith('.py') else f'{inner}.py')
    shipped = shipped_configs(package)
    for path in shipped:
        if path.parts[-len(wanted.parts) :] == wanted.parts:
            return str(path)
    mark = package + separator if separator else ''
    names = [mark + path.stem for path in shipped]
    others = [] if separator else names  # a library's are too many to list
    near = get_close_matches(mark + wanted.stem, names, n=3) or others
    raise ValueError(
        f'{name!r} is neither a file nor a config of {package}. '
        f'Near it: {", ".join(near) or "none"} (in {_config_folder(package)}).'
    )


def read_config(name: str) -> Config:
    """Read a config.

    Args:
        name: See :func:`resolve_config`.

    Returns:
        The config.

    Raises:
        MissingBase: If one that it is based on does not exist.
        ValueError: If there is no such config, a library that it needs cannot be
            imported, or something is wrong in it, ``sys.exit()`` included: with file
            and line.
    """
    path = resolve_config(name)
    if Path(path).suffix not in ('.py', '.json', '.yaml', '.yml'):
        raise ValueError(f'{path} is no config: those end in .py, .json, .yaml or .yml')
    try:
        return Config.fromfile(path)
    except ImportError as error:
        text = str(error).partition(', the current sys.path')[0]
        cause = f': {error.__cause__}' if error.__cause__ else ''
        module = _missing_module(error) if 'custom modules' in text else ''
        if module:
            raise ValueError(
                f'{Path(path).name} imports {module!r}, which is not found: put the '
                f'folder that holds {module} on PYTHONPATH'
            ) from error
        text = missing_advice(Path(path).name, text + cause)
        raise ValueError(text) from error
    except SyntaxError as error:
        raise ValueError(_syntax_error(path) or f'{path}: {error}') from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the code of a config runs into
        frames = traceback.extract_tb(error.__traceback__)
        if isinstance(error, FileNotFoundError) and _is_reader(frames[-1].filename):
            raise MissingBase(path, error.filename or str(error)) from error
        lines = [f for f in frames if f.name == '<module>' and f.line is not None]
        own = [f for f in lines if PACKAGE / 'utils' not in Path(f.filename).parents]
        tail = own[-1] if own and own[-1].filename.endswith('.py') else None
        place = path
        if tail is not None and _is_config(tail.filename, path):
            place = f'{tail.filename}, line {tail.lineno}'
        said = ': '.join(filter(None, [type(error).__name__, str(error)]))
        raise ValueError(f'{place}: {said}') from error


def _missing_module(error: BaseException | None) -> str:
    """Find the module of a user's own that an import looked for in vain."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            top = error.name.partition('.')[0]
            known = {*MODULE2PACKAGE, *(package.module for package in PACKAGES)}
            return '' if top in known else error.name
        error = error.__cause__ or error.__context__
    return ''


def _is_reader(file: str) -> bool:
    """Whether a file is part of mmengine's reading of configs."""
    return Path(file).parent == Path(inspect.getfile(Config)).parent


def _is_config(file: str, path: str) -> bool:
    return 'configs' in Path(file).parts or Path(file).resolve() == Path(path).resolve()


def _syntax_error(path: str) -> str:
    """Where a config, or one that it is based on, is no Python; empty if nowhere."""
    try:
        ast.parse(Path(path).read_text(encoding='utf-8'))
        bases = bases_of(path)
    except SyntaxError as error:
        return f'{path}, line {error.lineno}: {error.msg}'
    found = (_syntax_error(base) for base in bases)
    return next(filter(None, found), '')


def bare_type(cfg: dict) -> str:
    """Read the type name of a part of a config.

    Args:
        cfg: The part, whose ``type`` may be a class.

    Returns:
        The name without its scope; empty where there is none.
    """
    name = cfg.get('type', '')
    name = name if isinstance(name, str) else getattr(name, '__name__', '')
    return name.rpartition('.')[-1]


def missing_libraries(cfg: Config) -> list[str]:
    """Look for the libraries that a config's model is built with.

    Args:
        cfg: The config.

    Returns:
        Names of the OpenMMLab libraries that cannot be imported, of those that
        ``default_scope`` or a type of the model (``'mmseg.Feature2Pyramid'``) names;
        ``'mmcv.ops'`` for the operators that MMDetection's models are made of, and
        OpenMMLab's own MMSegmentation imports.
    """
    names = {kind.partition('.')[0] for kind in _types(cfg.get('model')) if '.' in kind}
    names.add(cfg.get('default_scope'))
    if 'mmdet' in names and not _lacking('mmcv'):
        names.add(_OPERATORS)
    libraries = (*MODULE2PACKAGE, _OPERATORS)
    lacking = {_lacking(name) for name in names if name in libraries}
    return sorted(filter(None, lacking))


def missing_advice(name: str, what: str) -> str:
    """Say what to do about libraries that a config needs.

    Args:
        name: The config.
        what: The libraries, or the error of their import.

    Returns:
        One sentence.
    """
    if what == _OPERATORS:
        return (
            f"{name} needs mmcv's compiled operators (mmcv.ops), which are not there; "
            'in a clone `bash tools/setup_env.sh --with-ops` compiles them, elsewhere '
            '`python -m dseq_mm.doctor` says how'
        )
    return (
        f'{name} needs a library that cannot be imported ({what}); '
        '`python -m dseq_mm.doctor` says how to install it'
    )


def _types(node: Any) -> Iterator[str]:
    """All type names in a part of a config, at any depth."""
    if isinstance(node, dict):
        if isinstance(node.get('type'), str):
            yield node['type']
        node = list(node.values())
    if isinstance(node, list | tuple):
        for item in node:
            yield from _types(item)


def _lacking(library: str) -> str:
    """Name a library that cannot be imported, or mmcv's operators if that is why."""
    parts = [package.part for package in PACKAGES if package.module == library]
    try:
        with quietly():
            for module in (library, *filter(None, parts)):
                import_module(module)
    except (ImportError, AssertionError) as error:  # they assert their versions
        without = str(getattr(error, 'name', '')).startswith('mmcv.')
        return _OPERATORS if without else library
    return ''


def _config_folders(package: str = 'dseq_mm') -> list[Path]:
    """Where a package has its configs, and those of our projects."""
    projects = shipped_folder('projects', PACKAGE) if package == 'dseq_mm' else None
    more = sorted(projects.glob('*/configs')) if projects else []
    return [_config_folder(package), *more]


def _config_folder(package: str = 'dseq_mm') -> Path:
    """Where a package has its configs."""
    if package == 'dseq_mm':
        return shipped_folder('configs', PACKAGE)
    # by the import name: that of the distribution may be another
    spec = find_spec(package) if package in MODULE2PACKAGE else None
    if spec is None or spec.origin is None:
        raise ValueError(
            f'{package!r}, before the "::", is no library of OpenMMLab that is '
            'installed; `python -m dseq_mm.doctor` says which are and how to install '
            'others. The form is LIBRARY::FOLDER/CONFIG.py.'
        )
    return Path(spec.origin).parent / '.mim' / 'configs'


def _add_projects() -> None:
    """Let earlier configs in a clone import ``projects.NAME``, without ``dseq_mm.``."""
    root = str(PACKAGE.parent)
    if (PACKAGE.parent / 'projects').is_dir() and root not in sys.path:
        sys.path.append(root)
