#!/usr/bin/env python
"""How many lines of code are specific to each method, and how many all share.

    python tools/benchmarks/method_lines.py

Counted are lines that hold code: no blank lines, comments or docstrings.
"""

import ast
import sys
from pathlib import Path

from dseq_mm.utils import command

ROOT = Path(__file__).resolve().parents[2]
ALGORITHM = 'dseq_mm/models/jepa.py'
SHARED = ['plan', 'movable', 'packing', 'visibility', 'compiled', 'blocks', 'clock']
SHARED += ['models/encoder']
SHARED += ['models/predictor', 'models/layers', 'models/ema', 'models/parts']
SHARED += ['models/heads/latent', 'models/mask_generators/base']
METHODS = {
    'I-JEPA': ('IJEPA', ['models/mask_generators/multi_block']),
    'DSeq-JEPA': (
        'DSeqJEPA',
        [
            'models/mask_generators/discriminative',
            'models/mask_generators/order',
            'models/saliency',
            'regions',
        ],
    ),
    'C-JEPA': (
        'CJEPA',
        ['models/heads/vicreg', 'models/heads/projector', 'models/heads/base'],
    ),
    'DSeq-C-JEPA': ('DSeqCJEPA', []),
    'NEPA': ('NEPA', ['models/mask_generators/raster', 'models/next_patch']),
    'DMT-JEPA': (None, ['../projects/dmt_jepa']),
}


def code_lines(tree: ast.AST, source: list[str]) -> set[int]:
    """Find the lines that hold code.

    Args:
        tree: A module, or a part of one.
        source: Lines of the file.

    Returns:
        Their numbers, from 1.
    """
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            lines.update(range(node.lineno, node.end_lineno + 1))
        for decorator in getattr(node, 'decorator_list', ()):
            lines.update(range(decorator.lineno, decorator.end_lineno + 1))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            text = node.body[0]
            lines -= set(range(text.lineno, text.end_lineno + 1))
    written = enumerate(source, 1)
    full = {n for n, line in written if line.strip() and line.strip()[0] != '#'}
    return lines & full


def count(path: str) -> int:
    """Count the lines of code of a module, or of all modules of a folder.

    Args:
        path: Relative to the package, without ``.py``.

    Returns:
        Their number.
    """
    place = ROOT / 'dseq_mm' / path
    files = place.rglob('*.py') if place.is_dir() else [place.with_suffix('.py')]
    total = 0
    for file in files:
        if 'configs' not in file.parts and file.stem != 'measure_targets':
            text = file.read_text(encoding='utf-8')
            total += len(code_lines(ast.parse(text), text.splitlines()))
    return total


def count_algorithm() -> tuple[int, dict[str, int]]:
    """Count the lines of the algorithm's file.

    Returns:
        Those that all methods share, and those of each method's class.
    """
    text = (ROOT / ALGORITHM).read_text(encoding='utf-8')
    tree, source = ast.parse(text), text.splitlines()
    classes = {
        node.name: len(code_lines(node, source))
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
    own = {name: classes[name] for name, _ in METHODS.values() if name in classes}
    return len(code_lines(tree, source)) - sum(own.values()), own


def main(argv: list[str] | None = None) -> None:
    """Count and print the table.

    Args:
        argv: Arguments of the command line; those of the process by default.
    """
    command.Parser(description=__doc__.split('\n')[0]).parse_args(argv)
    shared, own = count_algorithm()
    print(f'| method | lines in `{ALGORITHM}` | lines elsewhere | where |')
    print('|---|---|---|---|')
    files = ', '.join(f'`{name}`' for name in SHARED)
    print(f'| shared by all | {shared} | {sum(map(count, SHARED))} | {files} |')
    for method, (name, parts) in METHODS.items():
        where = ', '.join(f'`{part.removeprefix("../")}`' for part in parts)
        here, elsewhere = own.get(name, 0), sum(map(count, parts))
        print(f'| {method} | {here} | {elsewhere} | {where} |')


if __name__ == '__main__':
    sys.exit(command.run(main))
