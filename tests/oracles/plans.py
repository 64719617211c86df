"""Plans and their visibility, one token at a time.

A token of a row is a tuple ``(kind, step, patch)`` with kind 'copy', 'context' or
'target'. The rule is spelled out from its definition, with loops and no masks.
"""

import torch

from dseq_mm.plan import PredictionPlan


def random_plan(num_rows, num_patches, num_steps, generator, growing=True):
    """A valid plan with ragged rows: some patches context, some targets, some both."""
    contexts = torch.full((num_rows, num_patches), -1)
    targets = torch.zeros(num_rows, num_steps, num_patches, dtype=torch.bool)
    for row in range(num_rows):
        for patch in range(num_patches):
            step = int(
                torch.randint(-1, num_steps if growing else 1, (), generator=generator)
            )
            contexts[row, patch] = step
            for target_step in range(1, num_steps + 1):
                hidden = step < 0 or step >= target_step
                if hidden and torch.rand((), generator=generator) < 0.5:
                    targets[row, target_step - 1, patch] = True
        contexts[row, row % num_patches] = 0  # no row without context
        targets[row, :, row % num_patches] = False
    return PredictionPlan.from_masks(contexts, targets, num_steps if growing else 1)


def tokens_of(plan, row, copies=0):
    """Context tokens (with class-token copies in front) and target tokens of a row."""
    context = [('copy', step, None) for step in range(copies)]
    for patch, step in zip(
        plan.context_ids[row].tolist(), plan.context_step[row].tolist(), strict=False
    ):
        if patch >= 0:
            context.append(('context', step, patch))
    target = []
    for patch, step in zip(
        plan.target_ids[row].tolist(), plan.target_step[row].tolist(), strict=False
    ):
        if patch >= 0:
            target.append(('target', step, patch))
    return context, target


def sequence(ranks, num_ranks):
    """Context and target tokens of one row whose patches have these ranks."""
    context, target = [], []
    for step in range(num_ranks):
        for patch, rank in enumerate(ranks):
            if rank == step and step < num_ranks - 1:
                context.append(('context', step, patch))
            if rank == step and step > 0:
                target.append(('target', step, patch))
    return context, target


def sees(query, key, context_sees_targets=False):
    """Whether one token sees another."""
    query_kind, query_step, _ = query
    key_kind, key_step, _ = key
    if query_kind == 'target' and key_kind == 'target':
        return query_step == key_step
    if query_kind == 'target':
        return key_step < query_step
    if key_kind == 'target':
        return context_sees_targets
    return key_step <= query_step


def transformer(layers, tokens, vectors, context_sees_targets=False):
    """Pre-norm transformer over a list of tokens, each with a list of what it sees."""
    states = [vector.clone() for vector in vectors]
    for layer in layers:
        heads, dims = layer.attn.num_heads, layer.attn.head_dims
        projected = [layer.attn.qkv(layer.ln1(state)) for state in states]
        attended = []
        for i, query in enumerate(tokens):
            seen = [
                j
                for j, key in enumerate(tokens)
                if sees(query, key, context_sees_targets)
            ]
            parts = []
            for head in range(heads):
                take = slice(head * dims, (head + 1) * dims)
                q = projected[i][: heads * dims][take]
                keys = [
                    projected[j][heads * dims : 2 * heads * dims][take] for j in seen
                ]
                values = [projected[j][2 * heads * dims :][take] for j in seen]
                scores = torch.stack([q @ k for k in keys]) / dims**0.5
                weights = torch.exp(scores - scores.max())
                weights = weights / weights.sum()
                parts.append(sum(w * v for w, v in zip(weights, values, strict=False)))
            attended.append(layer.attn.proj(torch.cat(parts)))
        states = [
            state + change for state, change in zip(states, attended, strict=False)
        ]
        states = [layer.ffn(layer.ln2(s)[None], identity=s[None])[0] for s in states]
    return states


def encode_context(vit, image, plan, row):
    """Context tokens of one row, ``{(step, patch): vector}``."""
    copies = plan.num_context_steps if vit.cls_token is not None else 0
    tokens, _ = tokens_of(plan, row, copies)
    size = vit.patch_size
    columns = image.shape[2] // size
    extra = 1 if copies else 0
    vectors = []
    for kind, _, patch in tokens:
        if kind == 'copy':
            vectors.append(vit.cls_token[0, 0] + vit.pos_embed[0, 0])
            continue
        top, left = patch // columns * size, patch % columns * size
        pixels = image[:, top : top + size, left : left + size]
        kernel = vit.patch_embed.projection
        vector = (kernel.weight * pixels).sum((1, 2, 3)) + kernel.bias
        vectors.append(vector + vit.pos_embed[0, extra + patch])
    states = transformer(vit.layers, tokens, vectors)
    return {
        (step, patch): vit.ln1(state)
        for (kind, step, patch), state in zip(tokens, states, strict=False)
        if kind == 'context'
    }


def predict(predictor, context, plan, row, context_sees_targets=False, step=None):
    """Predictions of one row, ``{(step, patch): vector}``.

    With ``step``, only that step's targets are in the sequence (exact I-JEPA mode).
    """
    context_tokens, target_tokens = tokens_of(plan, row)
    if step is not None:
        target_tokens = [token for token in target_tokens if token[1] == step]
    vectors = []
    for _, when, patch in context_tokens:
        vectors.append(
            predictor.embed(context[when, patch]) + predictor.pos_embed[0, patch]
        )
    for _, _, patch in target_tokens:
        vectors.append(predictor.mask_token[0, 0] + predictor.pos_embed[0, patch])
    tokens = context_tokens + target_tokens
    states = transformer(predictor.layers, tokens, vectors, context_sees_targets)
    return {
        (when, patch): predictor.project(predictor.norm(state))
        for (kind, when, patch), state in zip(tokens, states, strict=False)
        if kind == 'target'
    }


def smooth_l1(prediction, target):
    """Mean over features of the Huber distance with delta 1."""
    total = 0.0
    for p, t in zip(prediction, target, strict=False):
        gap = (p - t).abs()
        total = total + (0.5 * gap * gap if gap < 1 else gap - 0.5)
    return total / len(prediction)


def normalized(vector, eps=1e-5):
    """Zero mean, unit (biased) variance."""
    centered = vector - vector.mean()
    return centered / (centered.pow(2).mean() + eps).sqrt()


def step_loss(predictions, targets):
    """Mean over patches, then groups, then samples.

    Args: ``predictions[sample][(step, patch)]`` and ``targets[sample][patch]``.
    """
    samples = []
    for sample, predicted in enumerate(predictions):
        groups = {}
        for (step, patch), vector in predicted.items():
            distance = smooth_l1(vector, normalized(targets[sample][patch]))
            groups.setdefault(step, []).append(distance)
        means = [sum(group) / len(group) for group in groups.values()]
        samples.append(sum(means) / len(means))
    return sum(samples) / len(samples)
