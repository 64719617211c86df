"""Mistakes in the folders of data sets, and what the check must say about each."""

import json
import shutil

import cv2
import numpy as np


def flatten(root):
    """The classic mistake: the archive of val unpacked and nothing else done."""
    for path in (root / 'val').glob('*/*'):
        path.rename(root / 'val' / path.name)
    for folder in (root / 'val').iterdir():
        if folder.is_dir():
            folder.rmdir()


def flatten_one(root):
    path = next((root / 'val').glob('*/*'))
    path.rename(root / 'val' / path.name)


def only_archives(root):
    for folder in (root / 'train').iterdir():
        shutil.rmtree(folder)
        folder.with_suffix('.tar').write_bytes(b'')


def rename_class(root):
    (root / 'val/n02105855').rename(root / 'val/n00000001')


def empty_class(root):
    (root / 'train/n00000001').mkdir()
    (root / 'val/n00000001').mkdir()


def nest(root):
    inner = root / 'unpacked'
    inner.mkdir()
    for path in list(root.iterdir()):
        if path != inner:
            path.rename(inner / path.name)


def cut(path):
    """Keep the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def list_val(change=lambda lines: lines):
    """Add meta/val.txt with the right labels, then changed ones."""

    def apply(root):
        names = sorted(path.name for path in (root / 'val').iterdir())
        lines = [
            f'{path.relative_to(root / "val")} {names.index(path.parent.name)}'
            for path in sorted((root / 'val').glob('*/*'))
        ]
        (root / 'meta').mkdir()
        (root / 'meta/val.txt').write_text('\n'.join(change(lines)) + '\n')

    return apply


def edit(name, *changes):
    """Replace text in a file."""

    def apply(root):
        text = (root / name).read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        (root / name).write_text(text)

    return apply


def remove(name):
    def apply(root):
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return apply


def edit_coco(function, name='annotations/instances_val2017.json'):
    """Change the content of an annotation file."""

    def apply(root):
        content = json.loads((root / name).read_text())
        function(content)
        (root / name).write_text(json.dumps(content))

    return apply


def write_map(value=None, size=None, channels=None, name='ADE_valid_00000002'):
    """Write a map with one label, or of another size or number of channels."""

    def apply(root):
        path = root / f'annotations/validation/{name}.png'
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert labels is not None
        if value is not None:
            labels[:] = value
        if size is not None:
            labels = np.zeros(size, np.uint8)
        if channels is not None:
            labels = np.repeat(labels[..., None], channels, axis=-1)
        assert cv2.imwrite(str(path), labels)

    return apply


def cut_image(name):
    return lambda root: cut(root / name)


VAL_JSON = 'annotations/instances_val2017.json'
# data set, change to a good folder, two parts of the line that must follow
MISTAKES = [
    ('imagenet', flatten, 'val: 3 files and no class folders', 'meta/val.txt'),
    ('imagenet', flatten_one, '1 files beside the class folders', 'meta/val.txt'),
    ('imagenet', only_archives, 'train: 3 files and no class folders', 'unpack'),
    ('imagenet', rename_class, 'label 4 classes differently', '1 only in train'),
    ('imagenet', empty_class, 'hold images: not so for 1 of 4', 'n00000001'),
    ('imagenet', nest, 'val is missing', 'unpacked: move that up'),
    ('imagenet', remove('val'), 'val is missing', 'unpack the archives'),
    (
        'imagenet',
        cut_image('val/n01440764/val_0_0.jpg'),
        'val: sampled images decode: not so for 1 of 3',
        'val_0_0.jpg',
    ),
    (
        'imagenet',
        list_val(lambda lines: [lines[0], lines[1][:-1] + '2', lines[2][:-1] + '1']),
        'label 2 classes differently, first n01443537',
        'the lists disagree',
    ),
    (
        'imagenet',
        list_val(lambda lines: [line[:-1] + str(int(line[-1]) + 1) for line in lines]),
        'labels, counted from 0, are classes: not so for 1 of 3',
        '(label 3)',
    ),
    (
        'imagenet',
        list_val(lambda lines: ['n01440764/other.JPEG 0', *lines[1:]]),
        'every listed image exists: not so for 1 of 3',
        'other.JPEG',
    ),
    (
        'imagenet',
        list_val(lambda lines: ['nonsense']),
        'val: reading with ImageNet',
        '',
    ),
    ('inat21', rename_class, 'label 4 classes differently', 'need the same ones'),
    ('inat21', remove('val/n01443537'), '2, published 3', 'train.tar.gz'),
    (
        'inat21',
        remove('val/n01443537'),
        'label 2 classes',
        '1 only in train, first n014',
    ),
    ('cub', remove('images.txt'), 'images.txt is missing', 'CUB_200_2011.tgz'),
    ('cub', nest, 'images is missing', 'unpacked: move that up'),
    (
        'cub',
        remove('images/002.Bird/Bird_0004.jpg'),
        'test: every listed image exists: not so for 1 of 3',
        'Bird_0004.jpg',
    ),
    (
        'cub',
        edit('image_class_labels.txt', ('6 3', '6 4')),
        'test: labels, counted from 0, are classes: not so for 1 of 3',
        '(label 3)',
    ),
    ('cub', edit('image_class_labels.txt', ('5 3', '5 2')), 'train: classes: 2', '3'),
    ('cub', edit('train_test_split.txt', ('6 0\n', '')), 'AssertionError', 'tgz'),
    ('cub', edit('images.txt', ('1 001', '1')), 'reading with CUB', 'ValueError'),
    (
        'cars',
        remove('devkit/cars_test_annos_withlabels.mat'),
        'cars_test_annos_withlabels.mat is missing',
        'a file of their own',
    ),
    (
        'cars',
        lambda root: (root / 'devkit/cars_train_annos.mat').write_text('<html>' * 90),
        'train: reading with StanfordCars fails',
        'ParseError',
    ),
    ('cars', remove('cars_train'), 'cars_train is missing', 'archive'),
    ('cars', remove('cars_test/00002.jpg'), 'test: every listed image', '00002.jpg'),
    ('coco', remove(VAL_JSON), f'{VAL_JSON} is missing', 'annotations_trainval2017'),
    ('coco', cut_image(VAL_JSON), 'parsing with pycocotools fails', 'JSONDecodeError'),
    (
        'coco',
        remove('val2017/000000000002.jpg'),
        'val2017: every image of instances_val2017.json exists: not so for 1 of 3',
        '000000000002.jpg',
    ),
    (
        'coco',
        lambda root: (root / 'val2017').rename(root / 'images'),
        'val2017 is missing',
        'val2017.zip',
    ),
    (
        'coco',
        edit_coco(lambda content: content['annotations'][1].update(id=1)),
        'annotation ids are unique: not so for 1 of 5',
        'first 1',
    ),
    (
        'coco',
        edit_coco(lambda content: content['annotations'][1].update(segmentation=[])),
        "1 of 5 annotations (first 2) have no or an empty 'segmentation'",
        'with_mask',
    ),
    (
        'coco',
        edit_coco(lambda content: content['annotations'][1].pop('segmentation')),
        "1 of 5 annotations (first 2) have no or an empty 'segmentation'",
        'with_mask',
    ),
    (
        'coco',
        edit_coco(lambda content: content['annotations'][1].update(image_id=5)),
        'annotations name a known image: not so for 1 of 5',
        'first annotation 2',
    ),
    (
        'coco',
        edit_coco(lambda content: content['annotations'][1].update(category_id=91)),
        'annotations name a known category: not so for 1 of 5',
        'first annotation 2',
    ),
    (
        'coco',
        edit_coco(lambda content: content['categories'].append(dict(id=91, name='x'))),
        'categories: 81, published 80',
        'remove',
    ),
    (
        'coco',
        edit_coco(lambda content: content['categories'][0].update(name='human')),
        'names or order of the categories',
        '',
    ),
    (
        'coco',
        edit_coco(lambda c: c.update(annotations=[])),
        'no annotations',
        'instances',
    ),
    (
        'coco',
        edit_coco(lambda content: content['images'][0].update(width=48, height=70)),
        'images are as large as listed: not so for 1 of 3',
        '(48, 70), listed (70, 48)',
    ),
    (
        'coco',
        edit_coco(lambda content: [a.pop('area') for a in content['annotations']]),
        'reading with mmdet fails',
        "KeyError: 'area'",
    ),
    (
        'ade20k',
        remove('annotations/training'),
        'annotations/training is missing',
        'zip',
    ),
    (
        'ade20k',
        remove('annotations/training/ADE_train_00000003.png'),
        'annotations/training: every image has a map: not so for 1 of 3',
        'ADE_train_00000003.png',
    ),
    ('ade20k', write_map(151), 'labels are 0 to 150: not so for 1 of 3', '(label 151)'),
    ('ade20k', write_map(255), 'labels are 0 to 150: not so for 1 of 3', '(label 255)'),
    ('ade20k', write_map(size=(40, 64)), 'maps fit their images: not so', '(40, 64)'),
    ('ade20k', write_map(channels=3), 'maps fit their images: not so', 'one channel'),
    (
        'ade20k',
        cut_image('annotations/validation/ADE_valid_00000002.png'),
        'maps fit their images: not so for 1 of 3',
        'ADE_valid_00000002.png',
    ),
    ('clevr', remove('scenes'), 'CLEVR_train_scenes.json is missing', 'CLEVR_v1.0.zip'),
    (
        'clevr',
        remove('images/train/CLEVR_train_000004.png'),
        'train: every image of the scene file exists: not so for 1 of 20',
        'CLEVR_train_000004.png',
    ),
    (
        'clevr',
        edit('scenes/CLEVR_val_scenes.json', ('val_000002.png', 'val_2.png')),
        'val: file names are the official: not so for 1 of 5',
        'CLEVR_val_2.png',
    ),
    (
        'clevr',
        edit_coco(
            lambda content: content['scenes'][2].update(objects=[]),
            'scenes/CLEVR_val_scenes.json',
        ),
        'test: reading with CLEVR fails',
        'CLEVR_val_000002.png: 0 objects',
    ),
    ('digitscenes', remove('digitscenes.json'), 'json is missing', 'make_digitscenes'),
    ('digitscenes', remove('digits/val/3'), 'label 7 classes differently', 'first 3'),
    ('digitscenes', remove('digits/val/3'), 'class folders: 9, published 10', 'delete'),
    ('digitscenes', remove('scenes/val/000001.png'), 'every image of count', '000001'),
    (
        'digitscenes',
        remove('scenes/segmentation/train/000000.png'),
        'scenes/segmentation/train: every image has a map: not so for 1 of 4',
        '000000.png',
    ),
    (
        'digitscenes',
        edit('scenes/clevr_val.json', ('"tasks": ["count", ', '"tasks": [')),
        'clevr_val.json: reading count fails',
        "no task 'count'",
    ),
    ('digitscenes', cut_image('digitscenes.json'), 'reading digitscenes.json', ''),
]
