"""Data sets of a few images in the folders and files of the real ones.

Each function writes one and returns the numbers that its check should expect.
"""

import json

import cv2
import numpy as np
import scipy.io

from tests.end_to_end.miniature import write_image

SIZE = (24, 32)


def class_folders(root, names=('n01440764', 'n01443537', 'n02105855')):
    """ImageNet or iNaturalist 2021: two images per class for train, one for val."""
    for split, count in (('train', 2), ('val', 1)):
        for label, name in enumerate(names):
            for index in range(count):
                path = root / split / name / f'{split}_{label}_{index}.jpg'
                write_image(path, SIZE, index)
    return dict(classes=len(names), train=2 * len(names), val=len(names))


def cub(root):
    """CUB-200-2011: three classes of two images, the second one for testing."""
    lines = dict(images=[], image_class_labels=[], train_test_split=[])
    for index in range(6):
        label, number = index // 2 + 1, index + 1
        name = f'{label:03d}.Bird/Bird_{number:04d}.jpg'
        write_image(root / 'images' / name, SIZE, index)
        lines['images'].append(f'{number} {name}')
        lines['image_class_labels'].append(f'{number} {label}')
        lines['train_test_split'].append(f'{number} {int(index % 2 == 0)}')
    for name, rows in lines.items():
        (root / f'{name}.txt').write_text('\n'.join(rows) + '\n')
    return dict(classes=3, train=3, test=3)


def save_cars(path, **columns):
    """Write an array of structs as the annotation files of Stanford Cars have it."""
    rows = list(zip(*columns.values(), strict=True))
    table = np.empty((1, len(rows)), dtype=[(name, object) for name in columns])
    for index, row in enumerate(rows):
        table[0, index] = row
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {'annotations': table})


def cars(root):
    """Stanford Cars in three folders: two classes."""
    for split, count in (('train', 4), ('test', 2)):
        names = [f'{index + 1:05d}.jpg' for index in range(count)]
        for index, name in enumerate(names):
            write_image(root / f'cars_{split}' / name, SIZE, index)
        suffix = '_withlabels' if split == 'test' else ''
        path = root / 'devkit' / f'cars_{split}_annos{suffix}.mat'
        save_cars(path, **{'class': [1 + i % 2 for i in range(count)], 'fname': names})
    return dict(classes=2, train=4, test=2)


def cars_in_one_folder(root):
    """Stanford Cars in its other layout."""
    names = [f'car_ims/{index + 1:06d}.jpg' for index in range(6)]
    for index, name in enumerate(names):
        write_image(root / name, SIZE, index)
    columns = {
        'relative_im_path': names,
        'class': [1, 2] * 3,
        'test': [0] * 4 + [1] * 2,
    }
    save_cars(root / 'cars_annos.mat', **columns)
    return dict(classes=2, train=4, test=2)


def clevr(root, train=20, val=5):
    """CLEVR: scenes of 3 to 10 objects with depths of 7 to 13, RGBA images."""
    for split, count in (('train', train), ('val', val)):
        random = np.random.RandomState(count)
        scenes = []
        for index in range(count):
            name = f'CLEVR_{split}_{index:06d}.png'
            path = root / 'images' / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = random.randint(0, 256, (*SIZE, 4)).astype(np.uint8)
            assert cv2.imwrite(str(path), pixels)
            objects = [
                dict(shape='cube', pixel_coords=[12, 9, float(depth)])
                for depth in random.uniform(7, 13, random.randint(3, 11))
            ]
            scenes.append(dict(split=split, image_filename=name, objects=objects))
        path = root / 'scenes' / f'CLEVR_{split}_scenes.json'
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(dict(info=dict(version='1.0'), scenes=scenes)))
    return dict(train=train, val=val)
