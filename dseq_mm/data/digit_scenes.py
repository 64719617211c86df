"""DigitScenes: pictures made from scikit-learn's bundled handwritten digits.

Pure functions: arrays in, arrays out, no files (`digit_files.py` writes them).
All arithmetic is on integers and every draw comes from `np.random.RandomState`,
whose stream is frozen, so a picture has the same pixels on every machine.

Shapes: H, W the height and width of a picture in pixels; n the digits of a scene;
S the scans of a split. Pictures are (H, W, 3) RGB.
"""

from dataclasses import dataclass

import numpy as np

CLASSES = tuple('0123456789')
SPLITS = ('train', 'val')
COUNT_CLASSES = 8  # 0 to 7 digits in a scene
DISTANCE_CLASSES = 6  # 0: the largest digit is near, 5: far (or there is none)
INK = 128  # a pixel belongs to a digit where at least this of 255 is ink

_VAL_EVERY = 5  # within each class, each fifth scan is for validation
_EMPTY_ONE_IN = 50  # one scene in so many has no digit
_PLACES = 20  # places tried for a digit before it is left out of a scene


@dataclass(frozen=True)
class Scene:
    """Several digits over a ground, with what is known about them.

    Attributes:
        image: (H, W, 3) uint8 RGB picture.
        masks: (n, H, W) bool, the *visible* ink of each digit, nearest first.
            They are disjoint and none is empty.
        labels: (n,) int64 digits 0 to 9.
        distance: Class of the nearest (largest) digit, 0 (near) to 5 (far).
    """

    image: np.ndarray
    masks: np.ndarray
    labels: np.ndarray
    distance: int


def load_scans(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the original scans of one split.

    Within each class the scans are taken in the data set's order and each fifth
    goes to `'val'`, so no scan is in both (writers may be: the data set does not
    say who wrote what).

    Args:
        split: `'train'` or `'val'`.

    Returns:
        Scans (S, 8, 8) int64 in 0..16, and their labels (S,) int64.

    Raises:
        ImportError: scikit-learn, which brings the scans, is not installed.
        ValueError: `split` is unknown.
    """
    if split not in SPLITS:
        raise ValueError(f'split must be one of {SPLITS}, got {split!r}')
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            'DigitScenes are made from the digits that come with scikit-learn: '
            'run `pip install scikit-learn`'
        ) from error
    digits = load_digits()
    labels = digits.target.astype(np.int64)
    position = np.zeros_like(labels)  # of a scan within its class
    for label in range(10):
        own = labels == label
        position[own] = np.arange(own.sum())
    chosen = (position % _VAL_EVERY == _VAL_EVERY - 1) == (split == 'val')
    return digits.images.astype(np.int64)[chosen], labels[chosen]


def sample_rng(seed: int, kind: str, split: str, index: int) -> np.random.RandomState:
    """Return the generator of one picture, independent of all other pictures.

    Args:
        seed: Seed of the build, 0 to 2**32 - 1.
        kind: `'digits'` or `'scenes'`.
        split: `'train'` or `'val'`.
        index: Number of the picture within its split.

    Returns:
        A fresh generator.
    """
    key = [seed, ('digits', 'scenes').index(kind), SPLITS.index(split), index]
    return np.random.RandomState(key)


def resize(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize bilinearly in integer arithmetic (pixel centers, edges repeated).

    Args:
        values: (h, w) non-negative integers.
        height: Rows of the result.
        width: Columns of the result.

    Returns:
        (height, width) int64.
    """
    (h, w), values = values.shape, values.astype(np.int64)
    low, high, weight = _taps(h, height)
    rows = values[low] * (2 * height - weight)[:, None] + values[high] * weight[:, None]
    low, high, weight = _taps(w, width)
    both = rows[:, low] * (2 * width - weight) + rows[:, high] * weight
    return both // (4 * height * width)


def draw_ground(
    rng: np.random.RandomState,
    size: int,
    light: bool,
    tint: int = 60,
    texture: tuple[int, int] = (28, 20),
) -> np.ndarray:
    """Draw a textured ground: tinted value noise of two scales plus grain.

    Args:
        rng: Generator to draw from.
        size: Height and width in pixels.
        light: Whether the ground is light (for dark ink) or dark.
        tint: Strength of the tint, see `draw_color`.
        texture: Strength of the coarse and of the fine noise, in gray levels.

    Returns:
        (size, size, 3) int64 in 0..255.
    """
    color = draw_color(rng, light, tint)
    noise = np.zeros((size, size), np.int64)
    for cells, strength in zip((3, 8), texture, strict=True):
        coarse = _integers(rng, 0, 2 * strength + 1, (cells, cells))
        noise += resize(coarse, size, size) - strength
    grain = _integers(rng, -6, 7, (size, size, 3))
    return np.clip(color + noise[:, :, None] + grain, 0, 255)


def draw_color(rng: np.random.RandomState, light: bool, tint: int = 60) -> np.ndarray:
    """Draw a light or a dark color of any tint; the two are clearly apart.

    Args:
        rng: Generator to draw from.
        light: Which of the two.
        tint: Gray levels by which a channel may differ from the shade.

    Returns:
        (3,) int64 RGB in 0..255.
    """
    shade = _integers(rng, 160, 226, ()) if light else _integers(rng, 30, 96, ())
    tints = _integers(rng, -tint, tint + 1, 3)
    return np.clip(shade + tints - tints.sum() // 3, 0, 255)


def paint(
    image: np.ndarray, ink: np.ndarray, color: np.ndarray, top: int, left: int
) -> None:
    """Paint a square of ink over a picture, in place.

    Args:
        image: (H, W, 3) int64 picture.
        ink: (s, s) int64 opacity in 0..255.
        color: (3,) int64 color of the ink.
        top: Row of the square's first pixel.
        left: Column of the square's first pixel.
    """
    size = len(ink)
    patch = image[top : top + size, left : left + size]
    opacity = ink[:, :, None]  # (s, s) -> (s, s, 1)
    patch[:] = (patch * (255 - opacity) + color * opacity + 127) // 255


def scan_ink(scan: np.ndarray, size: int) -> np.ndarray:
    """Enlarge one scan to a square of ink.

    Args:
        scan: (8, 8) integers in 0..16.
        size: Height and width of the result in pixels.

    Returns:
        (size, size) int64 opacity in 0..255.
    """
    return resize(scan * 255 // 16, size, size)


def render_digit(
    scan: np.ndarray, size: int, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Render one light digit that fills 5/6 to all of the picture.

    Ground and ink are nearly gray and the texture is mild: a network of a few minutes
    on one core shall learn the digit and not the tint.

    Args:
        scan: (8, 8) integers in 0..16.
        size: Height and width of the picture in pixels.
        rng: Generator of this picture.

    Returns:
        (size, size, 3) uint8 RGB picture, and (size, size) bool, the ink of the digit.
    """
    image = draw_ground(rng, size, light=False, tint=12, texture=(20, 12))
    side = int(_integers(rng, 5 * size // 6, size + 1, ()))
    top, left = _integers(rng, 0, size - side + 1, 2)
    ink, mask = scan_ink(scan, side), np.zeros((size, size), bool)
    paint(image, ink, draw_color(rng, True, tint=12), top, left)
    mask[top : top + side, left : left + side] = ink >= INK
    return image.astype(np.uint8), mask


def render_scene(
    scans: np.ndarray, labels: np.ndarray, size: int, rng: np.random.RandomState
) -> Scene:
    """Render a scene of 0 to 7 digits; near digits are larger and hide far ones.

    The size of the nearest digit is drawn first, evenly over the distance classes;
    the others are at most as large. A digit stands where at least half of its ink
    is visible, and is left out when no such place was found.

    Args:
        scans: (S, 8, 8) scans to choose from, values in 0..16.
        labels: (S,) their labels.
        size: Height and width of the scene in pixels.
        rng: Generator of this scene.

    Returns:
        The scene.
    """
    light = bool(_integers(rng, 0, 2, ()))
    image = draw_ground(rng, size, light)
    empty = _integers(rng, 0, _EMPTY_ONE_IN, ()) == 0
    count = 0 if empty else int(_integers(rng, 1, COUNT_CLASSES, ()))
    smallest, largest = scene_sizes(size)
    chosen, inks, colors, places, masks = [], [], [], [], []
    covered = np.zeros((size, size), bool)
    for side in _digit_sides(rng, count, smallest, largest):
        scan = _pick(rng, np.flatnonzero(labels == _integers(rng, 0, 10, ())))
        ink, color = scan_ink(scans[scan], side), draw_color(rng, not light)
        place, mask = _find_place(rng, ink >= INK, covered)
        if mask is None:
            continue
        covered |= mask
        chosen.append(scan)
        inks.append(ink)
        colors.append(color)
        places.append(place)
        masks.append(mask)
    for ink, color, place in zip(inks[::-1], colors[::-1], places[::-1], strict=True):
        paint(image, ink, color, *place)  # far ones first
    return Scene(
        image=image.astype(np.uint8),
        masks=np.array(masks, bool).reshape(-1, size, size),
        labels=labels[np.array(chosen, np.int64)],
        distance=distance_class(len(inks[0]) if inks else smallest, size),
    )


def scene_sizes(size: int) -> tuple[int, int]:
    """Return the smallest and the largest side of a digit in a scene.

    Args:
        size: Height and width of the scene in pixels.

    Returns:
        Two lengths in pixels.
    """
    return size // 6, size // 2


def distance_class(side: int, size: int) -> int:
    """Return the distance class of a digit: its size in six even bins.

    Args:
        side: Height and width of the digit in pixels.
        size: Height and width of the scene in pixels.

    Returns:
        0 (the largest, so the nearest) to 5.
    """
    smallest, largest = scene_sizes(size)
    bins = (side - smallest) * DISTANCE_CLASSES // (largest - smallest + 1)
    return int(DISTANCE_CLASSES - 1 - bins)


def segmentation_map(scene: Scene) -> np.ndarray:
    """Return the scene's labels as ADE20K stores them.

    0 is ADE20K's "other" (never used here), 1 the ground, 2 to 11 the digits 0 to
    9; with `reduce_zero_label=True` they become ignored, 0, and 1 to 10.

    Args:
        scene: The scene.

    Returns:
        (H, W) uint8.
    """
    labels = np.ones(scene.image.shape[:2], np.uint8)
    for mask, label in zip(scene.masks, scene.labels, strict=True):
        labels[mask] = label + 2
    return labels


def _taps(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neighbors of each target pixel, and the second one's weight of 2 * target."""
    # center (i + 1/2) * source / target - 1/2, times 2 * target
    center = (2 * np.arange(target) + 1) * source - target
    low, weight = np.divmod(center, 2 * target)
    return low.clip(0, source - 1), (low + 1).clip(0, source - 1), weight


def _integers(rng: np.random.RandomState, low: int, high: int, shape) -> np.ndarray:
    """Draw from low..high-1; the fixed type keeps the stream alike everywhere."""
    return rng.randint(low, high, shape, dtype=np.int64)


def _pick(rng: np.random.RandomState, values: np.ndarray):
    """Draw one of the values, evenly."""
    return values[_integers(rng, 0, len(values), ())]


def _digit_sides(rng, count: int, smallest: int, largest: int) -> list[int]:
    """Draw the sides of a scene's digits, in pixels, largest first."""
    if not count:
        return []
    step = int(_integers(rng, 0, DISTANCE_CLASSES, ()))
    sides = np.arange(smallest, largest + 1)
    bins = (sides - smallest) * DISTANCE_CLASSES // len(sides)
    nearest = int(_pick(rng, sides[bins == step]))
    others = _integers(rng, smallest, nearest + 1, count - 1)
    return [nearest, *sorted(others.tolist(), reverse=True)]


def _find_place(rng, ink: np.ndarray, covered: np.ndarray):
    """Return (top, left) and the visible mask (H, W), or two Nones."""
    side, size = len(ink), len(covered)
    for top, left in _integers(rng, 0, size - side + 1, (_PLACES, 2)).tolist():
        mask = np.zeros_like(covered)
        mask[top : top + side, left : left + side] = ink
        visible = mask & ~covered
        if 2 * visible.sum() >= ink.sum() > 0:
            return (top, left), visible
    return None, None
