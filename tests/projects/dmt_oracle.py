"""DMT-JEPA's equations, one patch, one head and one key at a time."""

import torch
import torch.nn.functional as F


def window(patch, grid, side=3, toroidal=False):
    """Set of patches around a patch, without it."""
    rows, columns = grid
    found = set()
    for down in range(-(side // 2), side // 2 + 1):
        for right in range(-(side // 2), side // 2 + 1):
            row, column = patch // columns + down, patch % columns + right
            if toroidal:
                row, column = row % rows, column % columns
            if 0 <= row < rows and 0 <= column < columns and (down or right):
                found.add(row * columns + column)
    return found


def cosine(one, other):
    return float((one @ other) / (one @ one).sqrt() / (other @ other).sqrt())


def neighbors(tokens, patch, grid, side=3, count=4, toroidal=False):
    """The most similar patches around a patch of one image, best first."""
    candidates = window(patch, grid, side, toroidal)
    order = sorted(candidates, key=lambda other: -cosine(tokens[patch], tokens[other]))
    return order[:count]


def norm(layer, x, eps=1e-6):
    centered = x - x.mean()
    scale = (centered.square().mean() + eps).sqrt()
    return centered / scale * layer.weight + layer.bias


def attention(block, query, memory):
    """One query over itself and its memory, after their norm."""
    tokens = [norm(block.norm1, token) for token in [query, *memory]]
    layer = block.attn
    dims = len(query) // layer.num_heads
    parts = []
    for head in range(layer.num_heads):
        take = slice(head * dims, (head + 1) * dims)
        wanted = layer.q(tokens[0])[take]
        scores = [wanted @ layer.k(token)[take] / dims**0.5 for token in tokens]
        weights = [score.exp() for score in scores]
        values = [layer.v(token)[take] for token in tokens]
        mixed = sum(w * v for w, v in zip(weights, values, strict=True))
        parts.append(mixed / sum(weights))
    return layer.proj(torch.cat(parts))


def mlp(block, x):
    hidden = F.gelu(block.ffn.layers[0][0](norm(block.norm2, x)))
    return x + block.ffn.layers[1](hidden)


def aggregate(head, query, memory):
    """A local aggregation target."""
    for block in head.blocks:
        query = mlp(block, query + attention(block, query, memory))
    return norm(head.norm, query)


def mix(head, context):
    """The context of one row after the head, token by token."""
    for block in head.blocks:
        mean = sum(context) / len(context)
        gathered = attention(block, mean, context)
        context = [mlp(block, token + gathered) for token in context]
    return [norm(head.norm, token) for token in context]


def target(head, tokens, image, patch, grid):
    """The target of one patch; ``tokens[image][patch]`` are normalized features."""
    chosen = neighbors(
        tokens[image], patch, grid, head.window, head.neighbors, head.released
    )
    memory = [tokens[image][other] for other in chosen]
    if head.query == 'self_patch':
        query = tokens[image][patch]
    elif head.query == 'selected_mean':
        query = sum(memory) / len(memory)
    else:
        count = len(tokens[image])
        donor = (image * count + patch) % len(tokens) if head.released else image
        query = sum(tokens[donor]) / count
    return aggregate(head, query, memory)
