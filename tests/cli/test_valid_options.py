"""Options that are read are taken, the others refused; so are hooks' arguments."""

import pytest
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS

from dseq_mm.cli.valid_options import (
    _check_option,
    _read_parts,
    apply_options,
    check_config,
    find_unread,
)
from dseq_mm.utils.arguments import arguments_of, find_types
from dseq_mm.utils.configs import missing_libraries, read_config

CONFIGS = [
    'dseq_vitb16_600e',
    'nepa_digitscenes_20e',
    'mae_digitscenes_20e',
    'finetune_vitb16_50e_imagenet',
    'mask-rcnn_digits_25e',
    'upernet_vitb16_160k_ade20k',
]


@pytest.mark.parametrize('name', CONFIGS)
def test_every_leaf_of_a_config_may_be_set(name):
    try:
        cfg = read_config(name)
    except ValueError as error:
        pytest.skip(str(error))
    if missing_libraries(cfg):
        pytest.skip('its library is not installed')
    check_config(cfg)
    apply_options(cfg, {})
    taken = 0
    for place, value in _read_parts(cfg):
        inside = value if isinstance(value, dict | list | tuple) else None
        if inside or place.startswith('custom_imports') or '..' in place:
            continue
        if '.scale.' in place or '.betas.' in place or '_size.' in place:
            continue  # entries of tuples
        if place.startswith('data_preprocessor') and 'data_preprocessor' in cfg.model:
            continue  # nothing reads it
        try:
            taken += _check_option(cfg, place, value, {place: value})
        except ValueError as error:
            assert 'a tuple' in str(error) or 'an empty dict' in str(error), place
    assert taken > 50


class Grand:
    def __init__(self, first=1, *, second=2):
        pass


class Parent(Grand):
    def __init__(self, third, **kwargs):
        self.fourth = kwargs.pop('fourth', None)
        super().__init__(**kwargs)


class Child(Parent):
    def __init__(self, *args, **kwargs):
        self.seen = sorted(kwargs)
        super().__init__(*args, **kwargs)


class Keeper(Parent):
    def __init__(self, own=1, **kwargs):
        self.kept = kwargs


class Closed(Parent):
    def __init__(self, own=1, **kwargs):
        if 'old' in kwargs:
            self.old = kwargs['older']


@pytest.mark.parametrize(
    ('kind', 'names', 'complete'),
    [
        (Grand, {'first', 'second'}, True),
        (Parent, {'first', 'second', 'third', 'fourth'}, True),
        (Child, {'first', 'second', 'third', 'fourth'}, True),
        (Keeper, {'own'}, False),
        (Closed, {'own', 'old', 'older'}, True),
        (len, set(), False),
    ],
)
def test_arguments_are_followed_to_the_parents(kind, names, complete):
    found = arguments_of(kind)
    assert (found.complete, set(found.names) - {'obj'}) == (complete, names) or (
        kind is len
    )


def test_what_a_checkpoint_hook_passes_on():
    found = arguments_of(CheckpointHook)
    assert found.complete and {'interval', 'backend_args'} <= found.names.keys()
    assert 'intervall' not in found.names


def test_types_are_found_with_and_without_scope():
    assert find_types('KNNHook', 'mmpretrain') == find_types('mmpretrain.KNNHook')
    assert find_types('NoSuchHook', 'mmpretrain') == [] and find_types(3) == []
    assert find_types(CheckpointHook) == [CheckpointHook]


@pytest.fixture
def own_hook():
    @HOOKS.register_module()
    class OwnHookForOptions(Hook):
        def __init__(self, often=1):
            self.often = often

    yield 'OwnHookForOptions'
    HOOKS._module_dict.pop('OwnHookForOptions')


def make_config(**kwargs):
    return Config(dict(default_scope='mmpretrain', **kwargs))


def test_a_hook_of_ones_own(own_hook):
    cfg = make_config(default_hooks=dict(timer=dict(type='IterTimerHook')))
    hook = {'default_hooks.own.type': own_hook, 'default_hooks.own.often': 2}
    assert apply_options(cfg, hook) == []
    assert cfg.default_hooks.own == dict(type=own_hook, often=2)
    with pytest.raises(
        ValueError, match="has no argument 'oftn'; did you mean 'often'"
    ):
        apply_options(
            make_config(default_hooks={}),
            {'default_hooks.own.type': own_hook, 'default_hooks.own.oftn': 2},
        )
    cfg = make_config(custom_hooks=[dict(type=own_hook, oftn=3, priority='LOW')])
    with pytest.raises(ValueError, match=r'custom_hooks.0.*oftn.*often'):
        check_config(cfg)


@pytest.mark.parametrize(
    ('names', 'wrong'),
    [
        (dict(traindataloader=dict(batch_size=8)), True),
        (dict(randomnes=dict(seed=5)), True),
        (dict(workdir='x'), True),
        (dict(eval_dataloader=dict(batch_size=8)), False),
        (dict(test_pipeline=[]), False),
        (dict(optimizer=dict(type='SGD')), False),
        (dict(num_classes=3, my_settings=dict(a=1)), False),
    ],
)
def test_misspelt_names_at_the_top(names, wrong):
    cfg = make_config(train_dataloader=dict(batch_size=2), **names)
    if not wrong:
        return check_config(cfg)
    with pytest.raises(ValueError, match=f'nothing reads {next(iter(names))!r}'):
        check_config(cfg)


@pytest.mark.parametrize(
    ('key', 'advice'),
    [
        ('runner.max_epochs', 'max_epochs is at train_cfg.max_epochs'),  # of MMCV 1
        ('optimizer.lr', 'lr is at optim_wrapper.optimizer.lr'),
        ('lr', 'lr is at optim_wrapper.optimizer.lr'),
        ('train_cfgs.max_epochs', 'did you mean train_cfg.max_epochs'),
        ('modle.depht', 'did you mean model.depht'),
    ],
)
def test_an_option_outside_of_all_parts_is_told_where_its_like_stands(key, advice):
    cfg = make_config(
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1.0)),
    )
    with pytest.raises(ValueError, match=f'nothing reads .*{advice}'):
        _check_option(cfg, key, 1, {key: 1})


def test_another_type_takes_no_arguments_of_the_first():
    cfg = make_config(
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1.0, betas=(0.9, 0.95)))
    )
    wrong = {'optim_wrapper.optimizer.type': 'SGD'}
    with pytest.raises(
        ValueError, match="SGD .* no argument 'betas'; leave out optim_"
    ):
        apply_options(cfg, wrong)
    right = {'optim_wrapper.optimizer': dict(type='SGD', lr=1.0, _delete_=True)}
    assert apply_options(cfg, right) == []


def test_the_argument_of_an_error_is_found():
    cfg = make_config(model=dict(type='IJEPA', backbone=dict(type='JEPAViT', oops=1)))
    assert 'JEPAViT (model.backbone)' in find_unread(cfg, 'oops')
    assert find_unread(cfg, 'arch') == ''


@pytest.mark.parametrize(
    ('constructor', 'paramwise', 'problem'),
    [
        (None, dict(norm_decay_mult=0.0, custom_keys={'a': dict(lr_mult=0.1)}), ''),
        (None, dict(norm_decay=0.0), "'norm_decay'; did you mean 'norm_decay_mult'"),
        (None, dict(layer_decay_rate=0.7), "has no argument 'layer_decay_rate'"),
        ('BackboneDecayOptimWrapperConstructor', dict(layer_decay_rate=0.7), ''),
        ('BackboneDecayOptimWrapperConstructor', dict(layer_decay=0.7), '_rate'),
        ('JEPAOptimWrapperConstructor', dict(bias_lr_mult=2.0), ''),
        (None, dict(custom_keys={'a': dict(lr_mul=0.1)}), "did you mean 'lr_mult'"),
        (None, dict(custom_keys={'a': 0.1}), 'custom_keys.a is a dict of options'),
    ],
)
def test_settings_of_parameters(constructor, paramwise, problem):
    wrapper = dict(type='OptimWrapper', paramwise_cfg=paramwise)
    if constructor:
        wrapper['constructor'] = constructor
    cfg = make_config(optim_wrapper=wrapper)
    if not problem:
        check_config(cfg)
        return
    with pytest.raises(ValueError, match=problem):
        check_config(cfg)
