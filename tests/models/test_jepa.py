import pytest
import torch
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing
from mmpretrain.registry import MODELS

from dseq_mm.models.jepa import TrainingClock
from tests.models.builders import build_jepa, images, jepa_config, samples


def regularized(method, unit='sample', **head):
    """A method with a regularizer, VICReg's with a small projector by default."""
    head = dict(dict(type='VICRegHead', projector=(8, 8, 6)), **head)
    kwargs = dict(method=method, regularizers=[head])
    if method.startswith('DSeq'):
        kwargs['cls_token'] = True
        kwargs['mask_generator'] = dict(
            type='DiscriminativeMaskGenerator',
            saliency=dict(type='ClassTokenSimilarity', block=1),
            num_regions=4,
            curriculum=dict(unit=unit),
        )
    return kwargs


METHODS = [
    dict(method='IJEPA'),
    dict(method='IJEPA', cls_token=True),
    dict(method='DSeqJEPA'),
    dict(method='DSeqJEPA', unrolled=True),
    *(
        dict(
            method='DSeqJEPA',
            mask_generator=dict(
                type='DiscriminativeMaskGenerator',
                saliency=dict(type=proxy, **extra),
                num_regions=3,
                curriculum=dict(unit=unit),
            ),
        )
        for proxy, extra in (
            ('ClassTokenSimilarity', dict(block=1, query='parameter')),
            ('ClassTokenAttention', dict(block=0)),
            ('GradCAM', {}),
        )
        for unit in ('sample', 'region', 'batch')
    ),
    *(
        regularized(method, unit, pairs=pairs)
        for method, unit in (
            ('CJEPA', 'sample'),
            ('DSeqCJEPA', 'sample'),
            ('DSeqCJEPA', 'batch'),
        )
        for pairs in ('target', 'blocks')
    ),
    *(
        regularized('DSeqJEPA', type='SIGRegHead', on=on, slices=16)
        for on in ('context', 'prediction')
    ),
]


@pytest.mark.parametrize('progress', [0.0, 0.5, 1.0])
@pytest.mark.parametrize('kwargs', METHODS)
def test_gradient_reaches_every_parameter_and_no_target_parameter(kwargs, progress):
    model = build_jepa(**kwargs)
    model.clock = TrainingClock(0, 3, progress)
    losses = model.loss(images(4), samples(range(4)))
    assert losses['loss'].isfinite()
    losses['loss'].backward()
    for name, parameter in model.named_parameters():
        if name.startswith('target_encoder') or 'pos_embed' in name:
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize('kwargs', METHODS)
def test_image_j_changes_only_row_j(kwargs):
    model = build_jepa(**kwargs).eval()
    model.clock = TrainingClock(0, 3, 1.0)
    inputs, index = images(4), torch.arange(4)

    def rows(inputs):
        encoded = model.encode_target(inputs)
        plan = model.mask_generator(encoded, index, model.clock, model.latent_loss)
        prediction = model.neck(model.backbone(inputs, plan), plan)
        vectors = torch.cat([prediction, model.targets(encoded, plan)], dim=-1)
        return [
            {
                key: vector
                for key, vector in zip(
                    zip(
                        plan.target_step[row].tolist(),
                        plan.target_ids[row].tolist(),
                        strict=False,
                    ),
                    vectors[row],
                    strict=False,
                )
                if key[1] >= 0
            }
            for row in range(4)
        ]

    before = rows(inputs)
    inputs[2] += torch.randn(3, 12, 16)
    after = rows(inputs)
    for row in (0, 1, 3):
        assert before[row].keys() == after[row].keys()
        for key, vector in before[row].items():
            torch.testing.assert_close(after[row][key], vector, rtol=0, atol=1e-5)
    changed = before[2].keys() != after[2].keys() or any(
        not torch.allclose(before[2][key], after[2][key], atol=1e-3)
        for key in before[2]
    )
    assert changed


def test_target_encoder_starts_equal_and_stays_in_eval_mode():
    model = build_jepa(spread=False).train()
    pairs = zip(
        model.backbone.parameters(),
        model.target_encoder.module.parameters(),
        strict=False,
    )
    assert all(torch.equal(a, b) for a, b in pairs)
    assert model.backbone.training and not model.target_encoder.module.training


def test_saliency_must_fit_the_encoder():
    config = jepa_config()
    config['mask_generator']['saliency']['block'] = 2
    with pytest.raises(ValueError, match='block 2.*has 2'):
        MODELS.build(config)
    with pytest.raises(ValueError, match='with_cls_token=True'):
        MODELS.build(jepa_config(cls_token=False))


def test_unknown_proxy_is_named():
    config = jepa_config()
    for saliency in (dict(type='NoSuchProxy'), dict(block=1)):
        config['mask_generator']['saliency'] = saliency
        with pytest.raises(ValueError, match='(NoSuchProxy|None).*GradCAM'):
            MODELS.build(config)


def test_options_of_the_target_encoder_are_checked():
    with pytest.raises(ValueError, match="'momentun'; did you mean 'momentum'"):
        MODELS.build(jepa_config(target_encoder=dict(momentun=0.9)))
    own = dict(type='mmengine.ExponentialMovingAverage', momentum=0.1)
    model = MODELS.build(jepa_config(target_encoder=own))
    assert type(model.target_encoder).__name__ == 'ExponentialMovingAverage'


def test_samples_without_index_are_refused():
    model = build_jepa()
    with pytest.raises(ValueError, match='sample_idx'):
        model.loss(images(2), None)


def test_crop_of_another_size_is_refused():
    model = build_jepa()
    with pytest.raises(ValueError, match='4 rows and 4 columns.* 3 and 4'):
        model.loss(images(2, (16, 16)), samples(range(2)))
    with pytest.raises(ValueError, match='patches of 4 px'):
        model.loss(images(2, (13, 16)), samples(range(2)))
    with pytest.raises(ValueError, match='patches of 4 px'):
        MODELS.build(jepa_config(image=(13, 16)))


@pytest.mark.parametrize('value', [float('nan'), 0.0])
def test_flat_or_nan_saliency_gives_random_regions_and_a_finite_loss(value):
    model = build_jepa()
    model.clock = TrainingClock(0, 0, 1.0)
    generator = model.mask_generator

    class Broken(torch.nn.Module):
        def forward(self, encoded, sample_idx, clock, latent_loss):
            return torch.full((3, *encoded.grid), value)

    generator.saliency = Broken()
    losses = model.loss(images(3), samples(range(3)))
    assert losses['loss'].isfinite()
    assert losses['flat_maps'] == 1.0
    assert losses['regions_random'] == 3.0


def test_autocast_keeps_the_loss_in_float32():
    model = build_jepa()
    with torch.autocast('cpu', torch.bfloat16):
        loss = model.loss(images(2), samples(range(2)))['loss']
    assert loss.dtype == torch.float32 and loss.isfinite()


def test_activation_checkpointing_changes_no_gradient():
    """What the ViT-H configs turn on, with the host's function."""
    inputs, data_samples = images(3), samples(range(3))
    gradients = []
    for names in ([], ['backbone.layers.0', 'backbone.layers.1']):
        model = build_jepa()
        turn_on_activation_checkpointing(model, names)
        model.loss(inputs, data_samples)['loss'].backward()
        gradients.append({n: p.grad for n, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        if gradient is None:
            assert gradients[1][name] is None, name
        else:
            torch.testing.assert_close(gradients[1][name], gradient)


def test_two_regularizers_of_one_kind_are_both_logged():
    kwargs = regularized('DSeqJEPA', type='SIGRegHead', slices=16)
    head = kwargs['regularizers'][0]
    kwargs['regularizers'] = [head, dict(head, on='prediction')]
    losses = build_jepa(**kwargs).loss(images(4), samples(range(4)))
    terms = losses['latent'] + 0.05 * (losses['sigreg'] + losses['sigreg_1'])
    torch.testing.assert_close(losses['loss'], terms)


@pytest.mark.parametrize(
    ('parts', 'message'),
    [
        (dict(type='SIGRegHead'), r"is a list: write \[\{'type': 'SIGRegHead'\}\]"),
        (
            ['SIGRegHead'],
            r"model.regularizers is dict\(type=\.\.\.\), not 'SIGRegHead'",
        ),
    ],
)
def test_regularizers_that_are_no_list_of_configs(parts, message):
    with pytest.raises(ValueError, match=message):
        build_jepa(method='IJEPA', regularizers=parts)


def test_every_average_starts_as_its_source_and_stays_in_evaluation_mode():
    model = build_jepa(spread=False)
    model.second = MODELS.build(dict(type='TargetEncoder', model=model.neck))
    model.averages = dict(model.averages, second='neck')
    for part in model.modules():
        part._is_init = False
    model.init_weights()
    for ours, copy in zip(
        model.neck.parameters(), model.second.module.parameters(), strict=True
    ):
        assert torch.equal(ours, copy)
    model.train()
    assert model.neck.training and not model.second.module.training
