"""Write DigitScenes to a folder: one build feeds every pipeline.

Layout (`{split}` is `train` or `val`; all pictures are PNG):

```
digits/{split}/{0..9}/*.png                    one digit each: mmpretrain CustomDataset
digit_masks/{split}/{0..9}/*.png               its ink, 1, and the ground, 0
scenes/{split}/*.png                           several digits each
scenes/annotations/instances_{split}.json      COCO instances: mmdet CocoDataset
scenes/segmentation/{split}/*.png              ADE20K-style maps, see segmentation_map
scenes/clevr_{split}.json                      mmpretrain MultiTaskDataset: `count`
                                               (0 to 7) and `distance` (0 near to 5)
digitscenes.json                               parameters and checksum of the build
```

COCO: category id = digit + 1, masks are the visible pixels as uncompressed run
lengths, boxes and areas are those of the masks. Classes are named '0' to '9'.
"""

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from dseq_mm.data.digit_scenes import (
    CLASSES,
    COUNT_CLASSES,
    DISTANCE_CLASSES,
    SPLITS,
    Scene,
    load_scans,
    render_digit,
    render_scene,
    sample_rng,
    segmentation_map,
)
from dseq_mm.utils.files import read_json, write_json

MANIFEST = 'digitscenes.json'
_VERSION = 2  # raise it whenever the same parameters give other pictures or files


def make_digit_scenes(
    out: str | Path,
    size: int = 24,
    train: int = 4000,
    val: int = 1000,
    scene_size: int = 96,
    scenes_train: int = 200,
    scenes_val: int = 50,
    seed: int = 0,
) -> bool:
    """Write a build of DigitScenes, unless `out` holds the very same build.

    The files are written beside `out` and moved there at the end, so a run that is
    killed leaves no half-made build, at worst a hidden `.partial` folder. The first
    pictures of a larger build are those of a smaller one with the same seed and sizes.

    Args:
        out: Folder to make; missing, empty, or holding a build.
        size: Height and width of a digit picture in pixels, at least 8.
        train: Digit pictures for training, at least 10.
        val: Digit pictures for validation, at least 10.
        scene_size: Height and width of a scene in pixels, at least 48.
        scenes_train: Scenes for training.
        scenes_val: Scenes for validation.
        seed: Seed of all pictures, 0 to 2**32 - 1.

    Returns:
        Whether files were written.

    Raises:
        ImportError: scikit-learn, which brings the scans, is not installed.
        ValueError: A parameter is out of range, or `out` holds something else.
    """
    parameters = dict(size=size, train=train, val=val, scene_size=scene_size, seed=seed)
    parameters.update(scenes_train=scenes_train, scenes_val=scenes_val)
    _check_parameters(parameters)
    out = Path(out).absolute()
    if _holds_build(out, parameters):
        return False
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f'.{out.name}.{os.getpid()}.partial')
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _write_build(partial, parameters)
        if _holds_build(out, parameters):  # another run was quicker
            return False
        if out.exists():
            out.rmdir()  # it is empty
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return True


def _write_build(out: Path, parameters: dict) -> None:
    digest, seed = hashlib.sha256(), parameters['seed']
    for split in SPLITS:
        scans, scenes = load_scans(split), parameters[f'scenes_{split}']
        digits, size = parameters[split], parameters['size']
        _write_digits(out, split, scans, size, digits, seed, digest)
        scene_size = parameters['scene_size']
        _write_scenes(out, split, scans, scene_size, scenes, seed, digest)
    manifest = dict(version=_VERSION, parameters=parameters, sha256=digest.hexdigest())
    write_json(out / MANIFEST, manifest, indent=None)


def read_manifest(out: str | Path) -> dict | None:
    """Return what `out` says about its build.

    Args:
        out: Folder of a build.

    Returns:
        `version`, `parameters` and `sha256` (over the decoded arrays of all pictures,
        segmentation maps included, in the order of writing), or None where there is
        no build.
    """
    path = Path(out) / MANIFEST
    return read_json(path) if path.is_file() else None


def run_lengths(mask: np.ndarray) -> list[int]:
    """Encode a mask as COCO's uncompressed run lengths.

    Args:
        mask: (H, W) bool.

    Returns:
        Lengths of alternating runs in column-major order, zeros first.
    """
    flat = mask.ravel(order='F')  # (H, W) -> (W * H,), column by column
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff([0, *edges, flat.size]).tolist()
    return [0, *lengths] if flat[0] else lengths


def coco_annotations(scene: Scene, image_id: int, first_id: int) -> list[dict]:
    """Return the COCO instances of one scene.

    Args:
        scene: The scene.
        image_id: Id of its image.
        first_id: Id of its first instance.

    Returns:
        One dict per digit.
    """
    annotations: list[dict] = []
    for mask, label in zip(scene.masks, scene.labels.tolist(), strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        x, y = int(columns[0]), int(rows[0])
        annotations.append(
            dict(
                id=first_id + len(annotations),
                image_id=image_id,
                category_id=label + 1,
                bbox=[x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
                area=int(mask.sum()),
                segmentation=dict(size=list(mask.shape), counts=run_lengths(mask)),
                iscrowd=0,
            )
        )
    return annotations


def _check_parameters(parameters: dict) -> None:
    least = dict(size=8, train=10, val=10, scene_size=48, scenes_train=0)
    least.update(scenes_val=0, seed=0)
    for name, value in parameters.items():
        if value < least[name]:
            raise ValueError(f'{name} must be at least {least[name]}, got {value}')
    if parameters['seed'] >= 2**32:
        raise ValueError(f'seed must be below 2**32, got {parameters["seed"]}')


def _holds_build(out: Path, parameters: dict) -> bool:
    """Whether `out` holds this build; ValueError if it holds anything else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    manifest = read_manifest(out)
    if manifest is None:
        raise ValueError(
            f'{out} is not empty and holds no DigitScenes: choose another folder'
        )
    found = {**manifest['parameters'], 'version': manifest['version']}
    wanted = {**parameters, 'version': _VERSION}
    if found != wanted:
        raise ValueError(
            f'{out} holds DigitScenes of other parameters ({found}, wanted {wanted}): '
            'choose another folder or delete that one'
        )
    return True


def _write_digits(root: Path, split, scans, size, number, seed, digest) -> None:
    """Write images and masks of one split; the classes are balanced."""
    images, labels = scans
    folders = [root / kind / split for kind in ('digits', 'digit_masks')]
    for name in CLASSES:
        for folder in folders:
            (folder / name).mkdir(parents=True)
    by_class = [images[labels == label] for label in range(10)]
    for index in range(number):
        rng = sample_rng(seed, 'digits', split, index)
        own = by_class[index % 10]
        scan = own[rng.randint(0, len(own), dtype=np.int64)]
        for folder, picture in zip(folders, render_digit(scan, size, rng), strict=True):
            path = folder / CLASSES[index % 10] / f'{index:06d}.png'
            _write_png(path, picture.astype(np.uint8), digest)


def _write_scenes(
    root: Path,
    split: str,
    scans: tuple[np.ndarray, np.ndarray],
    size: int,
    number: int,
    seed: int,
    digest,
) -> None:
    """Write the scenes of one split with all their labels."""
    folder = root / 'scenes'
    for name in (split, f'segmentation/{split}', 'annotations'):
        (folder / name).mkdir(parents=True, exist_ok=True)
    images, clevr = [], []
    instances: list[dict] = []
    for index in range(number):
        scene = render_scene(*scans, size, sample_rng(seed, 'scenes', split, index))
        name = f'{index:06d}.png'
        _write_png(folder / split / name, scene.image, digest)
        labels = segmentation_map(scene)
        _write_png(folder / 'segmentation' / split / name, labels, digest)
        images.append(dict(id=index + 1, file_name=name, width=size, height=size))
        instances += coco_annotations(scene, index + 1, len(instances) + 1)
        gt_label = dict(count=len(scene.labels), distance=scene.distance)
        clevr.append(dict(img_path=f'{split}/{name}', gt_label=gt_label))
    categories = [dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)]
    coco = dict(images=images, annotations=instances, categories=categories)
    write_json(folder / 'annotations' / f'instances_{split}.json', coco, indent=None)
    metainfo = dict(
        tasks=['count', 'distance'],
        num_classes=dict(count=COUNT_CLASSES, distance=DISTANCE_CLASSES),
    )
    write_json(
        folder / f'clevr_{split}.json',
        dict(metainfo=metainfo, data_list=clevr),
        indent=None,
    )


def _write_png(path: Path, image: np.ndarray, digest) -> None:
    Image.fromarray(image).save(path)
    digest.update(image.tobytes())
