"""Our parts are found under old and new names, and are in nobody's way."""

from importlib import import_module

import pytest
from mmengine import registry as mmengine
from mmengine.registry import DefaultScope, Registry
from mmpretrain import registry as mmpretrain

import dseq_mm
from dseq_mm import data, engine, evaluation, models, registry
from dseq_mm.registry import OwnRegistry
from tests.libraries import need

KINDS = [name for name, kind in vars(registry).items() if type(kind) is OwnRegistry]
PARTS = [
    ('MODELS', 'JEPA', models.JEPA),
    ('MODELS', 'TargetEncoder', models.TargetEncoder),
    ('HOOKS', 'KNNHook', evaluation.KNNHook),
    ('DATASETS', 'CLEVR', data.CLEVR),
    ('LOOPS', 'ResumableTrainLoop', engine.ResumableTrainLoop),
]


@pytest.mark.parametrize(('kind', 'name', 'part'), PARTS)
def test_old_and_new_names(kind, name, part):
    root, host, ours = (getattr(m, kind) for m in (mmengine, mmpretrain, registry))
    assert host.get(name) is host.get(f'mmpretrain.{name}') is part
    assert ours.get(name) is ours.get(f'dseq_mm.{name}') is part
    assert root.get(f'mmpretrain.{name}') is root.get(f'dseq_mm.{name}') is part
    assert host.get(f'dseq_mm.{name}') is ours.get(f'mmpretrain.{name}') is part
    assert name in host and name in ours and name not in root


@pytest.mark.parametrize('library', ['mmdet', 'mmseg'])
def test_from_other_libraries(library):
    need(library)
    module = import_module(f'{library}.registry')
    for name in ('dseq_mm.KNNHook', 'mmpretrain.KNNHook'):
        assert module.HOOKS.get(name) is evaluation.KNNHook
    assert module.HOOKS.get('KNNHook') is None
    assert module.MODELS.get('DenseViT') is models.DenseViT


@pytest.mark.parametrize('kind', KINDS)
def test_the_hosts_hold_nothing_of_ours(kind):
    host, ours = getattr(mmpretrain, kind), getattr(registry, kind)
    host.import_from_location()
    modules = [part.__module__ for part in host.module_dict.values()]
    ours_there = {name for name in modules if name.startswith('dseq_mm')}
    # projects build on us from outside, and register with the host as users do
    assert not {name for name in ours_there if '.projects.' not in name}
    assert not ours.module_dict.keys() & host.module_dict.keys()
    assert all(p.__module__.startswith('dseq_mm') for p in ours.module_dict.values())


@pytest.mark.parametrize('scope', ['mmpretrain', 'dseq_mm', None])
def test_parts_of_both_are_built_from_bare_names(scope):
    vit = dict(embed_dims=8, num_layers=1, num_heads=2, feedforward_channels=8)
    for place in (mmpretrain, registry):
        for name in ('JEPAViT', 'VisionTransformer'):
            with DefaultScope.overwrite_default_scope(scope):
                part = place.MODELS.build(dict(type=name, arch=vit, img_size=16))
            assert type(part).__name__ == name
    assert registry.HOOKS.get('IterTimerHook') is mmengine.HOOKS.get('IterTimerHook')


def test_the_host_comes_first_with_its_own_names():
    root = Registry('toy', scope='mmengine')
    host = Registry('toy', parent=root, scope='mmpretrain', locations=['json'])
    ours = OwnRegistry(host)
    host.register_module('Same', module=int)
    ours.register_module('Same', module=float)
    ours.register_module('Ours', module=str)
    root.register_module('Ours', module=list)
    assert host.get('Same') is host.get('mmpretrain.Same') is int
    assert ours.get('Same') is host.get('dseq_mm.Same') is float
    assert host.get('Ours') is ours.get('Ours') is str
    assert root.get('Ours') is list
    assert ours.get('Neither') is None and host.get('Neither') is None
    host.register_module('Ours', module=dict)  # no collision, also later
    assert host.get('Ours') is dict and ours.get('Ours') is str


@pytest.mark.parametrize('name', ['dseq_mm.Nothing', 'mmpretrain.Nothing'])
def test_unknown_names_are_refused(name):
    for place in (mmengine, mmpretrain, registry):
        with pytest.raises((KeyError, RuntimeError), match='Nothing'):
            place.MODELS.build(dict(type=name))


def test_the_package_has_its_registries():
    assert dseq_mm.registry is registry and {'MODELS', 'HOOKS'} <= {*KINDS}
