"""CLEVR: VTAB-1k's order, split and labels; and single tasks of an annotation file."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmpretrain.registry import DATASETS

from dseq_mm.data import CLEVR, SingleTaskDataset, clevr, make_digit_scenes
from tests.data import folders

THRESHOLDS = [0, 8, 8.5, 9, 9.5, 10, 100]
PIPELINE = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]


def stored(names):
    """The order in which TensorFlow Datasets stores the training images."""

    def key(name):
        hashed = hashlib.md5(b'train')
        hashed.update(name.encode('utf-8'))
        return int(hashed.hexdigest(), 16)

    return [name for _, name in sorted((key(name), name) for name in names)]


def test_order_of_the_official_set():
    names = sorted(clevr.official_names('train'))
    assert len(names) == 70_000
    assert names[0] == 'CLEVR_train_000000.png' and names[-1].endswith('069999.png')
    order = stored(names)
    train, val = (clevr.vtab_names(names, split) for split in ('train', 'val'))
    assert train == order[:800] and val == order[63_000:63_200]
    assert (train[0], val[0]) == ('CLEVR_train_043876.png', 'CLEVR_train_035084.png')
    # it depends on the names alone, not on the order of the scene file
    assert clevr.vtab_names(names[::-1], 'train') == train
    assert not set(train) & set(val)
    test = sorted(clevr.official_names('val'))
    assert clevr.vtab_names(test, 'test') == test and len(test) == 15_000


@given(st.integers(0, 3000))
def test_splits_of_parts_do_not_overlap(number):
    names = [f'{index}.png' for index in range(number)]
    train, val = (clevr.vtab_names(names, split) for split in ('train', 'val'))
    assert not set(train) & set(val) and {*train, *val} <= set(names)
    border = int(number * 0.9 + 1e-9)
    assert len(train) == min(800, border) and len(val) == min(200, number - border)
    order = stored(names)
    assert train == order[: len(train)] and val == order[border : border + len(val)]


@given(
    st.sampled_from(THRESHOLDS[1:])
    | st.sampled_from(THRESHOLDS[:-1]).map(
        lambda x: float(np.nextafter(x, 999, dtype='f'))
    )
    | st.floats(0, 100, exclude_min=True, width=32)
)
def test_distance_label(depth):
    below = [i for i, threshold in enumerate(THRESHOLDS) if threshold - depth < 0]
    assert clevr.distance_label(depth) == max(below)


def test_distance_at_the_thresholds():
    assert [clevr.distance_label(depth) for depth in THRESHOLDS[1:]] == [*range(6)]
    above = [float(np.float32(threshold) + 1e-3) for threshold in THRESHOLDS[:-1]]
    assert [clevr.distance_label(depth) for depth in above] == [*range(6)]
    # a difference that the stored float32 does not have
    assert clevr.distance_label(8 + 1e-9) == 0
    for depth in (0.0, -1.0, 100.5, float('nan')):
        with pytest.raises(ValueError, match='depth'):
            clevr.distance_label(depth)


def read_scenes(root, source):
    path = root / 'scenes' / f'CLEVR_{source}_scenes.json'
    return json.loads(path.read_text())['scenes']


def expected_labels(scene):
    depth = min(thing['pixel_coords'][2] for thing in scene['objects'])
    distance = max(i for i, limit in enumerate(THRESHOLDS) if limit < np.float32(depth))
    return dict(count=len(scene['objects']) - 3, distance=distance)


@pytest.mark.parametrize('task', ['count', 'distance'])
def test_reads_the_official_layout(tmp_path, task):
    folders.clevr(tmp_path, train=30, val=12)
    common = dict(type='CLEVR', data_root=str(tmp_path), task=task, complete=False)
    train, val, test = (
        DATASETS.build(dict(split=split, pipeline=PIPELINE, **common))
        for split in ('train', 'val', 'test')
    )
    scenes = {s['image_filename']: s for s in read_scenes(tmp_path, 'train')}
    order = stored(scenes)
    scenes.update({s['image_filename']: s for s in read_scenes(tmp_path, 'val')})
    names = {train: order[:27], val: order[27:], test: [*scenes][30:]}
    for dataset in (train, val, test):
        infos = [dataset.get_data_info(index) for index in range(len(dataset))]
        found = [info['img_path'].rpartition('/')[2] for info in infos]
        assert found == names[dataset]
        labels = [expected_labels(scenes[name])[task] for name in found]
        assert [info['gt_label'] for info in infos] == labels
        assert len(dataset.metainfo['classes']) == dict(count=8, distance=6)[task]
    assert train.metainfo['classes'][0] == dict(count='3', distance='up to 8')[task]
    sample = train[0]
    assert sample['inputs'].shape == (3, *folders.SIZE)
    assert sample['data_samples'].gt_label.item() == train.get_data_info(0)['gt_label']


def test_a_part_is_taken_on_demand_only(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(clevr, 'print_log', lambda text, **_: told.append(text))
    folders.clevr(tmp_path)
    settings = dict(data_root=str(tmp_path), split='train', task='count')
    with pytest.raises(ValueError, match=r'20 scenes, expected 70,000.*complete=False'):
        CLEVR(**settings)
    with pytest.raises(ValueError, match=r'5 scenes, expected 15,000'):
        CLEVR(**{**settings, 'split': 'test'})
    assert len(CLEVR(**settings, complete=False)) == 18
    assert len(told) == 1 and 'not that of VTAB-1k' in told.pop()
    monkeypatch.setitem(clevr.SCENES, 'train', 20)
    assert len(CLEVR(**settings)) == 18 and not told
    # as many scenes, but under other names, would give another split
    path = tmp_path / 'scenes/CLEVR_train_scenes.json'
    path.write_text(path.read_text().replace('train_000007.png', 'train_7.png'))
    with pytest.raises(ValueError, match='official file names'):
        CLEVR(**settings)


def objects(*depths):
    return [dict(pixel_coords=[1, 2, depth]) for depth in depths]


@pytest.mark.parametrize(
    'wrong, message',
    [
        (objects(9, 9), '2 objects, expected 3 to 10'),
        (objects(*[9] * 11), '11 objects, expected 3 to 10'),
        (objects(9, 9, 0), 'depth above 0 and up to 100'),
        (objects(200, 200, 200), 'depth above 0 and up to 100'),
        (objects(9, 9, None), 'pixel_coords'),
        ([dict(shape='cube')] * 3, 'pixel_coords'),
        ([dict(pixel_coords=[1, 2])] * 3, 'pixel_coords'),
    ],
)
@pytest.mark.parametrize('task', ['count', 'distance'])
def test_impossible_scenes(tmp_path, wrong, message, task):
    folders.clevr(tmp_path)
    scenes = read_scenes(tmp_path, 'val')
    scenes[3]['objects'] = wrong
    path = tmp_path / 'scenes/CLEVR_val_scenes.json'
    path.write_text(json.dumps(dict(scenes=scenes)))
    with pytest.raises(ValueError, match=f'CLEVR_val_000003.png: .*{message}'):
        CLEVR(str(tmp_path), 'test', task, complete=False)


@pytest.mark.parametrize(
    'content, message',
    [
        (None, 'is missing: unpack CLEVR_v1.0.zip'),
        ('{"scenes": [', 'no scene file of CLEVR'),
        ('[]', 'no scene file of CLEVR'),
        ('{"images": []}', 'no scene file of CLEVR'),
        ('{"scenes": [{"objects": []}]}', 'no scene file of CLEVR'),
        ('{"scenes": []}', 'leave nothing for val'),
        (
            json.dumps(dict(scenes=[dict(image_filename='a.png', objects=[])] * 2)),
            'names an image twice',
        ),
    ],
)
def test_unusable_scene_files(tmp_path, content, message):
    folders.clevr(tmp_path)
    path = tmp_path / 'scenes/CLEVR_train_scenes.json'
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(ValueError, match=message):
        CLEVR(str(tmp_path), 'val', 'count', complete=False)


def test_unknown_arguments():
    with pytest.raises(ValueError, match=r"split .*'test'.*'trainval'"):
        CLEVR('nowhere', 'trainval', 'count')
    with pytest.raises(ValueError, match=r"task .*'distance'.*'colour'"):
        CLEVR('nowhere', 'train', 'colour')


def write_tasks(path, labels, **metainfo):
    data = [dict(img_path=f'{i}.png', gt_label=label) for i, label in enumerate(labels)]
    content = dict(
        metainfo=dict(tasks=['count', 'distance'], **metainfo), data_list=data
    )
    path.write_text(json.dumps(content))
    return str(path)


def test_single_task(tmp_path):
    labels = [dict(count=i % 3, distance=i % 2) for i in range(5)]
    path = write_tasks(tmp_path / 'tasks.json', labels, num_classes=dict(count=3))
    count = SingleTaskDataset(path, 'count', data_root='images')
    assert [data['gt_label'] for data in count.data_list] == [0, 1, 2, 0, 1]
    assert count.data_list[4]['img_path'] == 'images/4.png'
    assert count.metainfo['classes'] == ('0', '1', '2')
    distance = SingleTaskDataset(path, 'distance', data_root='images')
    assert [data['gt_label'] for data in distance.data_list] == [0, 1, 0, 1, 0]
    assert 'classes' not in distance.metainfo  # the file does not say how many
    with pytest.raises(
        ValueError, match=r"no task 'dist', but \['count', 'distance'\]"
    ):
        SingleTaskDataset(path, 'dist', data_root='images')


@pytest.mark.parametrize('label', [3, -1, 1.5, True, [1, 0], None])
def test_labels_that_are_no_class(tmp_path, label):
    path = tmp_path / 'tasks.json'
    write_tasks(path, [dict(count=1), dict(count=label)], num_classes=dict(count=3))
    with pytest.raises(ValueError, match=r'1\.png has .* as count.*below 3'):
        SingleTaskDataset(str(path), 'count', data_root='images')


def test_single_task_of_digitscenes(tmp_path):
    out = tmp_path / 'digits'
    make_digit_scenes(out, train=10, val=10, scenes_train=6, scenes_val=3)
    raw = json.loads((out / 'scenes/clevr_train.json').read_text())['data_list']
    for task, number in (('count', 8), ('distance', 6)):
        dataset = DATASETS.build(
            dict(
                type='SingleTaskDataset',
                data_root=str(out / 'scenes'),
                ann_file='clevr_train.json',
                task=task,
                pipeline=PIPELINE,
            )
        )
        assert len(dataset) == 6 and len(dataset.metainfo['classes']) == number
        for index, data in enumerate(raw):
            label = dataset[index]['data_samples'].gt_label.item()
            assert label == data['gt_label'][task]
