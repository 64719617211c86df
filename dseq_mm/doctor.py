"""What is installed, what is missing, and what mends it: ``python -m dseq_mm.doctor``.

It works where nothing else does: the package skips its own imports when Python is
started this way, and every import here may fail. The exit code is 0 if pre-training
can run, 1 otherwise.
"""

import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from .registration import register_all
from .utils import command, machine, stack
from .version import __version__


def facts() -> dict[str, str]:
    """Describe this package and the machine.

    Returns:
        What was looked for, and what was found of it.
    """
    place = f'{__version__} ({Path(__file__).resolve().parent})'
    return {'dseq_mm': place, **machine.machine_facts()}


def state_text(found: stack.Finding) -> str:
    """Say how a package is, and whether mmcv has its operators.

    Args:
        found: What was found of it.

    Returns:
        A few words.
    """
    if found.package.module == 'mmcv' and found.state in ('ok', 'no ops'):
        return 'ok, with operators' if found.state == 'ok' else 'ok, no operators'
    return found.state


def package_table(findings: list[stack.Finding]) -> list[str]:
    """Show the packages as lines of text.

    Args:
        findings: What :func:`.stack.probe_all` returned.

    Returns:
        A heading and one line per package.
    """
    rows = [('package', 'version', 'installed as', 'state', 'needed for')]
    for found in findings:
        state = state_text(found)
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


def sort_problems(findings: list[stack.Finding]) -> tuple[list[str], list[str]]:
    """Tell what keeps pre-training from running from what it does not need.

    Args:
        findings: What :func:`.stack.probe_all` returned.

    Returns:
        Two lists of problems, each with what mends it.
    """
    blocking = [stack.describe(found) for found in findings if found.blocks_training]
    if not blocking:
        blocking = [text for text in [own_problem()] if text]
    others = [
        stack.describe(found)
        for found in findings
        if found.state != 'ok' and not found.blocks_training
    ]
    return blocking, others + [text for text in [config_problem()] if text]


def to_json(
    findings: list[stack.Finding], blocking: list[str], others: list[str]
) -> str:
    """Write the report for programs, and for reports of faults.

    Args:
        findings: What :func:`.stack.probe_all` returned.
        blocking: What keeps pre-training from running.
        others: Other problems.

    Returns:
        The report as JSON.
    """
    packages = {
        found.package.module: dict(
            state=found.state,
            version=found.version,
            distribution=stack.distribution_of(found.package.module),
            needed_for=found.package.purpose,
            detail=found.detail,
            cause=found.cause,
            mend=stack.mend_command(found),
        )
        for found in findings
    }
    report = dict(
        can_pretrain=not blocking,
        machine=facts(),
        packages=packages,
        blocking=blocking,
        other_problems=others,
    )
    return json.dumps(report, indent=2)


def main(argv: Sequence[str] = ()) -> int:
    """Print the report.

    Args:
        argv: Arguments.

    Returns:
        0 if pre-training can run, 1 otherwise.
    """
    parser = command.Parser(description=__doc__.splitlines()[0])
    parser.add_argument('--json', action='store_true', help='print it as JSON')
    args = parser.parse_args(argv)
    with command.quietly():  # what libraries print when they are imported
        findings = stack.probe_all()
        blocking, others = sort_problems(findings)
    if args.json:
        print(to_json(findings, blocking, others))
        return int(bool(blocking))
    for name, text in facts().items():
        print(f'{name:<12}{text}')
    print('\n' + '\n'.join(package_table(findings)))
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
