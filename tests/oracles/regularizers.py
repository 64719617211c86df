"""The regularizers' terms, one number at a time, in double precision."""

import math

import torch


def block_means(plan, tokens):
    """Mean over the patches of each block: ``means[sample][block]``, a ``(D,)``.

    The rows of an unrolled plan follow one another: its blocks are those of its rows.
    """
    means = [[] for _ in range(plan.num_samples)]
    for row, steps in enumerate(plan.target_step.tolist()):
        for step in range(1, plan.num_steps + 1):
            block = [tokens[row, slot] for slot, s in enumerate(steps) if s == step]
            means[row // plan.rows_per_sample].append(sum(block) / len(block))
    return means


def context_means(plan, tokens):
    """Mean over the context of each row: ``means[sample][row of it]``, a ``(D,)``."""
    means = [[] for _ in range(plan.num_samples)]
    for row, ids in enumerate(plan.context_ids.tolist()):
        seen = [tokens[row, slot] for slot, patch in enumerate(ids) if patch >= 0]
        means[row // plan.rows_per_sample].append(sum(seen) / len(seen))
    return means


def project(projector, rows):
    """Linear, batch norm of all rows, ReLU, ..., linear; rows are ``(D,)`` vectors."""
    parameters = dict(projector.named_parameters())
    matrices = [value for value in parameters.values() if value.dim() == 2]
    scales = [v for k, v in parameters.items() if v.dim() == 1 and 'weight' in k]
    shifts = [v for k, v in parameters.items() if v.dim() == 1 and 'bias' in k]
    for layer, matrix in enumerate(matrices):
        rows = [matrix @ row for row in rows]
        if layer == len(matrices) - 1:
            return rows
        mean = sum(rows) / len(rows)
        spread = sum((row - mean) ** 2 for row in rows) / len(rows)
        rows = [
            (
                (row - mean) / (spread + 1e-5).sqrt() * scales[layer] + shifts[layer]
            ).clamp(min=0)
            for row in rows
        ]
    return rows


def mean_square(one, other):
    """Over images and channels, of two lists of vectors."""
    total = sum(
        (a[j] - b[j]) ** 2
        for a, b in zip(one, other, strict=True)
        for j in range(len(a))
    )
    return total / (len(one) * len(one[0]))


def centered(view):
    """Columns of a view, each minus its mean."""
    columns = [[row[j] for row in view] for j in range(len(view[0]))]
    return [[x - sum(c) / len(c) for x in c] for c in columns]


def hinge(view, gamma, eps):
    """VICReg's v of one view, a list of vectors, one per image."""
    total = 0.0
    for column in centered(view):
        variance = sum(x * x for x in column) / (len(column) - 1)
        total = total + (gamma - (variance + eps).sqrt()).clamp(min=0)
    return total / len(view[0])


def off_diagonal(view):
    """VICReg's c of one view."""
    columns, total = centered(view), 0.0
    for i, one in enumerate(columns):
        for j, other in enumerate(columns):
            if i != j:
                products = sum(a * b for a, b in zip(one, other, strict=True))
                total = total + (products / (len(one) - 1)) ** 2
    return total / len(columns)


def vicreg_terms(views, targets=None, gamma=1.0, eps=1e-4):
    """Invariance, variance, covariance; ``views[m][image]`` is a vector.

    With ``targets``, of the same form, invariance is that of each view with its target;
    without, that of all ordered pairs of views.
    """
    if targets is None:
        pairs = [(a, b) for a in views for b in views if a is not b]
    else:
        pairs = list(zip(views, targets, strict=True))
    sim = sum(mean_square(a, b) for a, b in pairs) / len(pairs)
    std = sum(hinge(view, gamma, eps) for view in views) / len(views)
    cov = sum(2 * off_diagonal(view) for view in views) / len(views)
    return sim, std, cov


def points(quadrature):
    """The 17 points, their trapezoid weights, and how often the integral counts."""
    low, high, times = dict(code=(0, 3, 2), paper=(-5, 5, 1))[quadrature]
    step = (high - low) / 16
    for index in range(17):
        half = 0.5 if index in (0, 16) else 1.0
        yield low + index * step, half * step * times


def epps_pulley(sample, quadrature):
    """``n * integral of |f - phi|^2 phi`` of a list of numbers."""
    num, total = len(sample), 0.0
    for t, weight in points(quadrature):
        phi = math.exp(-t * t / 2)
        real = sum(math.cos(t * x) for x in sample) / num
        imaginary = sum(math.sin(t * x) for x in sample) / num
        total += weight * ((real - phi) ** 2 + imaginary**2) * phi
    return num * total


def sigreg(z, directions, quadrature):
    """Mean over directions, the columns of ``(K, M)``."""
    slices = (z.double() @ directions.double()).T.tolist()
    return sum(epps_pulley(one, quadrature) for one in slices) / len(slices)


def gaussian_integral(rate, quadrature):
    """Integral of ``exp(-rate t^2 / 2)`` over the domain of a quadrature."""
    end = dict(code=3, paper=5)[quadrature]
    return math.sqrt(2 * math.pi / rate) * math.erf(end * math.sqrt(rate / 2))


def expected_sigreg(sigma, num, quadrature):
    """Expectation over samples of ``num`` normal numbers of deviation ``sigma``.

    ``E |f_n(t) - phi(t)|^2`` is ``(f - phi)^2 + (1 - f^2) / n`` with the characteristic
    function ``f(t) = exp(-sigma^2 t^2 / 2)``; every product is a Gaussian again.
    """

    def integral(rate):
        return gaussian_integral(rate, quadrature)

    square = sigma**2
    bias = integral(2 * square + 1) - 2 * integral(square + 2) + integral(3)
    return num * bias + integral(1) - integral(2 * square + 1)


def stack(means):
    """``means[sample][view]`` as a tensor, ``(n, S, D)``."""
    return torch.stack([torch.stack(views) for views in means])
