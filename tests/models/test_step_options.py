"""Options that change how a step is computed, and nothing of what."""

import pytest
import torch
import torch.nn.functional as F
from torch._dynamo.eval_frame import _debug_get_cache_entry_list
from torch.nn.attention import SDPBackend

from dseq_mm.models import layers
from dseq_mm.models.jepa import TrainingClock
from tests.models.builders import build_jepa, images, samples

METHODS = ['DSeqJEPA', 'IJEPA']


def build(method, part=None, **model):
    options = dict(method=method, **model)
    if method == 'DSeqJEPA':
        saliency = dict(type='ClassTokenSimilarity', block=1)
        options['mask_generator'] = dict(
            type='DiscriminativeMaskGenerator', saliency=saliency, num_regions=4
        )
    built = build_jepa(**options).double()
    for name in ('backbone', 'neck') if part else ():
        vars(getattr(built, name)).update(part)
    return built


def step(model, iteration=0, count=3):
    """Loss and gradients of a step."""
    model.zero_grad()
    model.clock = TrainingClock(0, iteration, 0.5)
    indices = range(iteration, iteration + count)
    loss = model.loss(images(count).double(), samples(indices))['loss']
    loss.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return loss, gradients


def assert_equal_steps(one, other, **kwargs):
    other.load_state_dict(one.state_dict())
    (loss, gradients), (same, theirs) = step(one, **kwargs), step(other, **kwargs)
    torch.testing.assert_close(same, loss, atol=1e-10, rtol=0)
    assert gradients.keys() == theirs.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(theirs[name], gradient, atol=1e-10, rtol=0)


@pytest.mark.parametrize('method', METHODS)
def test_recomputed_layers_give_the_same(method, monkeypatch):
    count = []
    monkeypatch.setattr(
        layers, 'checkpoint', lambda *a, **k: count.append(k) or original(*a, **k)
    )
    assert_equal_steps(build(method), build(method, dict(with_cp=True)))
    # each layer of context encoder and predictor
    assert len(count) == 2 + 2 and not any(k['use_reentrant'] for k in count)


original = layers.checkpoint


@pytest.mark.parametrize('method', METHODS)
def test_compiled_layers_give_the_same_at_any_length(method, monkeypatch):
    """By torch's compiler without its code generator: graphs and gradients are its."""
    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module,
        'compile',
        lambda part, **kwargs: compile_module(part, backend='aot_eager', **kwargs),
    )
    torch._dynamo.reset()
    plain, compiled = build(method), build(method, compile_layers=True)
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    for iteration, count in enumerate((3, 4, 2, 5)):
        assert_equal_steps(plain, compiled, iteration=iteration, count=count)
    graphs = _debug_get_cache_entry_list(layers.MaskedEncoderLayer.forward.__code__)
    assert 1 <= len(graphs) <= 3
    torch._dynamo.reset()


def attend_row_by_row(query, key, value, starts, ends, longest, longest_key):
    """What attention over packed rows means, one row at a time; ``(T, h, d)`` each."""
    assert torch.equal(starts, ends) and longest == longest_key
    bounds = starts.tolist()
    rows = []
    for start, end in zip(bounds[:-1], bounds[1:], strict=True):
        assert end - start <= longest
        heads = [x[start:end].transpose(0, 1) for x in (query, key, value)]
        rows.append(F.scaled_dot_product_attention(*heads).transpose(0, 1))
    assert bounds[-1] == len(query)
    return torch.cat(rows)


def test_rows_without_secrets_need_no_padding(monkeypatch):
    calls = []

    def attend(self, qkv, starts, longest):
        calls.append(longest)
        parts = qkv.unflatten(-1, (3, self.num_heads, self.head_dims)).unbind(1)
        mixed = attend_row_by_row(*parts, starts, starts, longest, longest)
        return mixed.flatten(1)

    monkeypatch.setattr(layers.MaskedAttention, '_attend_packed', attend)
    assert_equal_steps(build('IJEPA'), build('IJEPA', dict(varlen=True)))
    assert len(calls) == 2 + 2  # layers of context encoder and predictor
    calls.clear()
    assert_equal_steps(build('DSeqJEPA'), build('DSeqJEPA', dict(varlen=True)))
    assert not calls  # a sequence hides what is to come


def test_what_varlen_cannot_do_is_refused():
    with pytest.raises(ValueError, match='CUDA device and half precision.*leave it'):
        step(build('IJEPA', dict(varlen=True)))


def test_masked_attention_never_takes_the_kernel_with_a_known_fault():
    assert SDPBackend.CUDNN_ATTENTION not in layers.KERNELS
    assert SDPBackend.MATH in layers.KERNELS  # something always fits
