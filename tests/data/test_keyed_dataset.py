import copy
import io
import logging
import os
import random
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from mmengine.dataset import ConcatDataset, pseudo_collate
from mmengine.logging import MMLogger
from mmpretrain.registry import DATASETS
from PIL import Image
from torch.utils.data import DataLoader

from dseq_mm.data import KeyedDataset
from dseq_mm.data.keyed_dataset import keyed_generators

NUMBER = 8
LOAD = dict(type='LoadImage')
AUGMENT = [
    LOAD,
    dict(type='RandomResizedCrop', scale=16, crop_ratio_range=(0.3, 1.0)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='ColorJitter', brightness=0.5),
    dict(type='PackInputs'),
]


class Draw:
    """Draws once from each generator that a pipeline may use."""

    def __call__(self, results):
        draws = random.random(), np.random.rand(), torch.rand(1).item()
        return dict(results, draws=draws)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.RandomState(0)
    for index in range(NUMBER):
        name = tmp_path / 'abcd'[index % 4] / f'{index}.png'
        name.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.randint(0, 256, (32, 32, 3)).astype(np.uint8)).save(name)
    return tmp_path


def keyed(folder, pipeline=AUGMENT, with_label=True, **kwargs):
    dataset = dict(
        type='CustomDataset',
        data_root=str(folder),
        with_label=with_label,
        pipeline=pipeline,
    )
    return DATASETS.build(dict(type='KeyedDataset', dataset=dataset, **kwargs))


def images(dataset, order=range(NUMBER)):
    return {index: dataset[index]['inputs'] for index in order}


def same(a, b):
    assert a.keys() == b.keys()
    return [torch.equal(a[index], b[index]) for index in a]


def path_of(dataset, index):
    return dataset.get_data_info(index)['img_path']


# Keyed augmentation ---------------------------------------------------------------


def test_augmentation_depends_on_seed_epoch_and_index_alone(folder):
    dataset = keyed(folder)
    first = images(dataset)
    np.random.rand(7)
    assert all(same(first, images(dataset, [5, 2, 2, 7, 0, 1, 6, 4, 3])))
    assert all(same(first, images(keyed(folder))))
    dataset.set_epoch(3)
    assert dataset.epoch == 3
    assert not any(same(first, images(dataset)))
    dataset.set_epoch(0)
    assert all(same(first, images(dataset)))
    assert not any(same(first, images(keyed(folder, seed=1))))


def test_each_generator_is_keyed(folder):
    draws = {}
    for seed in (0, 1):
        dataset = keyed(folder, [LOAD, Draw()], seed=seed)
        for epoch in range(10):
            dataset.set_epoch(epoch)
            for index in range(NUMBER):
                draws[seed, epoch, index] = dataset[index]['draws']
    draws = np.array(list(draws.values()))  # (keys, generators)
    for column in draws.T:
        assert len(np.unique(column)) == len(column) == 20 * NUMBER
        assert abs(column.mean() - 0.5) < 0.1
        assert abs(np.corrcoef(column[1:], column[:-1])[0, 1]) < 0.25
    assert np.abs(np.corrcoef(draws.T) - np.eye(3)).max() < 0.25


def states():
    numpy = np.random.get_state()
    return random.getstate(), numpy[1].tobytes(), numpy[2:], torch.get_rng_state()


def unchanged(before):
    after = states()
    return before[:3] == after[:3] and torch.equal(before[3], after[3])


def test_generators_are_restored(folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'manual_seed_all', lambda seed: 1 / 0)
    dataset = keyed(folder, [LOAD, Draw()])
    np.random.randn(1)  # leaves a cached second normal, part of the state
    before = states()
    dataset[0]
    assert unchanged(before)
    with pytest.raises(ZeroDivisionError), keyed_generators(1, 2, 3):
        Draw()({})
        raise ZeroDivisionError
    assert unchanged(before)


@pytest.mark.parametrize('context, workers', [(None, 0), ('fork', 2), ('spawn', 1)])
def test_workers_change_nothing_and_see_the_epoch(folder, context, workers):
    dataset = keyed(folder)
    expected = []
    for epoch in range(3):
        dataset.set_epoch(epoch)
        expected.append(images(dataset))
    loader = DataLoader(
        dataset,
        batch_size=3,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context=context,
        collate_fn=pseudo_collate,
        shuffle=True,
    )
    for epoch in (0, 1, 2, 1):
        dataset.set_epoch(epoch)
        found = {}
        for batch in loader:
            for image, sample in zip(
                batch['inputs'], batch['data_samples'], strict=True
            ):
                found[sample.sample_idx] = image
        assert all(same(expected[epoch], dict(sorted(found.items()))))


def test_a_copy_shares_its_epoch_with_its_own_workers(folder):
    dataset = copy.deepcopy(keyed(folder))
    loader = DataLoader(
        dataset,
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context='fork',
        collate_fn=pseudo_collate,
    )
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        expected = images(dataset)
        found = {i: batch['inputs'][0] for i, batch in enumerate(loader)}
        assert all(same(expected, found))


# Unreadable images ----------------------------------------------------------------


def encoded(kind):
    buffer = io.BytesIO()
    noise = np.random.RandomState(0).randint(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()


DAMAGE = dict(
    missing=None,
    folder=None,
    empty=b'',
    text=b'this is no image',
    bomb=encoded('png')[:16] + b'\0\0\x75\x30' * 2 + encoded('png')[24:],
    head_lost=encoded('jpeg')[200:],
    head_only=encoded('jpeg')[:100],
)


def damage(dataset, index, content=b''):
    path = path_of(dataset, index)
    with open(path, 'wb') as file:
        file.write(content)
    return path


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('kind', DAMAGE)
def test_unreadable_image_is_replaced_counted_and_named(folder, caplog, kind, backend):
    load = dict(LOAD, imdecode_backend=backend)
    dataset = keyed(folder, [load, *AUGMENT[1:]])
    path = damage(dataset, 2, DAMAGE[kind] or b'')
    if kind in ('missing', 'folder'):
        os.remove(path)
    if kind == 'folder':
        os.mkdir(path)
    logger = MMLogger.get_current_instance()  # does not pass on to the root logger
    logger.addHandler(caplog.handler)
    try:
        samples = [dataset[2] for _ in range(3)]
    finally:
        logger.removeHandler(caplog.handler)
    assert dataset.unreadable == [2]
    sample = samples[0]['data_samples']
    assert sample.sample_idx == 3 and sample.img_path == path_of(dataset, 3)
    for sample in samples:  # as if the next one had been asked for
        assert torch.equal(sample['inputs'], dataset[3]['inputs'])
    named = [r for r in caplog.records if path in r.getMessage()]
    assert len(named) == 1 and named[0].levelno == logging.WARNING


def test_the_first_image_replaces_the_last(folder):
    dataset = keyed(folder)
    damage(dataset, NUMBER - 1)
    assert dataset[-1]['data_samples'].sample_idx == 0
    assert dataset.unreadable == [NUMBER - 1]


@pytest.mark.parametrize('share, allowed', [(0, 0), (0.01, 1), (0.25, 2), (0.3, 2)])
def test_too_many_unreadable_images_stop_the_run(folder, share, allowed):
    dataset = keyed(folder, max_unreadable=share)
    bad = [damage(dataset, index) for index in (1, 4, 6)]
    for index in (1, 4, 6)[:allowed]:
        for _ in range(3):  # the same image counts once
            dataset[index]
    with pytest.raises(RuntimeError) as error:
        dataset[(1, 4, 6)[allowed]]
    message = str(error.value)
    assert f'{allowed + 1} of {NUMBER} images' in message
    assert bad[allowed] in message and 'raise max_unreadable' in message


def test_workers_share_the_count(folder):
    dataset = keyed(folder)
    damage(dataset, 0)
    damage(dataset, NUMBER - 1)
    worker = get_context('fork').Process(target=dataset.__getitem__, args=(0,))
    worker.start()
    worker.join()
    assert worker.exitcode == 0 and dataset.unreadable == [0]
    with pytest.raises(RuntimeError, match=f'2 of {NUMBER} images could not be read'):
        dataset[NUMBER - 1]


def test_nothing_is_readable(folder):
    dataset = keyed(folder, max_unreadable=1)
    for index in range(NUMBER):
        damage(dataset, index)
    with pytest.raises(RuntimeError, match=f'{NUMBER} of them could not be read'):
        dataset[0]


def test_an_error_after_loading_is_not_hidden(folder):
    def bug(results):
        raise ValueError('a bug')

    dataset = keyed(folder, [LOAD, bug])
    with pytest.raises(ValueError, match='a bug'):
        dataset[0]
    assert not dataset.unreadable


def test_a_bug_in_loading_is_not_hidden(folder):
    dataset = keyed(folder, [lambda results: results['no such key']])
    with pytest.raises(KeyError):
        dataset[0]


@pytest.mark.parametrize('error', [MemoryError, Image.DecompressionBombError])
def test_what_does_not_fit_is_unreadable(folder, error):
    def load(results):
        if results['sample_idx'] == 2:
            raise error
        return results

    dataset = keyed(folder, [load])
    assert dataset[2]['sample_idx'] == 3 and dataset.unreadable == [2]


def test_the_warning_names_the_file_once(folder, caplog):
    dataset = keyed(folder)
    path = damage(dataset, 2, b'this is no image')
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        dataset[2]
    finally:
        logger.removeHandler(caplog.handler)
    (line,) = [r.getMessage() for r in caplog.records if path in r.getMessage()]
    assert line.count(path) == 1 and 'ValueError: no image' in line


def test_a_dropped_sample_is_replaced_but_not_counted(folder):
    def drop_even(results):
        return results if results['sample_idx'] % 2 else None

    dataset = keyed(folder, [LOAD, drop_even])
    assert dataset[4]['sample_idx'] == 5
    assert not dataset.unreadable


@pytest.mark.parametrize('kind', ['jpeg', 'png'])
def test_an_image_that_lost_its_tail_is_refused_by_pillow(folder, kind):
    whole = encoded(kind)
    dataset = keyed(folder, [dict(LOAD, imdecode_backend='pillow')])
    damage(dataset, 0, whole[: len(whole) * 2 // 3])
    assert dataset[0]['sample_idx'] == 1
    assert dataset.unreadable == [0]


# The folder, and what a wrapper passes on -------------------------------------------


@pytest.mark.parametrize(
    'kind', ['CustomDataset', 'ImageNet', 'ImageFolder', 'ImageNetFolder']
)
@pytest.mark.parametrize('with_label', [True, False])
def test_a_folder_without_images(tmp_path, kind, with_label):
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos' / 'notes.txt').write_text('no image')
    config = dict(
        type=kind,
        data_root=str(tmp_path),
        data_prefix='photos',
        with_label=with_label,
        pipeline=AUGMENT,
    )
    with pytest.raises(ValueError, match=r"photos' \(accepted.*\.jpg.*\.png.*with_l"):
        DATASETS.build(dict(type='KeyedDataset', dataset=config))
    config['data_prefix'] = 'fotos'
    with pytest.raises(ValueError, match="fotos' does not exist.*data_root"):
        DATASETS.build(dict(type='KeyedDataset', dataset=config))


def test_an_unlabelled_folder(folder):
    dataset = keyed(folder, with_label=False)
    assert len(dataset) == NUMBER
    assert dataset[0]['inputs'].shape == (3, 16, 16)


def test_it_passes_on_what_it_wraps(folder):
    dataset = keyed(folder, lazy_init=True)
    assert not dataset.dataset._fully_initialized and dataset.unreadable == []
    dataset.full_init()
    inner = dataset.dataset
    assert isinstance(dataset, KeyedDataset) and len(dataset) == NUMBER
    assert dataset.metainfo == inner.metainfo
    assert dataset.metainfo['classes'] == tuple('abcd')
    assert dataset.get_data_info(3) == inner.get_data_info(3)
    assert dataset.get_cat_ids(3) == inner.get_cat_ids(3)
    np.testing.assert_array_equal(dataset.get_gt_labels(), inner.get_gt_labels())
    for index in (NUMBER, -NUMBER - 1):
        with pytest.raises(IndexError):
            dataset[index]
    assert sum(1 for _ in dataset) == NUMBER


def test_a_listed_file_that_is_missing(folder):
    names = [f'{"abcd"[index % 4]}/{index}.png' for index in range(3)]
    (folder / 'list.txt').write_text('\n'.join([*names, 'gone.png']))
    dataset = KeyedDataset(
        dict(
            type='CustomDataset',
            data_root=str(folder),
            ann_file='list.txt',
            with_label=False,
            pipeline=AUGMENT,
        )
    )
    assert dataset[3]['data_samples'].sample_idx == 0
    assert dataset.unreadable == [3]


def test_wrong_arguments(folder):
    with pytest.raises(ValueError, match='max_unreadable'):
        keyed(folder, max_unreadable=3)
    inner = keyed(folder).dataset
    with pytest.raises(TypeError, match='ConcatDataset'):
        KeyedDataset(ConcatDataset([inner]))
    assert len(KeyedDataset(inner)) == NUMBER
