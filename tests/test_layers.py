"""Imports run down the house, never up, so that each floor is read without the next."""

import ast
from pathlib import Path

import dseq_mm

ROOT = Path(dseq_mm.__file__).parent
#: From the ground up; parts of one floor do not know each other.
FLOORS = (
    {'version', 'randomness', 'visibility', 'utils'},
    {'clock', 'compiled', 'registry'},
    {'blocks', 'packing'},
    {'movable', 'regions'},
    {'plan'},
    {'data', 'transfer', 'visualization'},
    {'models'},
    {'engine'},
    {'evaluation'},
    {'cli', 'report', 'tables'},
    {'runs'},
    {'registration'},
    {'__init__', 'doctor', 'projects'},
    {'__main__'},
)
LEVEL = {part: level for level, floor in enumerate(FLOORS) for part in floor}


def imports(path, root):
    """Parts of the package that a file imports, and the one that it belongs to."""
    module = path.relative_to(root).with_suffix('').parts
    package = (root.name, *module[:-1])
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            names = [alias.name.split('.') for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else ()
            start = [*parents, *(node.module or '').split('.')]
            start = [part for part in start if part]
            names = [[*start, alias.name] for alias in node.names]
        else:
            continue
        own = [name for name in names if name[0] == root.name]
        found |= {name[1] if len(name) > 1 else '__init__' for name in own}
    return module[0], found - {module[0], '__version__'}


def upward(root):
    """Imports of a package that run up or along a floor."""
    return [
        f'{path.relative_to(root)} imports {part}'
        for path in sorted(root.rglob('*.py'))
        for own, parts in [imports(path, root)]
        for part in sorted(parts)
        if LEVEL[part] >= LEVEL[own]
    ]


def test_every_part_has_a_floor():
    parts = {
        path.stem
        for path in ROOT.iterdir()
        if path.suffix == '.py' or (path.is_dir() and any(path.glob('*.py')))
    }
    assert parts == LEVEL.keys()


def test_no_import_runs_up():
    assert upward(ROOT) == []


def test_an_import_that_runs_up_is_seen(tmp_path):
    house = tmp_path / 'dseq_mm'
    (house / 'utils').mkdir(parents=True)
    (house / 'data').mkdir()
    (house / 'utils/a.py').write_text('def late():\n    from ..data.b import c\n')
    (house / 'data/b.py').write_text('from .. import transfer, utils\n')
    assert upward(house) == ['data/b.py imports transfer', 'utils/a.py imports data']
