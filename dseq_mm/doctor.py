"""What is installed, what is missing, and what mends it: ``python -m dseq_mm.doctor``.

It works where nothing else does: the package skips its own imports when Python is
started this way, and every import here may fail. The exit code is 0 if pre-training
can run, 1 otherwise.
"""

import os
import platform
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from .registration import register_all
from .utils import command, stack
from .version import __version__


def machine_rows() -> list[tuple[str, str]]:
    """Describe what the machine has, apart from packages.

    Returns:
        Pairs of a name and what was found.
    """
    compiler = os.environ.get('CXX') or 'g++'
    free = shutil.disk_usage(os.getcwd()).free / 2**30
    return [
        ('dseq_mm', __version__),
        ('python', f'{platform.python_version()} ({sys.executable})'),
        ('cores', str(len(os.sched_getaffinity(0)))),
        ('compiler', shutil.which(compiler) or f'none ({compiler} not found)'),
        ('nvcc', shutil.which('nvcc') or 'none'),
        ('disk', f'{free:.0f} GB free here'),
        ('GPU', gpu_text()),
    ]


def gpu_text() -> str:
    """Describe the GPUs that PyTorch sees.

    Returns:
        Names with their memory, or why there is none.
    """
    try:
        import torch

        if not torch.cuda.is_available():
            build = torch.version.cuda
            return f'none (PyTorch built {f"for CUDA {build}" if build else "without"})'
        found = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        return ', '.join(f'{gpu.name} {gpu.total_memory >> 30} GB' for gpu in found)
    except Exception as error:  # whatever a broken PyTorch raises
        return f'unknown ({type(error).__name__})'


def probe_all() -> list[stack.Finding]:
    """Look for every package that dseq_mm can use.

    Returns:
        One finding per package, in the order of ``stack.PACKAGES``.
    """
    return [
        stack.probe_operators(found) if found.package.module == 'mmcv' else found
        for found in map(stack.probe, stack.PACKAGES)
    ]


def package_table(findings: list[stack.Finding]) -> list[str]:
    """Show the packages as lines of text.

    Args:
        findings: What :func:`probe_all` returned.

    Returns:
        A heading and one line per package.
    """
    rows = [('package', 'version', 'installed as', 'state', 'needed for')]
    for found in findings:
        state = found.state
        if found.package.module == 'mmcv' and state == 'ok':
            state = 'ok, with ops'
        module = found.package.module
        source = stack.distribution_of(module) if state != 'missing' else ''
        rows.append(
            (module, found.version or '-', source or '-', state, found.package.purpose)
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        '  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]


def config_problem() -> str:
    """Tell whether ``_base_ = 'package::...'`` fails for want of pkg_resources.

    Returns:
        The problem and the command that mends it, or an empty string.
    """
    upstream = stack.distribution_of('mmengine') == 'mmengine'
    if upstream and find_spec('pkg_resources') is None:
        return (
            "mmengine needs pkg_resources to resolve '::' in configs\n"
            "      pip install 'setuptools==80.10.2'"
        )
    return ''


def own_problem() -> str:
    """Tell whether this package's own modules fail to import on a good stack.

    Returns:
        The error in one line, or an empty string.
    """
    try:
        register_all()
    except Exception as error:  # report whatever it is
        return f'dseq_mm itself: {type(error).__name__}: {error}'
    return ''


def main(argv: Sequence[str] = ()) -> int:
    """Print the report.

    Args:
        argv: Arguments.

    Returns:
        0 if pre-training can run, 1 otherwise.
    """
    command.Parser(description=__doc__.splitlines()[0]).parse_args(argv)
    findings = probe_all()
    for name, text in machine_rows():
        print(f'{name:<10}{text}')
    print()
    print('\n'.join(package_table(findings)))

    blocking = [stack.describe(found) for found in findings if found.blocks_training]
    if not blocking:
        blocking = [text for text in [own_problem()] if text]
    others = [
        stack.describe(found)
        for found in findings
        if found.state != 'ok' and not found.blocks_training
    ]
    others += [text for text in [config_problem()] if text]
    for heading, problems in (
        ('Pre-training cannot run:', blocking),
        ('Not needed for pre-training:', others),
    ):
        if problems:
            print(f'\n{heading}')
            print('\n'.join(f'  - {text}' for text in problems))
    if not blocking:
        print('\nPre-training can run.')
    return int(bool(blocking))


if __name__ == '__main__':
    sys.exit(command.run(main))
