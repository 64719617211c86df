"""Parts are registered whatever is imported first, and what needs no host loads none.

In processes of their own; where the order is what counts, with a host of empty files.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOST_FREE = ('plan', 'visibility', 'randomness', 'clock', 'regions')
# Fails where the host is looked for, installed or not.
NO_HOST = """
import sys
class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('mmengine', 'mmcv', 'mmpretrain', 'cv2'):
            raise ImportError(name)
"""
# Says which modules were there, whole, when the parts were registered.
RECORD = """
import sys
sys.path.insert(0, sys.argv[1])
import dseq_mm.registration as registration
def record():
    names = 'mmengine', 'mmcv', 'mmpretrain', 'dseq_mm.needs_host'
    print('registered', *(n for n in names if hasattr(sys.modules.get(n), 'whole')))
registration.register_all = record
"""


def python(code, *arguments, options=()):
    command = [sys.executable, *options, '-c', code, *map(str, arguments)]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture(scope='module')
def host(tmp_path_factory):
    """A folder with libraries of empty files, and a module of ours that needs them."""
    folder = tmp_path_factory.mktemp('host')
    texts = {
        'torch': '',
        'mmengine': '',
        'mmcv': 'import mmengine',
        'mmpretrain': 'import mmengine, mmcv',
        'broken': 'import mmcv; raise ImportError',
        'needs_host': 'import mmpretrain',
    }
    for name, text in texts.items():
        (folder / f'{name}.py').write_text(f'{text}\nwhole = True\n')
    return folder


@pytest.mark.parametrize(
    ('code', 'printed'),
    [
        ('import mmengine', ['registered mmengine']),
        ('import mmcv; import mmpretrain', ['registered mmengine mmcv']),
        ('import mmpretrain', ['registered mmengine mmcv mmpretrain']),
        ('import dseq_mm.version; import torch', []),
        ('dseq_mm.__path__.append(sys.argv[1]); import dseq_mm.needs_host',
         ['registered mmengine mmcv mmpretrain dseq_mm.needs_host']),
        ('import importlib.util as u; u.find_spec("mmcv"); print("looked")',
         ['looked']),
        ('import mmengine; registration.register_with_host()',
         ['registered mmengine', 'registered mmengine']),
    ],
)  # fmt: skip
def test_parts_are_registered_once_no_import_is_under_way(host, code, printed):
    """At the end of the first import that brought the host; never amid one."""
    result = python(f'{RECORD}\nimport dseq_mm\n{code}', host, options=['-S'])
    assert not result.stderr
    assert result.stdout.splitlines() == printed


def test_a_stack_that_will_not_do_is_told_once_it_is_needed(host):
    path = f'import sys; sys.path.insert(0, {str(host)!r}); import dseq_mm'
    warned = python(f'{path}\nimport mmengine; print("goes on")', options=['-S'])
    assert warned.stdout == 'goes on\n'
    assert 'UserWarning: dseq_mm cannot work' in warned.stderr
    refused = python(f'{path}\nimport dseq_mm.models', options=['-S'])
    assert refused.returncode == 1
    assert 'ImportError: dseq_mm cannot work' in refused.stderr


def test_host_free_modules_import_no_host_and_parts_follow_it():
    result = python(f"""
{NO_HOST}
sys.meta_path.insert(0, Forbid())
import {', '.join(f'dseq_mm.{name}' for name in HOST_FREE)}
host = 'mmengine', 'mmcv', 'mmpretrain', 'mmdet', 'mmseg', 'cv2'
assert not [name for name in sys.modules if name.partition('.')[0] in host]
sys.meta_path = [f for f in sys.meta_path if not isinstance(f, Forbid)]
import dseq_mm
from mmengine.config import Config
cfg = Config.fromfile('{ROOT}/configs/ijepa_digitscenes_20e.py')
from mmpretrain.registry import HOOKS, MODELS
from dseq_mm.models import JEPA
assert MODELS.get(cfg.model.type) is dseq_mm.models.IJEPA
assert MODELS.get('JEPA') is JEPA and HOOKS.get('ClockHook')
print(Config.fromfile('{ROOT}/configs/transfer/linear_digits_28e.py').model.type)
""")
    assert result.stdout.endswith('ImageClassifier\n'), result.stderr
