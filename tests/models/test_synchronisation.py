"""A training step waits for the device once, for the saliency, and for nothing else."""

import pytest
import torch

from dseq_mm.models.jepa import TrainingClock
from tests.models.builders import build_jepa, images, samples
from tests.models.test_jepa import regularized

WAITS = {'cpu', 'numpy', 'tolist', 'item', 'equal', 'allclose', '__array__'}
WAITS |= {'__bool__', '__int__', '__float__', '__index__'}
WAITS |= {'nonzero', 'argwhere', 'masked_select', 'unique', 'bincount'}


class OnDevice(torch.Tensor):
    """A tensor as if it were on a device, and all that is computed with it.

    ``waits`` lists what would have made the host wait.
    """

    waits: list[str] = []

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        result = super().__torch_function__(func, types, args, kwargs or {})
        name = func.__name__
        index = args[1] if name in ('__getitem__', '__setitem__') else ()
        parts = index if isinstance(index, tuple) else (index,)
        masks = (isinstance(x, torch.Tensor) and x.dtype == torch.bool for x in parts)
        if name in WAITS or any(masks):
            cls.waits.append(name)
            if isinstance(result, torch.Tensor):
                return result.as_subclass(torch.Tensor)
        return result


def waits_of_step(model):
    OnDevice.waits = []
    loss = model.loss(images(3).as_subclass(OnDevice), samples(range(3)))['loss']
    assert isinstance(loss, OnDevice)
    loss.backward()
    for copy, source in model.averages.items():
        getattr(model, copy).progress = 0.5
        getattr(model, copy).update_parameters(getattr(model, source))
    return OnDevice.waits


def generator(**kwargs):
    return dict(
        type='DiscriminativeMaskGenerator',
        saliency=dict(type='ClassTokenSimilarity', block=1),
        num_regions=4,
        **kwargs,
    )


@pytest.mark.parametrize(
    ('kwargs', 'expected'),
    [
        (dict(method='IJEPA'), 0),
        (dict(mask_generator=generator()), 1),
        (dict(mask_generator=generator(), unrolled=True), 1),
        (dict(mask_generator=generator(curriculum=dict(unit='region'))), 1),
        (dict(mask_generator=generator(order='random')), 1),
        (dict(mask_generator=generator(order='spatial')), 1),
        (dict(mask_generator=generator(prediction='flat')), 1),
        (dict(mask_generator=generator(rule=dict(released=True))), 1),
        (dict(mask_generator=generator() | dict(saliency=dict(type='GradCAM'))), 1),
        (regularized('CJEPA'), 0),
        (regularized('DSeqCJEPA', pairs='blocks'), 1),
        (regularized('IJEPA', type='SIGRegHead'), 0),
        (regularized('IJEPA', type='SIGRegHead', on='prediction'), 0),
    ],
)
def test_saliency_is_waited_for_once(kwargs, expected):
    model = build_jepa(**kwargs)
    model.clock = TrainingClock(0, 3, 0.5)
    assert waits_of_step(model) == ['cpu'] * expected


def test_what_would_wait_is_seen():
    values = torch.arange(3.0).as_subclass(OnDevice)
    OnDevice.waits = []
    if (values * 2).sum() > 0:
        values[values > 1].add(1)
    values.tolist()
    assert OnDevice.waits == ['__bool__', '__getitem__', 'tolist']
