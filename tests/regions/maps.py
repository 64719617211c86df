"""Saliency maps that the region tests share."""

import numpy as np
import torch
from scipy import ndimage

from dseq_mm.regions import select_regions


def smooth_maps(count, grid, sigma, seed=0):
    """Noise filtered with a Gaussian of ``sigma`` patches; 0 leaves it rough."""
    noise = np.random.RandomState(seed).standard_normal((count, *grid))
    return torch.from_numpy(ndimage.gaussian_filter(noise, (0, sigma, sigma))).float()


def coarse_maps(count, grid, values, seed=0):
    """Few distinct values: plenty of ties."""
    values = np.random.RandomState(seed).randint(values, size=(count, *grid))
    return torch.from_numpy(values).float()


def uniforms(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def random_regions(count, grid, rule, draws):
    """Regions of maps that say nothing."""
    return select_regions(torch.zeros(count, *grid), rule, draws)
