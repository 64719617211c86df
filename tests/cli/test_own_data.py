"""What `--data` does to a config."""

import pytest
from mmengine.config import Config
from mmpretrain.registry import DATASETS

from dseq_mm.cli import own_data
from tests.data.odd_folders import put

PIPELINE = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
OURS = [dict(type='LoadImage'), dict(type='PackInputs')]


def make_config(**kwargs):
    inner = dict(type='ImageNet', data_root='imagenet', pipeline=PIPELINE)
    loader = dict(batch_size=2, dataset=dict(type='KeyedDataset', dataset=inner))
    bank = dict(batch_size=9, dataset=dict(type='ImageNet', pipeline=PIPELINE[1:]))
    hooks = [
        dict(type='EMAHook'),
        dict(type='mmpretrain.KNNHook', bank=bank, query=bank, bank_fraction=0.1),
    ]
    return Config({**dict(train_dataloader=loader, custom_hooks=hooks), **kwargs})


@pytest.fixture
def images(tmp_path):
    put(tmp_path / 'images', 'deep/a.PNG', '.hidden/b.png')
    return tmp_path / 'images'


def test_the_innermost_set_is_replaced(images):
    cfg = make_config()
    notes = own_data.use_data(cfg, [str(images)])
    outer = cfg.train_dataloader.dataset
    expected = dict(type='mmpretrain.OwnImages', sources=[str(images)])
    assert outer.type == 'KeyedDataset'
    assert outer.dataset.to_dict() == dict(expected, pipeline=OURS)
    assert any('1 images' in n or '1 image (' in n for n in notes)
    assert any('hidden or system folders (.hidden)' in note for note in notes)
    hook = cfg.custom_hooks[1]
    assert hook.query is None and hook.bank_fraction == 1 and hook.bank.batch_size == 9
    assert hook.bank.dataset.to_dict() == dict(expected, pipeline=PIPELINE[1:])
    assert any('RankMe' in note for note in notes)


def test_a_part_of_many_images_is_measured(images, monkeypatch):
    put(images, *(f'{number}.png' for number in range(9)))
    monkeypatch.setattr(own_data, 'BANK_IMAGES', 5)
    cfg = make_config()
    own_data.use_data(cfg, [str(images)])
    assert cfg.custom_hooks[1].bank_fraction == 0.5


def test_it_loads_what_it_names(images):
    cfg = make_config(train_dataloader=dict(dataset=dict(pipeline=PIPELINE)))
    own_data.use_data(cfg, [str(images)])
    assert len(DATASETS.build(cfg.train_dataloader.dataset)) == 1


def test_wrong_places_are_told_as_an_argument(tmp_path):
    with pytest.raises(ValueError, match='^--data: .*no such folder'):
        own_data.use_data(make_config(), [str(tmp_path / 'none')])
    (tmp_path / 'notes.txt').write_text('x')
    with pytest.raises(ValueError, match='^--data: no image in .*txt'):
        own_data.use_data(make_config(), [str(tmp_path)])


def test_several_sets_are_refused(images):
    dataset = dict(type='ConcatDataset', datasets=[dict(type='A'), dict(type='B')])
    cfg = make_config(train_dataloader=dict(dataset=dataset))
    with pytest.raises(ValueError, match='ConcatDataset of several'):
        own_data.use_data(cfg, [str(images)])
