"""Region selection with sets and loops, one image at a time, written from its rules.

A region is a set of patch indices. Arithmetic is exact (integers and fractions) from
the float32 normalized map on.
"""

import math
from fractions import Fraction

import numpy as np

COMPONENT, SPLIT, SECONDARY, RANDOM, REST, EMPTY = range(6)


class Selector:
    """The selection for one map.

    ``near_ties`` counts thresholds where another split with another foreground has the
    same variance to 1e-12: there either foreground is right.
    """

    def __init__(self, saliency, rule, draws):
        saliency = np.asarray(saliency, dtype=np.float32)
        self.height, self.width = saliency.shape
        self.num, self.rule, self.draws = saliency.size, rule, draws
        self.near_ties = 0
        flat = saliency.ravel()
        self.degenerate = not np.isfinite(flat).all() or flat.min() == flat.max()
        values = np.zeros_like(flat)
        if not self.degenerate:
            span = flat.max() - flat.min() + np.float32(1e-6)
            values = (flat - flat.min()) / span
        self.values = [float(v) for v in values]
        self.levels = [int(v) for v in np.floor(values * np.float32(255))]
        smallest = math.ceil(Fraction(str(rule.min_area)) * self.num)
        self.low = min(max(rule.min_patches, smallest), self.num // rule.num_regions)
        self.high = max(self.low, int(Fraction(str(rule.max_area)) * self.num))

    def neighbors(self, patch):
        row, column = divmod(patch, self.width)
        for r in range(max(0, row - 1), min(self.height, row + 2)):
            for c in range(max(0, column - 1), min(self.width, column + 2)):
                if (r, c) != (row, column):
                    yield r * self.width + c

    def components(self, patches):
        left, found = set(patches), []
        while left:
            region, border = set(), {min(left)}
            while border:
                region |= border
                border = {n for p in border for n in self.neighbors(p)} & left - region
            left -= region
            found.append(region)
        return found

    def otsu(self, patches):
        levels = sorted(self.levels[p] for p in patches)
        total, best, threshold = sum(levels), Fraction(0), 0
        seen = []
        for count in range(1, len(levels)):
            if levels[count - 1] == levels[count]:
                continue
            below = Fraction(sum(levels[:count]), count)
            above = Fraction(total - sum(levels[:count]), len(levels) - count)
            variance = count * (len(levels) - count) * (below - above) ** 2
            seen.append(variance)
            if variance > best:
                best, threshold = variance, levels[count - 1]
        close = [v for v in seen if abs(v - best) <= best * Fraction(1, 10**12)]
        self.near_ties += len(close) > 1
        return threshold

    def above(self, patches, threshold):
        return {p for p in patches if self.levels[p] > threshold}

    def mean(self, region):
        return sum(Fraction(self.values[p]) for p in region) / len(region)

    def by_saliency(self, regions):
        return sorted(regions, key=lambda r: (-self.mean(r), min(r)))

    def grow(self, region, size):
        def best(patches):
            return min(patches, key=lambda p: (-self.values[p], p))

        grown = {best(region)}
        while len(grown) < size:
            border = {n for p in grown for n in self.neighbors(p)} & region - grown
            grown.add(best(border))
        return grown

    def split(self, component, rounds):
        """Candidates from a component above the highest size."""
        if rounds == 0:
            return [self.grow(component, self.high)]
        foreground = self.above(component, self.otsu(component))
        pieces = [p for p in self.components(foreground) if len(p) >= self.low]
        if not pieces:
            return [self.grow(component, self.high)]
        found = []
        for piece in pieces:
            found += (
                [piece] if len(piece) <= self.high else self.split(piece, rounds - 1)
            )
        return found

    def round(self, taken, ceiling):
        """Newly accepted (region, was it whole) and the threshold of one search."""
        free = set(range(self.num)) - set().union(*taken)
        threshold = self.otsu({p for p in free if self.levels[p] <= ceiling})
        candidates, whole = [], []
        for component in self.components(self.above(free, threshold)):
            if len(component) < self.low:
                continue
            if len(component) <= self.high or not self.rule.split:
                candidates.append(component)
                whole.append(component)
            else:
                candidates += self.split(component, self.rule.num_regions - 1)
        accepted, room = [], len(free)
        for region in self.by_saliency(candidates):
            to_come = self.rule.num_regions - 2 - len(taken) - len(accepted)
            if to_come < 0:
                break
            size = min(len(region), room - to_come * self.low - 1)
            accepted.append((self.grow(region, size), region in whole))
            room -= size
        return accepted, threshold

    def search(self):
        """Pairs of region and source, best first."""
        wanted = self.rule.num_regions - 1
        if self.rule.released:
            everything = set(range(self.num))
            least = self.rule.min_area * self.num
            found = self.components(self.above(everything, self.otsu(everything)))
            found = self.by_saliency([r for r in found if len(r) >= least])
            return [(region, COMPONENT) for region in found[:wanted]]
        accepted, threshold = self.round([], 255)
        found = [(r, COMPONENT if whole else SPLIT) for r, whole in accepted]
        for _ in range(wanted if self.rule.secondary else 0):
            if len(found) == wanted:
                break
            ceiling = 255 if accepted else threshold
            accepted, threshold = self.round([r for r, _ in found], ceiling)
            found += [(r, SECONDARY) for r, _ in accepted]
        order = self.by_saliency([r for r, _ in found])
        return sorted(found, key=lambda pair: order.index(pair[0]))

    def block(self, draw, free, to_come):
        """A random block in the free area."""
        rule = self.rule
        area = (rule.min_area + (rule.max_area - rule.min_area) * draw[0]) * self.num
        ratio = rule.aspect[0] + (rule.aspect[1] - rule.aspect[0]) * draw[1]
        height = min(self.height, max(1, round(math.sqrt(area * ratio))))
        width = min(self.width, max(1, round(math.sqrt(area / ratio))))
        top = int(draw[2] * (self.height - height + 1))
        left = int(draw[3] * (self.width - width + 1))

        def distance(patch):
            row, column = divmod(patch, self.width)
            down = abs(row - top - Fraction(height - 1, 2))
            right = abs(column - left - Fraction(width - 1, 2))
            return max(down / Fraction(height, 2), right / Fraction(width, 2)), patch

        inside = 0
        for patch in free:
            row, column = divmod(patch, self.width)
            inside += top <= row < top + height and left <= column < left + width
        most = min(self.high, len(free) - to_come * self.low - 1)
        size = min(max(inside, self.low), most)
        return set(sorted(free, key=distance)[:size])

    def fill(self, regions):
        """Random blocks in place of each None, in the order of ranks."""
        regions = list(regions)
        for rank, region in enumerate(regions):
            if region is None:
                kept = [r for r in regions if r is not None]
                free = set(range(self.num)) - set().union(*kept)
                to_come = sum(r is None for r in regions[rank + 1 :])
                regions[rank] = self.block(self.draws[rank], free, to_come)
        return regions

    def rank_map(self, regions):
        ranks = [len(regions)] * self.num
        for rank, region in enumerate(regions):
            for patch in region:
                ranks[patch] = rank
        return np.array(ranks).reshape(self.height, self.width)

    def select(self):
        """Rank map and sources."""
        found = self.search()
        missing = self.rule.num_regions - 1 - len(found)
        regions = [region for region, _ in found]
        sources = [source for _, source in found]
        if self.rule.released:
            regions += [set()] * missing
            sources += [EMPTY] * missing
        else:
            regions = self.fill(regions + [None] * missing)
            sources += [RANDOM] * missing
        return self.rank_map(regions), sources + [REST]
