import hashlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dseq_mm.data import digit_files
from dseq_mm.data.digit_files import make_digit_scenes, read_manifest, run_lengths

CHECKSUM = '033120d2eab2359ade37c4daab1ca5127e17a25af932184bfbcec6fe9fa32e43'
SMALL = dict(size=16, train=40, val=20, scene_size=48, scenes_train=60, scenes_val=8)


@pytest.fixture(scope='module')
def build(tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'digitscenes'
    assert make_digit_scenes(out, **SMALL)
    return out


def decode(path):
    return np.array(Image.open(path))


def decode_mask(segmentation):
    flat = []
    for value, length in enumerate(segmentation['counts']):
        flat += [value % 2 == 1] * length
    return np.array(flat).reshape(segmentation['size'][::-1]).T


def snapshot(folder):
    return {
        path.relative_to(folder): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(Path(folder).rglob('*'))
        if path.is_file()
    }


def test_checksum_is_the_known_one_and_that_of_the_decoded_files(build):
    digest = hashlib.sha256()
    for split in ('train', 'val'):
        # digits by their number, which is the file's name
        for path in sorted(build.glob(f'digits/{split}/*/*.png'), key=lambda p: p.name):
            digest.update(decode(path).tobytes())
            mask = build / 'digit_masks' / split / path.parent.name / path.name
            digest.update(decode(mask).tobytes())
        for path in sorted(build.glob(f'scenes/{split}/*.png')):
            digest.update(decode(path).tobytes())
            labels = build / 'scenes/segmentation' / split / path.name
            digest.update(decode(labels).tobytes())
    assert read_manifest(build)['sha256'] == digest.hexdigest() == CHECKSUM


def test_layout_and_class_balance(build):
    for split in ('train', 'val'):
        for name in '0123456789':
            files = list((build / 'digits' / split / name).glob('*.png'))
            assert len(files) == SMALL[split] // 10
            assert decode(files[0]).shape == (16, 16, 3)
        names = {p.name for p in (build / 'scenes' / split).glob('*.png')}
        assert len(names) == SMALL[f'scenes_{split}']
        maps = (build / 'scenes/segmentation' / split).glob('*.png')
        assert {p.name for p in maps} == names
    assert {p.name for p in build.iterdir()} == {
        'digits',
        'digit_masks',
        'scenes',
        'digitscenes.json',
    }
    assert not list(build.parent.glob('.*.partial'))


@pytest.mark.parametrize('split', ['train', 'val'])
def test_annotations_agree_with_the_maps(build, split):
    scenes = build / 'scenes'
    coco = json.loads((scenes / f'annotations/instances_{split}.json').read_text())
    clevr = json.loads((scenes / f'clevr_{split}.json').read_text())
    assert [(c['id'], c['name']) for c in coco['categories']] == [
        (i + 1, str(i)) for i in range(10)
    ]
    ids = [annotation['id'] for annotation in coco['annotations']]
    assert ids == list(range(1, len(ids) + 1))
    for image, labels in zip(coco['images'], clevr['data_list'], strict=True):
        assert f'{split}/{image["file_name"]}' == labels['img_path']
        own = [a for a in coco['annotations'] if a['image_id'] == image['id']]
        assert len(own) == labels['gt_label']['count']
        assert 0 <= labels['gt_label']['distance'] < 6
        expected = np.ones((image['height'], image['width']), int)
        for annotation in own:
            mask = decode_mask(annotation['segmentation'])
            assert (expected[mask] == 1).all()  # visible masks do not overlap
            expected[mask] = annotation['category_id'] + 1
            rows, columns = np.nonzero(mask)
            x, y, width, height = annotation['bbox']
            assert (x, y) == (columns.min(), rows.min())
            assert (x + width, y + height) == (columns.max() + 1, rows.max() + 1)
            assert annotation['area'] == mask.sum() > 0
            assert annotation['iscrowd'] == 0
        found = decode(scenes / 'segmentation' / split / image['file_name'])
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected)


def test_some_scenes_are_empty(build):
    clevr = json.loads((build / 'scenes/clevr_train.json').read_text())
    counts = [item['gt_label']['count'] for item in clevr['data_list']]
    assert 0 in counts and max(counts) <= 7


@pytest.mark.parametrize('mask', ['0110', '1000', '0001', '1111', '0000', '1010'])
def test_run_lengths_round_trip(mask):
    mask = np.array([c == '1' for c in mask]).reshape(2, 2)
    found = decode_mask(dict(size=[2, 2], counts=run_lengths(mask)))
    np.testing.assert_array_equal(found, mask)


def test_pycocotools_reads_the_annotations(build, capsys):
    pytest.importorskip('pycocotools')
    from pycocotools.coco import COCO

    coco = COCO(str(build / 'scenes/annotations/instances_train.json'))
    for annotation in coco.loadAnns(coco.getAnnIds()):
        mask = coco.annToMask(annotation).astype(bool)
        np.testing.assert_array_equal(mask, decode_mask(annotation['segmentation']))


def test_mmdet_reads_boxes_and_masks(build):
    pytest.importorskip('mmdet')
    from mmdet.datasets import CocoDataset
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    pipeline = [
        dict(type='mmdet.LoadImageFromFile'),
        dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True),
    ]
    dataset = CocoDataset(
        data_root=str(build / 'scenes'),
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        metainfo=dict(classes=tuple('0123456789')),
        pipeline=pipeline,
    )
    assert len(dataset) == SMALL['scenes_val']
    for index in range(len(dataset)):
        data = dataset[index]
        stem = Path(data['img_path']).name
        labels = decode(build / 'scenes/segmentation/val' / stem)
        masks = data['gt_masks'].masks.astype(bool)
        assert len(masks) == len(data['gt_bboxes_labels']) == len(data['gt_bboxes'])
        for mask, label in zip(masks, data['gt_bboxes_labels'], strict=True):
            assert (labels[mask] == label + 2).all()
        assert masks.sum() == (labels > 1).sum()


def test_mmpretrain_reads_the_clevr_labels(build):
    from mmpretrain.datasets import MultiTaskDataset

    dataset = MultiTaskDataset(
        ann_file='clevr_val.json',
        data_root=str(build / 'scenes'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='mmpretrain.PackMultiTaskInputs', multi_task_fields=['gt_label']),
        ],
    )
    assert len(dataset) == SMALL['scenes_val']
    assert dataset[0]['inputs'].shape == (3, 48, 48)
    assert dataset[0]['data_samples'].tasks == {'count', 'distance'}


def test_same_build_is_left_alone(build):
    before = snapshot(build)
    assert not make_digit_scenes(build, **SMALL)
    assert snapshot(build) == before


def test_other_builds_and_folders_are_refused(build, tmp_path):
    before = snapshot(build)
    with pytest.raises(ValueError, match='other parameters.*choose another folder'):
        make_digit_scenes(build, **{**SMALL, 'seed': 1})
    assert snapshot(build) == before
    (tmp_path / 'thesis.tex').write_text('precious')
    with pytest.raises(ValueError, match='holds no DigitScenes'):
        make_digit_scenes(tmp_path, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ['thesis.tex']


def test_an_empty_folder_is_filled_and_a_larger_build_begins_alike(build, tmp_path):
    larger = {**SMALL, 'train': 50, 'scenes_val': 9}
    assert make_digit_scenes(tmp_path, **larger)
    for path in [p for p in build.rglob('*.png')]:
        other = tmp_path / path.relative_to(build)
        assert other.read_bytes() == path.read_bytes()


def test_a_run_that_fails_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(digit_files, '_write_scenes', lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_digit_scenes(tmp_path / 'out', **SMALL)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'wrong', [dict(size=7), dict(train=0), dict(scene_size=20), dict(seed=2**32)]
)
def test_parameters_out_of_range(tmp_path, wrong):
    with pytest.raises(ValueError, match=f'{next(iter(wrong))} must be'):
        make_digit_scenes(tmp_path / 'out', **{**SMALL, **wrong})
    assert not list(tmp_path.iterdir())


def test_tool_writes_once_says_so_and_refuses(tmp_path, capsys):
    tool = Path(__file__).parents[2] / 'tools/make_digitscenes.py'
    spec = importlib.util.spec_from_file_location('make_digitscenes', tool)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    out = str(tmp_path / 'out')
    args = [out, '--size=16', '--train=10', '--val=10', '--scenes-train=1']
    args += ['--scenes-val=1', '--scene-size=48']
    module.main(args)
    assert capsys.readouterr().out.startswith('wrote')
    before = snapshot(out)
    module.main(args)
    assert capsys.readouterr().out.startswith('nothing to do')
    assert snapshot(out) == before
    with pytest.raises(ValueError, match='other parameters'):
        module.main([*args, '--seed=5'])
    assert vars(module.parse_args([]))['train'] == 4000
