"""Which packages dseq_mm stands on, what is wrong with them, and what mends it.

This module imports only the standard library at its head, so that it can report on an
environment in which nothing else works.
"""

import contextlib
import importlib
import platform
import re
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

_OPENMMLAB = ('mmengine', 'mmcv', 'mmpretrain', 'mmdet', 'mmseg')
#: What ``tools/setup_env.sh`` leaves in the environments that it made.
STAMP = '.dseq_mm_setup'
BUILD_TOOLS = "pip install 'setuptools==80.10.2' wheel ninja packaging"


class Package(NamedTuple):
    """A package that dseq_mm uses.

    Attributes:
        module: Import name.
        minimum: Oldest version that will do.
        pin: The reference version, as pip takes it.
        upstream: The newest version of OpenMMLab's own distribution, as pip takes it;
            empty where there is only one distribution.
        purpose: What stops working without it.
        part: A module in it that is imported, too; empty where the package itself
            imports what it needs.
        unasked: What ``part`` imports but ``upstream`` does not require, as pip takes
            it.
    """

    module: str
    minimum: str
    pin: str
    upstream: str = ''
    purpose: str = 'pre-training'
    part: str = ''
    unasked: str = ''


PACKAGES = (
    Package('torch', '2.6', 'torch==2.11.0'),
    Package('torchvision', '0.21', 'torchvision==0.26.0'),
    Package('mmengine', '0.10.7', 'onedl-mmengine==0.10.12', 'mmengine==0.10.7'),
    Package('mmcv', '2.1.0', 'onedl-mmcv==2.3.6', 'mmcv==2.1.0'),
    Package('mmpretrain', '1.2.0', 'onedl-mmpretrain==1.3.6', 'mmpretrain==1.2.0'),
    Package('cv2', '4.5', 'opencv-python-headless==4.12.0.88'),
    Package('numpy', '1.23', 'numpy==2.2.6'),
    Package('numba', '0.60', 'numba>=0.60'),
    Package('safetensors', '0.4', 'safetensors>=0.4'),
    Package('mmdet', '3.3.0', 'onedl-mmdetection==3.5.1', 'mmdet==3.3.0', 'detection'),
    Package(
        'mmseg',
        '1.2.2',
        'onedl-mmsegmentation==1.4.2',
        'mmsegmentation==1.2.2',
        'segmentation',
        part='mmseg.utils',
        unasked='ftfy regex',
    ),
    Package('tabulate', '0.9', 'tabulate>=0.9', purpose='tables of many runs'),
    Package('sklearn', '1.4', 'scikit-learn>=1.4', purpose='DigitScenes'),
)


@dataclass
class Finding:
    """What was found of one package.

    Attributes:
        package: What was looked for.
        state: ``'ok'``, ``'missing'``, ``'broken'`` (it is there, but its import
            fails), ``'too old'`` or ``'no ops'`` (mmcv without compiled operators).
        version: Its version, if it could be read.
        detail: What the import said, in one line.
        lacks: The module that its import looked for in vain, if that was it.
        within: The modules in which its import failed, the innermost last.
        cause: The package of this module's list that is to be mended first, if its
            import failed within one that is not in order itself.
    """

    package: Package
    state: str = 'ok'
    version: str = ''
    detail: str = ''
    lacks: str = ''
    within: tuple[str, ...] = ()
    cause: str = ''

    @property
    def blocks_training(self) -> bool:
        """Whether pre-training cannot run."""
        fatal = self.state in ('missing', 'broken', 'too old')
        return fatal and self.package.purpose == 'pre-training'


def parse_version(text: str) -> tuple[int, ...]:
    """Read the leading numbers of a version, comparable.

    Args:
        text: A version such as ``'2.11.0+cu130'``.

    Returns:
        Its release numbers, such as ``(2, 11, 0)``.
    """
    release = re.match(r'\d+(\.\d+)*', text)
    return tuple(int(part) for part in release[0].split('.')) if release else ()


def distribution_of(module: str) -> str:
    """Find the distribution that provides a module.

    Args:
        module: Import name.

    Returns:
        Its name as pip knows it (several joined by commas), empty if there is none.
    """
    return ', '.join(sorted(set(_distributions().get(module, ()))))


@lru_cache(maxsize=1)
def _distributions():
    found = dict(metadata.packages_distributions())
    # Python 3.10 leaves out those that do not list their modules
    for package in (p for p in PACKAGES if p.module not in found):
        for pin in filter(None, (package.pin, package.upstream)):
            name = re.split('[=>]', pin)[0]
            with contextlib.suppress(metadata.PackageNotFoundError):
                found[package.module] = [metadata.distribution(name).name]
    return found


def _try_import(name, found, state):
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever a broken installation raises
        line = f'{type(error).__name__}: {error}'.splitlines()[0]
        found.state = state
        found.detail = line if len(line) <= 160 else line[:157] + '...'
        if isinstance(error, ModuleNotFoundError) and error.name:
            found.lacks = error.name.partition('.')[0]
        found.within = tuple(_modules_of(error))
        return None


def _modules_of(error: BaseException) -> Iterator[str]:
    """Find the top level modules that an error, or what caused it, was raised in."""
    inner = error.__cause__ or error.__context__
    for frame, _ in traceback.walk_tb(error.__traceback__):
        yield frame.f_globals.get('__name__', '').partition('.')[0]
    if inner is not None:
        yield from _modules_of(inner)


def probe(package: Package) -> Finding:
    """Import a package and say what is wrong with it.

    Args:
        package: What to look for.

    Returns:
        What was found. Never raises for a package that fails to import.
    """
    found = Finding(package)
    if find_spec(package.module) is None:
        found.state = 'missing'
        return found
    module = _try_import(package.module, found, 'broken')
    if module is not None:
        found.version = str(getattr(module, '__version__', ''))
        if parse_version(found.version) < parse_version(package.minimum):
            found.state = 'too old'
            found.detail = f'{package.minimum} or newer is needed'
        elif package.part:
            _try_import(package.part, found, 'broken')
    return found


def probe_operators(found: Finding) -> Finding:
    """Look for the compiled operators of mmcv, which detection needs.

    Args:
        found: What :func:`probe` returned for mmcv; its state becomes ``'no ops'`` if
            mmcv is fine but its operators cannot be imported.

    Returns:
        The same object.
    """
    if found.state == 'ok':
        _try_import('mmcv.ops', found, 'no ops')
    return found


def probe_all() -> list[Finding]:
    """Look for every package, for mmcv's operators, and for the cause of what fails.

    Returns:
        One finding per package, in the order of ``PACKAGES``.
    """
    findings = [
        probe_operators(found) if found.package.module == 'mmcv' else found
        for found in map(probe, PACKAGES)
    ]
    return _find_causes(findings)


def _find_causes(findings: list[Finding]) -> list[Finding]:
    """Fill in ``cause``: the innermost faulty package that an import failed within."""
    faulty = {f.package.module for f in findings if f.state not in ('ok', 'no ops')}
    for found in findings:
        if found.state == 'broken':
            through = (*found.within, found.lacks)
            others = faulty - {found.package.module}
            if found.lacks == 'mmcv':  # or its operators
                others.add('mmcv')
            found.cause = next((name for name in through[::-1] if name in others), '')
    return findings


def mend_command(found: Finding) -> str:
    """Write the command that mends what was found.

    Args:
        found: What :func:`probe` or :func:`probe_operators` returned.

    Returns:
        A shell command, or an empty string if there is nothing to mend here: the
        package is fine, or it only lacks another one of this module's list.
    """
    package = found.package
    if found.state == 'ok' or found.cause:
        return ''
    if found.lacks in package.unasked.split():
        return f'pip install {package.unasked}'
    if found.state == 'no ops' and Path(sys.prefix, STAMP).is_file():
        return 'bash tools/setup_env.sh --with-ops  # in the clone'
    # The two distributions of OpenMMLab must not be mixed: follow the one in place.
    upstream = package.upstream and distribution_of('mmengine') == 'mmengine'
    pin = package.upstream if upstream else package.pin
    command = ['pip install', f"'{pin}'" if '>' in pin else pin]
    if package.upstream:
        command.append('--no-build-isolation')
    if found.state == 'no ops' or (found.state == 'broken' and not found.lacks):
        command.append('--force-reinstall --no-deps')
    if package.module == 'mmcv' and distribution_of('mmcv') == 'mmcv-lite':
        command.insert(0, 'pip uninstall -y mmcv-lite &&')  # of the same files
    if package.module == 'mmcv':
        # pip may hold a wheel that was built without operators or for another torch.
        command.insert(0, f'{BUILD_TOOLS} &&')
        command.append('--no-cache-dir')
    return ' '.join(command)


def describe(found: Finding) -> str:
    """Say one problem in words, with the command that mends it.

    Args:
        found: What :func:`probe` or :func:`probe_operators` returned.

    Returns:
        One to two lines.
    """
    words = f'{found.package.module} {found.version}'.rstrip() + f': {found.state}'
    if found.cause:
        return f'{words} by {found.cause}, which is to be mended first'
    if found.state == 'no ops':
        words += (
            "; MMDetection (Mask R-CNN) needs them, and OpenMMLab's own MMSegmentation "
            "(OneDL's does not); nothing else here does"
        )
    if found.detail:
        words += f' ({found.detail})'
    return f'{words}\n      {mend_command(found)}'


def installed_versions() -> dict[str, str]:
    """Find out what the measurements stand on.

    Returns:
        Import name (and ``python``) to version, with the distribution where its name
        is another. What is not installed is left out.
    """
    versions = dict(python=platform.python_version())
    for name in ('dseq_mm', 'torch', *_OPENMMLAB):
        source = distribution_of(name)
        version = getattr(sys.modules.get(name), '__version__', None)
        if version is None and source:  # not imported here, but by the tools
            version = metadata.version(source.split(', ')[0])
        if version is not None:
            other = f' ({source})' if source not in ('', name) else ''
            versions[name] = f'{version}{other}'
    return versions


def check_stack() -> None:
    """Check that what pre-training needs can be imported and is new enough.

    mmcv's operators, mmdet and mmseg are not looked at: pre-training needs none.

    Raises:
        ImportError: With what is wrong and the commands that mend it.
    """
    needed = [p for p in PACKAGES if p.purpose == 'pre-training']
    findings = _find_causes([probe(package) for package in needed])
    problems = [found for found in findings if found.blocks_training]
    if problems:
        raise ImportError(
            'dseq_mm cannot work with what is installed:\n'
            + ''.join(f'    {describe(found)}\n' for found in problems)
            + 'In a clone, `bash tools/setup_env.sh` installs all of it; '
            '`python -m dseq_mm.doctor` says more.'
        )
