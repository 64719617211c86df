"""What we use of the host's private parts is as we know it, and used nowhere else."""

import ast
import importlib
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner, ValLoop
from mmengine.runner.checkpoint import CheckpointLoader
from mmengine.visualization import MLflowVisBackend, Visualizer
from mmpretrain.models import ImageClassifier
from mmpretrain.models.backbones import VisionTransformer
from torch import nn

import dseq_mm
from dseq_mm.data.image_folder import ImageFolder
from dseq_mm.engine.loop import ResumableTrainLoop
from dseq_mm.utils import host

PACKAGE = Path(dseq_mm.__file__).parent
#: Public in spite of their underscore: of named tuples and of Python's os.
PUBLIC = {'_replace', '_asdict', '_fields', '_exit'}


def private_uses(source):
    """Private names that a module reaches for in what is not its own."""
    tree = ast.parse(source)
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    own |= {'self', 'cls'}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or node.attr in PUBLIC:
            continue
        if not node.attr.startswith('_') or node.attr.endswith('__'):
            continue
        base = node.value
        inherited = isinstance(base, ast.Call) and ast.unparse(base.func) == 'super'
        if not inherited and not (isinstance(base, ast.Name) and base.id in own):
            yield f'{node.lineno}: {ast.unparse(node)}'


def test_private_names_of_others_are_in_one_file():
    found = {
        str(path.relative_to(PACKAGE)): uses
        for path in PACKAGE.rglob('*.py')
        if (uses := [*private_uses(path.read_text(encoding='utf-8'))])
    }
    assert found.keys() == {'utils/host.py'}


@pytest.mark.parametrize(
    ('source', 'count'),
    [
        ('runner._resume = True', 1),
        ('self._own = super()._theirs', 0),
        ('self.runner._resume', 1),
        ('x = row._replace(a=1)', 0),
        ('class A:\n    n = 0\nA._n = 1', 0),
    ],
)
def test_private_uses_are_seen(source, count):
    assert len([*private_uses(source)]) == count


def runner(tmp_path, **settings):
    """A runner without data."""
    return Runner(
        nn.Linear(1, 1), str(tmp_path), experiment_name=tmp_path.name, **settings
    )


@pytest.fixture
def reader():
    """Mmengine's search for ``_base_``, put back afterwards."""
    before = Config._get_cfg_path
    yield before
    Config._get_cfg_path = staticmethod(before)


def test_bases_are_found_by_the_latest_finder_also_after_a_reload(tmp_path, reader):
    (tmp_path / 'base.py').write_text('a = 1\n')
    (tmp_path / 'child.py').write_text("_base_ = ['odd::base', './base2.py']\n")
    (tmp_path / 'base2.py').write_text('b = 2\n')
    host.find_bases_by(lambda entry: pytest.fail('it was replaced'))
    again = importlib.reload(host)
    for module in (host, again):
        module.find_bases_by(
            lambda entry: (
                (str(tmp_path / 'base.py'), None) if entry == 'odd::base' else None
            )
        )
        cfg = Config.fromfile(tmp_path / 'child.py')
        assert (cfg.a, cfg.b) == (1, 2)
    found = host.bases_of(str(tmp_path / 'child.py'))
    assert [Path(path).name for path in found] == ['base.py', 'base2.py']


def test_the_raw_dict_is_that_of_the_config():
    cfg = Config(dict(model=dict(depth=1)))
    host.raw_dict(cfg)['model']['depth'] = 2
    assert cfg.model.depth == 2 and isinstance(host.raw_dict(cfg), dict)


def test_where_a_runner_resumes_from(tmp_path):
    asked = runner(tmp_path, resume=True)
    assert host.resumes_from_anywhere(asked)
    host.resume_from(asked, None)
    asked.load_or_resume()  # would look for last_checkpoint
    assert not host.resumes_from_anywhere(asked)
    named = runner(tmp_path / 'named', resume=True, load_from='a.pth')
    assert not host.resumes_from_anywhere(named)


def test_a_path_to_resume_from_is_what_the_runner_loads(tmp_path, monkeypatch):
    asked = runner(tmp_path, resume=True)
    host.resume_from(asked, str(tmp_path / 'a.pth'))
    found = []
    monkeypatch.setattr(asked, 'resume', found.append)
    asked.load_or_resume()
    assert found == [str(tmp_path / 'a.pth')]


def test_the_seed_of_a_runner(tmp_path):
    own = runner(tmp_path, randomness=dict(seed=3))
    # Without `randomness` runners share a default, in which MMEngine's resuming writes.
    shared = dict(seed=None)
    drawn = runner(tmp_path / 'drawn', randomness=shared)
    assert host.chosen_seed(own) == 3 and host.chosen_seed(drawn) is None
    host.set_seed(drawn, 3)
    first = torch.rand(4)
    assert drawn.seed == 3 and host.chosen_seed(drawn) == 3
    assert shared == dict(seed=None)
    host.set_seed(own, 3)
    assert torch.equal(torch.rand(4), first)


def test_the_logger_of_a_runner_is_prepared_before_its_first_line(tmp_path):
    lines, build = [], Runner.build_logger

    class Recorder(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    with host.runner_loggers(lambda logger: logger.addHandler(Recorder())):
        built = runner(tmp_path)
    assert 'System environment:' in lines[0]
    assert Runner.build_logger is build
    assert isinstance(built.logger.handlers[-1], Recorder)


def test_the_validation_loop_of_a_runner(tmp_path):
    training = runner(tmp_path)
    assert not host.has_validation(training)
    loop = ValLoop.__new__(ValLoop)
    host.set_val_loop(training, loop)
    assert training.val_loop is loop


def test_the_runner_and_the_epoch_of_a_loop():
    loop = ResumableTrainLoop.__new__(ResumableTrainLoop)
    loop._epoch, loop._seen = 3, 40
    other = SimpleNamespace()
    host.set_runner(loop, other)
    with pytest.raises(KeyError), host.epoch_counted(loop):
        assert (loop.epoch, loop.seen) == (4, 0)
        raise KeyError
    assert loop.runner is other and (loop.epoch, loop.seen) == (3, 40)


def test_which_is_better_of_a_metric_that_was_not_measured():
    hook = CheckpointHook(save_best='auto')
    host.settle_best(hook, 'accuracy/top1')
    assert hook.rules == ['greater'] and hook.is_better_than['accuracy/top1'](2, 1)
    assert 'acc' in host.GREATER_IS_BETTER
    with pytest.raises(ValueError, match='odd'):
        host.settle_best(CheckpointHook(save_best='auto'), 'odd')


def labels(dataset):
    """Label of each folder."""
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    return {Path(info['img_path']).parent.name: info['gt_label'] for info in infos}


def test_a_data_set_reads_again(tmp_path):
    from PIL import Image

    for name in ('a', 'b'):
        (tmp_path / name).mkdir()
        Image.new('RGB', (4, 4)).save(tmp_path / name / '0.png')
    dataset = ImageFolder(data_root=str(tmp_path), lazy_init=True)
    assert not host.is_read(dataset)
    dataset.full_init()
    assert host.is_read(dataset)
    assert labels(dataset) == dict(a=0, b=1)
    host.read_with_classes(dataset, ['b', 'a'])
    assert labels(dataset) == dict(a=1, b=0)
    assert dataset.CLASSES == ('b', 'a')


def test_addresses_that_checkpoints_come_from(tmp_path, monkeypatch):
    schemes = host.checkpoint_schemes()
    assert {'', 'http://', 'https://'} <= {*schemes}
    monkeypatch.setattr(CheckpointLoader, '_schemes', {})
    CheckpointLoader.register_scheme('odd://', lambda *_: 7)
    assert [*host.checkpoint_schemes()] == ['odd://']


def test_a_classifier_asks_the_filter_of_its_backbone():
    class Backbone(VisionTransformer):
        """One with a filter of its own."""

    seen = []
    host.set_checkpoint_filter(Backbone, lambda *args: seen.append(args))
    arch = dict(embed_dims=8, num_layers=1, num_heads=2, feedforward_channels=8)
    model = ImageClassifier(Backbone(arch, img_size=16))
    model.load_state_dict(model.state_dict())
    backbone, state, prefix = seen[0][:3]
    assert backbone is model.backbone and prefix == '' and 'backbone.cls_token' in state


def test_the_store_of_the_processes(tmp_path):
    dist.init_process_group('gloo', f'file://{tmp_path}/store', rank=0, world_size=1)
    try:
        host.default_store().set('key', 'value')
        assert host.default_store().get('key') == b'value'
    finally:
        dist.destroy_process_group()


def test_tensors_move_towards_others():
    values = [torch.zeros(2), torch.ones(3)]
    host.lerp_all(values, [torch.full((2,), 4.0), torch.zeros(3)], 0.25)
    assert values[0].tolist() == [1, 1] and values[1].tolist() == [0.75] * 3


def test_a_picture_is_a_file_to_mlflow_alone(monkeypatch, tmp_path):
    found = []
    monkeypatch.setattr(
        MLflowVisBackend, 'add_image', lambda self, *args: found.append(args)
    )
    backends = [
        dict(type='MLflowVisBackend'),
        dict(type='LocalVisBackend'),
    ]
    visualizer = Visualizer(vis_backends=backends, save_dir=str(tmp_path))
    image = np.zeros((4, 4, 3), np.uint8)
    host.add_image(visualizer, 'page', image, 3)
    assert [args[0] for args in found] == ['page_3.png']
    assert [path.name for path in tmp_path.rglob('*.png')] == ['page_3.png']
