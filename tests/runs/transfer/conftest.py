"""A checkpoint, folders that look like data, and tools that only pretend."""

import json
import stat
import sys
import textwrap
from copy import deepcopy
from functools import cache

import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import VisionTransformer

from dseq_mm.runs import Engine, Plan, Subject, plan_transfer, protocol
from dseq_mm.runs.transfer_table import write_table
from tests.runs.stubs import TRAIN

DIGIT_LISTS = ('digitscenes/scenes/annotations/instances_val',)
DIGITS = dict(embed_dims=96, num_layers=4, num_heads=3, feedforward_channels=192)
STUBS = dict(
    train=TRAIN,
    test="""
        assert pathlib.Path(sys.argv[2]).name == 'epoch_1.pth'
        assert pathlib.Path(sys.argv[2]).is_file()
        seed = int(arguments[-1].partition('randomness.seed=')[2])
        keys = {'accuracy/top1': 70.0, 'coco/bbox_mAP': 0.5, 'coco/segm_mAP': 0.25,
                'mIoU': 40.0}
        values = {k: v + 2 * seed if v > 1 else v for k, v in keys.items()}
        values.update(json.loads(os.environ.get('STUB_METRICS', '{}')))
        pathlib.Path(option('--out')).write_text(json.dumps(values))
    """,
    knn="""
        seed = int(option('--seed')) if '--init' in arguments else 50
        values = {'knn_last': 10.0 + seed, 'knn_last4': 11.0 + seed}
        pathlib.Path(option('--out')).write_text(json.dumps(values))
    """,
)
HEAD = """\
#!{python}
import json, os, pathlib, shutil, sys
arguments = sys.argv[1:]
def option(name):
    return arguments[arguments.index(name) + 1]
with open({calls!r}, 'a') as file:
    file.write(json.dumps([{name!r}, *arguments]) + chr(10))
if os.environ.get('STUB_FAIL') and os.environ['STUB_FAIL'] in ' '.join(sys.argv):
    sys.exit('the stub was told to fail')
"""


@cache
def _read_config(path):
    for name, library in (('mask-rcnn', 'mmdet'), ('upernet', 'mmseg')):
        if name in path.rpartition('/')[2]:
            pytest.importorskip(library)
    return Config.fromfile(path)


@pytest.fixture(autouse=True)
def quick_configs(monkeypatch):
    """Read each shipped config once in all tests."""
    monkeypatch.setattr(
        protocol, 'read_config', lambda path: deepcopy(_read_config(path))
    )


class Bench:
    """Plans and carries out runs with the pretending tools."""

    def __init__(self, folder, subject):
        self.folder, self.subject, self.said = folder, subject, []
        self.calls_file = folder / 'calls.jsonl'
        self.out = folder / 'out'
        for name, body in STUBS.items():
            path = folder / 'tools' / f'{name}.py'
            path.parent.mkdir(exist_ok=True)
            head = HEAD.format(
                python=sys.executable, calls=str(self.calls_file), name=name
            )
            path.write_text(head + textwrap.dedent(body))
            path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def plan(self, tasks, subject=None, options=(), **settings):
        plan = Plan(
            subject or self.subject, self.out, self.folder / 'tools', **settings
        )
        return plan_transfer(plan, tasks, options)[0]

    def engine(self, jobs=1):
        return Engine(jobs, (), dict(python='3.x', dseq_mm='0.0'), self.said.append)

    def run(self, tasks, subject=None, jobs=1, **settings):
        """Returns whether all is done, and table.json."""
        subject = subject or self.subject
        planned = self.plan(tasks, subject, **settings)
        self.said.clear()
        engine = self.engine(jobs)
        good = engine.run(planned, lambda: write_table(subject, self.out))
        return good, json.loads((self.out / 'table.json').read_text())

    def calls(self):
        """The calls since the last time: name of the tool, then its arguments."""
        if not self.calls_file.exists():
            return []
        lines = self.calls_file.read_text().splitlines()
        self.calls_file.unlink()
        return [json.loads(line) for line in lines]


@pytest.fixture
def make_subject(tmp_path):
    """Makes what :func:`read_subject` would return, without a file."""

    def make(**changes):
        facts = dict(
            path=tmp_path / 'epoch_3.pth',
            sha256='a' * 64,
            encoder='target',
            method='DSeqJEPA',
            arch='digits',
            class_token=True,
            epoch=3,
        )
        return Subject(**(facts | changes))

    return make


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A working directory with the data folders of all configs, without images."""
    folders = (
        'imagenet inat21 CUB_200_2011 stanford_cars coco ade/ADEChallengeData2016 '
        'CLEVR_v1.0 digitscenes/scenes'
    )
    for folder in folders.split():
        (tmp_path / 'data' / folder).mkdir(parents=True)
    for name in ('coco/annotations/instances_val2017', *DIGIT_LISTS):
        path = tmp_path / 'data' / f'{name}.json'
        path.parent.mkdir(exist_ok=True)
        path.touch()
    build = dict(version=1, parameters=dict(seed=0), sha256='d' * 64)
    (tmp_path / 'data/digitscenes/digitscenes.json').write_text(json.dumps(build))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def bench(workplace, make_subject):
    """See :class:`Bench`."""
    return Bench(workplace, make_subject())


@pytest.fixture
def checkpoint(tmp_path):
    """Writes a pre-training checkpoint of the small ViT and returns its path."""

    def make(method='DSeqJEPA', name='epoch_3.pth', arch=DIGITS, class_token=True):
        vit = VisionTransformer(
            arch=arch,
            img_size=24,
            patch_size=4,
            out_type='featmap',
            with_cls_token=class_token,
        )
        torch.manual_seed(0)
        vit.init_weights()
        state = vit.state_dict()
        backbone = dict(
            type='JEPAViT',
            arch=arch,
            img_size=24,
            patch_size=4,
            with_cls_token=class_token,
        )
        model = dict(type=method) if method else {}
        cfg = Config(dict(model=dict(backbone=backbone, **model)))
        path = tmp_path / name
        torch.save(
            dict(
                state_dict={
                    prefix + key: value
                    for key, value in state.items()
                    for prefix in ('backbone.', 'target_encoder.module.')
                },
                meta=dict(cfg=cfg.pretty_text, epoch=3, iter=30),
            ),
            path,
        )
        return path

    return make
