"""Data sets of a few images in the folders and files of the real ones."""

import json
from pathlib import Path

import cv2
import numpy as np

# The official category ids of COCO leave these out.
COCO_GAPS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
SIZES = ((48, 70), (64, 40), (56, 56))  # height and width, none of them square but one


def write_image(path, size, seed=0):
    """A smooth random picture; its folder is made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(seed).randint(0, 256, (*size, 3)).astype(np.uint8)
    assert cv2.imwrite(str(path), cv2.blur(pixels, (7, 7)))


def coco(root, classes):
    """COCO 2017: polygons, a crowd, an image without objects, empty categories."""
    root = Path(root)
    ids = [i for i in range(1, 91) if i not in COCO_GAPS]
    categories = [
        dict(id=i, name=name, supercategory='thing')
        for i, name in zip(ids, classes, strict=True)
    ]
    for split, count in (('train', 4), ('val', 3)):
        images, annotations = [], []
        for index in range(count):
            height, width = SIZES[index % 3]
            image_id, name = 100 + 7 * index, f'{index:012d}.jpg'
            write_image(root / f'{split}2017' / name, (height, width), index)
            images.append(dict(id=image_id, file_name=name, height=height, width=width))
            if index == 1:
                continue  # an image without objects
            for k in range(2):
                x, y, w, h = 4 + 12 * k, 5, 18, 22
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=image_id,
                        category_id=ids[(0, 79)[k]],
                        bbox=[x, y, w, h],
                        area=w * h,
                        iscrowd=0,
                        segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]],
                    )
                )
        counts = [0, 30, SIZES[0][0] * SIZES[0][1] - 30]
        annotations.append(
            dict(
                id=len(annotations) + 1,
                image_id=100,
                category_id=ids[0],
                bbox=[0, 0, 1, 30],
                area=30,
                iscrowd=1,
                segmentation=dict(counts=counts, size=list(SIZES[0])),
            )
        )
        path = root / 'annotations' / f'instances_{split}2017.json'
        path.parent.mkdir(exist_ok=True)
        content = dict(images=images, annotations=annotations, categories=categories)
        path.write_text(json.dumps(content))


def ade20k(root, sizes=SIZES):
    """ADEChallengeData2016: maps of 0 (other) to 150."""
    root = Path(root)
    for split in ('training', 'validation'):
        for index, size in enumerate(sizes):
            name = f'ADE_{split[:5]}_{index + 1:08d}'
            write_image(root / 'images' / split / f'{name}.jpg', size, index)
            labels = np.zeros(size, np.uint8)
            labels[:, : size[1] // 2] = 1 + index
            labels[: size[0] // 2] = 150
            labels[:2] = 0
            path = root / 'annotations' / split / f'{name}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), labels)


def imagenet(root, count=8):
    """ImageNet-1K: 1,000 class folders, most of them empty here."""
    for split in ('train', 'val'):
        for label in range(1000):
            (Path(root) / split / f'n{label:08d}').mkdir(parents=True)
        for index in range(count):
            folder = Path(root) / split / f'n{index * 100:08d}'
            write_image(folder / f'{split}_{index}.JPEG', SIZES[index % 3], index)
