"""The search for regions in one image's saliency map (DSeq-JEPA, Sec. 3.2).

Plain loops, compiled by numba. Ties go to the lowest: level of thresholds, patch index
in growth and in the ranking.

Shape legend: ``B`` images, ``P`` patches of a grid in raster order, ``N`` regions.
Values, in ``[0, 1]``, levels, 0 to 255, and marks, all False between calls, are
``(P,)``, neighbors ``(P, 8)``. A segment is the array of its patches, in any order.
"""

import numpy as np

from ..compiled import compiled
from .rule import Source

_COMPONENT, _SPLIT, _SECONDARY = map(int, list(Source)[:3])
# Splits whose variances differ relatively by less than this tie.
_TIE = 1e-12
# Saliency is summed in multiples of 2 ** -40: exact up to 8,192 patches, in any order.
_UNITS = 2.0**40
# The bits of a key that are the patch.
_PATCH = (1 << 32) - 1


@compiled
def otsu_threshold(levels, segment, ceiling):
    """Compute Otsu's threshold of a segment; foreground lies above.

    Levels above the ceiling have no say. Zero where fewer than two occur, as in OpenCV.
    """
    count = np.zeros(256, np.int64)
    size = mass = 0
    for patch in segment:
        if levels[patch] <= ceiling:
            count[levels[patch]] += 1
            size += 1
            mass += levels[patch]
    variance = np.zeros(256)
    below = below_mass = level = 0
    while below < size:
        below += count[level]
        below_mass += level * count[level]
        distance = float(size * below_mass - below * mass)
        variance[level] = distance * distance / max(1, below * (size - below))
        level += 1
    first = variance.max() * (1 - _TIE)
    level = 0
    while variance[level] < first:
        level += 1
    return level


@compiled
def components_above(levels, segment, threshold, low, marks, neighbors):
    """List the 8-connected components, from ``low`` patches on, above a threshold."""
    for patch in segment:
        marks[patch] = levels[patch] > threshold
    found = np.empty(segment.size, np.int64)
    components = []
    start = done = count = 0
    for first in segment:
        if not marks[first]:
            continue
        marks[first] = False
        found[count] = first
        count += 1
        while done < count:
            for side in range(8):
                patch = neighbors[found[done], side]
                if marks[patch]:
                    marks[patch] = False
                    found[count] = patch
                    count += 1
            done += 1
        if count - start >= low:
            components.append(found[start:count])
        start = count
    return components


@compiled
def salience_keys(values):
    """Number patches, the most salient lowest, ties by index; the low bits are it."""
    bits = values.view(np.int32).astype(np.int64)  # floats are ordered as their bits
    return np.arange(values.size) - (bits << 32)


@compiled
def grow(keys, segment, size, marks, neighbors):
    """Cut a segment to a size: from its peak, always the most salient neighbor next."""
    border = np.empty(segment.size, np.int64)  # keys of what may be next, the best last
    border[0] = keys[segment[0]]
    for patch in segment:
        marks[patch] = True
        border[0] = min(border[0], keys[patch])
    marks[border[0] & _PATCH] = False
    kept = np.empty(size, np.int64)
    count = 1
    for step in range(size):
        count -= 1
        kept[step] = border[count] & _PATCH
        for side in range(8):
            patch = neighbors[kept[step], side]
            if marks[patch]:
                marks[patch] = False
                place = count
                while place > 0 and border[place - 1] < keys[patch]:
                    border[place] = border[place - 1]
                    place -= 1
                border[place] = keys[patch]
                count += 1
    for patch in segment:
        marks[patch] = False
    return kept


@compiled
def split_large(keys, levels, components, limits, marks, neighbors):
    """Turn components into candidates of an allowed size.

    One above the highest size is thresholded at its own Otsu; its pieces of at least
    the lowest size stay, and are split again if need be, ``N - 1`` times at most. One
    without such a piece is cut to the highest size by growth.

    Returns the candidates, and for each whether it is a whole component.
    """
    waiting = [(segment, 0) for segment in components]
    candidates, whole = components[:0], [True][:0]
    while len(waiting) > 0:
        segment, depth = waiting.pop()
        if segment.size <= limits.high or not limits.split:
            candidates.append(segment)
            whole.append(depth == 0)
            continue
        pieces = components[:0]
        if depth < limits.num_regions - 1:
            threshold = otsu_threshold(levels, segment, 255)
            state = limits.low, marks, neighbors
            pieces = components_above(levels, segment, threshold, *state)
        for piece in pieces:
            waiting.append((piece, depth + 1))
        if len(pieces) == 0:
            candidates.append(grow(keys, segment, limits.high, marks, neighbors))
            whole.append(False)
    return candidates, whole


@compiled
def rank_segments(values, segments):
    """Order segments by mean saliency: places in the list, the most salient first."""
    mean = np.zeros(len(segments))
    root = np.empty(len(segments), np.int64)
    for place, segment in enumerate(segments):
        root[place] = segment[0]
        for patch in segment:
            root[place] = min(root[place], patch)
            mean[place] += np.rint(np.float64(values[patch]) * _UNITS)
        mean[place] /= segment.size
    order = np.arange(mean.size)
    for place in range(mean.size):
        for other in range(place + 1, mean.size):
            one, two = order[place], order[other]
            if mean[one] < mean[two] or (
                mean[one] == mean[two] and root[two] < root[one]
            ):
                order[place], order[other] = two, one
    return order


@compiled
def search(values, limits, neighbors):
    """Find up to ``N - 1`` regions; returns them, and where each comes from.

    While regions are missing, the uncovered area is searched again. A search without
    success makes its threshold the ceiling of the next one: without the patches above
    it the threshold is lower. With ``r`` regions still to come, one may take all but
    ``r * low + 1`` of the free patches, and is cut if it has more.
    """
    levels = (values * np.float32(255)).astype(np.uint8)  # truncated, as released
    keys, marks = salience_keys(values), np.zeros(values.size, np.bool_)
    covered = marks.copy()
    free = np.arange(values.size)
    regions, sources = [free][:0], [_COMPONENT][:0]
    ceiling, missing = 255, limits.num_regions - 1
    for attempt in range(limits.num_regions if limits.secondary else 1):
        threshold = otsu_threshold(levels, free, ceiling)
        low = limits.least or limits.low
        components = components_above(levels, free, threshold, low, marks, neighbors)
        if limits.least:  # components of a lowest size, and nothing else
            return components, [_COMPONENT for _ in components]
        state = limits, marks, neighbors
        candidates, whole = split_large(keys, levels, components, *state)
        ceiling = 255 if len(candidates) > 0 else threshold
        room = free.size
        for place in rank_segments(values, candidates)[:missing]:
            missing -= 1
            region = candidates[place]
            size = min(region.size, room - missing * limits.low - 1)
            if size < region.size:
                region = grow(keys, region, size, marks, neighbors)
            room -= size
            for patch in region:
                covered[patch] = True
            regions.append(region)
            source = _COMPONENT if whole[place] else _SPLIT
            sources.append(_SECONDARY if attempt > 0 else source)
        if missing == 0:
            break
        if room < free.size:
            free = np.flatnonzero(~covered)
    return regions, sources


@compiled
def search_images(first, last, values, limits, neighbors, rank, source):
    """Search the maps ``(B, P)`` of some images for regions, and rank those.

    Writes the ranks, ``(B, P)``, and the sources, ``(B, N)``, of what it finds.
    """
    for image in range(first, last):
        regions, sources = search(values[image], limits, neighbors)
        order = rank_segments(values[image], regions)[: limits.num_regions - 1]
        for place, region in enumerate(order):
            source[image, place] = sources[region]
            for patch in regions[region]:
                rank[image, patch] = place
