import pytest
import torch

from dseq_mm.models import (
    ClassTokenSimilarity,
    EncodedImage,
    GradCAM,
    TokenContrast,
    TokenNorm,
    TrainingClock,
)
from dseq_mm.randomness import hash_integers
from dseq_mm.regions import normalize_saliency
from tests.models.builders import build_jepa, images, samples


def encoded(seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(2, 7, 5, generator=generator)
    return EncodedImage(
        patches=hidden[:, 1:],
        grid=(2, 3),
        hidden={1: hidden},
        class_token=torch.randn(1, 1, 5, generator=generator),
    )


def test_class_token_similarity_is_the_cosine_at_the_block():
    image = encoded()
    saliency = ClassTokenSimilarity(block=1)(image, None, None, None)
    for b in range(2):
        query = image.hidden[1][b, 0]
        for patch in range(6):
            token = image.hidden[1][b, 1 + patch]
            cosine = (query * token).sum() / query.norm() / token.norm()
            assert saliency[b, patch // 3, patch % 3] == pytest.approx(cosine.item())


def test_parameter_query_is_the_released_one_with_the_trained_norm():
    model = build_jepa()  # scale and shift of its norms are far from 1 and 0
    encoder = model.target_encoder.module
    image = encoder.encode(images(2), hidden=[1])
    saliency = ClassTokenSimilarity(block=1, query='parameter')(image, None, None, None)
    parameter = encoder.cls_token.detach()[0, 0]
    for b in range(2):
        for patch in range(12):
            token = image.hidden[1][b, 1 + patch].detach()
            centered = token - token.mean()
            normalized = centered / (centered.pow(2).mean() + 1e-6).sqrt()
            normalized = normalized * encoder.ln1.weight + encoder.ln1.bias
            expected = (normalized * parameter).sum() / 16**0.5
            found = saliency[b, patch // 4, patch % 4].item()
            assert found == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize('number', [0, 1, 2.5])
def test_gradcam_of_fewer_than_two_regions_is_refused(number):
    with pytest.raises(ValueError, match=f'num_regions={number} of GradCAM'):
        GradCAM(num_regions=number)


def test_unknown_query_is_refused():
    with pytest.raises(ValueError, match='parameter'):
        ClassTokenSimilarity(query='token')


def test_grad_cam_equals_finite_differences_and_keeps_no_gradient():
    generator = dict(
        type='DiscriminativeMaskGenerator', saliency=dict(type='GradCAM', seed=3)
    )
    model = build_jepa(mask_generator=generator).double()
    image = model.encode_target(images(2, dtype=torch.float64))
    index = torch.tensor([4, 8])
    proxy = model.mask_generator.saliency
    with torch.no_grad():
        saliency = proxy(image, index, TrainingClock(5), model.latent_loss)
    assert all(parameter.grad is None for parameter in model.parameters())

    from dseq_mm.models.saliency import partition_plan

    plan = partition_plan(image.grid, index, 4, hash_integers(3, 5))
    targets = image.patches

    def loss(patches):
        context = plan.gather(patches, plan.context_ids)
        prediction = model.neck(context, plan)
        from dseq_mm.models.jepa import as_target

        target = plan.gather(as_target(targets), plan.target_ids)
        return model.head.loss(prediction, target, plan)

    # channel weight = mean over patches of the gradient = slope of a shift of all
    step = 1e-6
    for b in range(2):
        weights = torch.zeros(16, dtype=torch.float64)
        for channel in range(16):
            shift = torch.zeros_like(targets)
            shift[b, :, channel] = step
            slope = (loss(targets + shift) - loss(targets - shift)) / (2 * step)
            weights[channel] = slope / targets.shape[1]
        expected = (targets[b] @ weights).clamp(min=0)
        actual = saliency[b].flatten().double()
        scale = expected.abs().max()
        torch.testing.assert_close(actual, expected / scale, rtol=0, atol=1e-4)


@pytest.mark.parametrize('count', [4, 32])
def test_grad_cam_of_an_image_does_not_depend_on_the_batch(count):
    generator = dict(type='DiscriminativeMaskGenerator', saliency=dict(type='GradCAM'))
    model = build_jepa(mask_generator=generator)
    inputs, index = images(count), torch.arange(count)
    proxy, clock = model.mask_generator.saliency, TrainingClock()
    whole = proxy(model.encode_target(inputs), index, clock, model.latent_loss)
    alone = proxy(model.encode_target(inputs[:1]), index[:1], clock, model.latent_loss)
    whole, flat = normalize_saliency(whole)
    alone, _ = normalize_saliency(alone)
    torch.testing.assert_close(whole[:1], alone, rtol=0, atol=1e-4)
    assert not flat.any() and whole.amax((1, 2)).min() > 0.99


def test_partition_covers_the_grid_once_and_context_is_the_complement():
    from dseq_mm.models.saliency import partition_plan

    plan = partition_plan((4, 5), torch.arange(3), 4, 0)
    plan.validate()
    assert plan.rows_per_sample == 4 and len(plan.context_ids) == 12
    for sample in range(3):
        targets = plan.target_ids[sample * 4 : sample * 4 + 4]
        assert sorted(targets[targets >= 0].tolist()) == list(range(20))
    for context, target in zip(plan.context_ids, plan.target_ids, strict=True):
        both = torch.cat([context[context >= 0], target[target >= 0]])
        assert sorted(both.tolist()) == list(range(20))


@pytest.mark.parametrize('copies', [0, 1])
def test_token_contrast_is_the_distance_from_the_mean_patch(copies):
    image = encoded()
    if not copies:
        image.hidden[1] = image.hidden[1][:, 1:]
    saliency = TokenContrast(block=1)(image, None, None, None)
    for b in range(2):
        patches = image.hidden[1][b, copies:]
        for patch in range(6):
            offset = patches[patch] - sum(patches) / 6
            expected = (offset**2).sum().sqrt().item()
            assert saliency[b, patch // 3, patch % 3] == pytest.approx(expected)


def test_token_contrast_trains_without_a_class_token():
    generator = dict(
        type='DiscriminativeMaskGenerator',
        saliency=dict(type='TokenContrast', block=1),
    )
    model = build_jepa(mask_generator=generator, cls_token=False)
    model.loss(images(2), samples([1, 2]))['loss'].backward()
    assert model.backbone.patch_embed.projection.weight.grad.any()
    generator['saliency']['block'] = 2
    with pytest.raises(ValueError, match='reads block 2 .* has 2'):
        build_jepa(mask_generator=generator, cls_token=False)


def test_token_norm_is_the_length():
    image = encoded()
    saliency = TokenNorm(block=1)(image, None, None, None).flatten(1)
    for b in range(2):
        for patch in range(6):
            expected = image.hidden[1][b, 1 + patch].square().sum().sqrt().item()
            assert saliency[b, patch] == pytest.approx(expected)


@pytest.mark.parametrize('kind', [ClassTokenSimilarity, TokenContrast, TokenNorm])
def test_every_proxy_can_be_inverted(kind):
    image = encoded()
    plain = kind(block=1)(image, None, None, None)
    inverted = kind(block=1, polarity='inverted')(image, None, None, None)
    assert torch.equal(inverted, -plain)
    with pytest.raises(ValueError, match="'as_is' or 'inverted', got 'up'"):
        kind(block=1, polarity='up')


def test_inverted_saliency_trains_on_the_inverse_order():
    ranks = []
    for polarity in ('as_is', 'inverted'):
        generator = dict(
            type='DiscriminativeMaskGenerator',
            saliency=dict(type='GradCAM', seed=3, polarity=polarity),
            curriculum=dict(start=1.0),
        )
        model = build_jepa(mask_generator=generator, cls_token=True)
        proxy, seen = model.mask_generator.saliency, []
        proxy.register_forward_hook(lambda module, args, out, s=seen: s.append(out))
        model.loss(images(2), samples([1, 2]))
        ranks.append(seen[0])
    assert torch.equal(ranks[0], -ranks[1]) and ranks[0].max() > 0
