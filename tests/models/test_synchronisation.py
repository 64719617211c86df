"""One training step asks the device for lengths once, and for nothing else."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dseq_mm.models.jepa import TrainingClock
from dseq_mm.regions import candidates, components, fill, growth, selection
from tests.models.builders import build_jepa, images, samples
from tests.models.test_jepa import regularized

READS = ('_local_scalar_dense', 'nonzero', 'masked_select', 'equal', 'is_nonzero')


class CountReads(TorchDispatchMode):
    """Count operations that would make the host wait for a GPU."""

    reads = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in READS:
            self.reads += 1
        if func.overloadpacket.__name__ == 'index' and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        ):
            self.reads += 1
        return func(*args, **(kwargs or {}))


def count_reads(monkeypatch, model):
    for module in (candidates, components, fill, growth, selection):
        monkeypatch.setattr(module, 'may_look', lambda tensor: False)
    lists = []
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, 'tolist', lambda t: lists.append(t) or tolist(t))
    inputs, data_samples = images(3), samples(range(3))
    with CountReads() as mode:
        loss = model.loss(inputs, data_samples)['loss']
        loss.backward()
        for copy, source in model.averages.items():
            getattr(model, copy).progress = 0.5
            getattr(model, copy).update_parameters(getattr(model, source))
    return mode.reads + len(lists)


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
        (dict(method='IJEPA'), 1),
        (dict(mask_generator=generator()), 1),
        (dict(mask_generator=generator(), unrolled=True), 1),
        (dict(mask_generator=generator(curriculum=dict(unit='region'))), 1),
        (dict(mask_generator=generator(rule=dict(released=True))), 1),
        (dict(mask_generator=generator() | dict(saliency=dict(type='GradCAM'))), 2),
        (regularized('CJEPA'), 1),
        (regularized('DSeqCJEPA', pairs='blocks'), 1),
        (regularized('IJEPA', type='SIGRegHead'), 1),
        (regularized('IJEPA', type='SIGRegHead', on='prediction'), 1),
    ],
)
def test_lengths_are_read_once(monkeypatch, kwargs, expected):
    model = build_jepa(**kwargs)
    model.clock = TrainingClock(0, 3, 0.5)
    assert count_reads(monkeypatch, model) == expected
