"""Weights, gradients and optimizer states cut up over the processes (FSDP2).

For networks whose copies do not fit beside each other in the memory of one GPU. In the
config, with nothing else changed::

    model_wrapper_cfg = dict(type='FullySharded')

PyTorch's ``fully_shard`` changes a model in place: parameters become ``DTensor``, each
layer is brought together when it computes, and names stay. Files are those of any
other run, so that each kind of training can go on from the other's checkpoint.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from mmengine.dist import broadcast, get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import BaseAveragedModel
from mmengine.registry import MODEL_WRAPPERS
from mmengine.runner.checkpoint import weights_to_cpu
from mmengine.utils import apply_to
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from ..utils.host import whole

#: Methods by which parts are called, besides ``forward``.
_ENTRIES = ('encode', 'targets', 'loss')


@MODEL_WRAPPERS.register_module()
class FullySharded:
    """Shard a model over all processes, in place: the model itself is what comes out.

    Each layer, norm and embedding, and the rest of each part (backbone, target encoder,
    predictor, heads), is gathered when it computes. Weights start as without sharding.

    Args:
        module: A model of ours or of mmpretrain, on its device.

    Raises:
        ValueError: If PyTorch has no ``fully_shard``, or the model has parameters that
            are in none of its parts.
    """

    def __new__(cls, module: nn.Module) -> nn.Module:  # type: ignore[misc]
        """Shard the model; see the class."""
        try:
            from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
        except ImportError:
            raise ValueError(
                'FullySharded needs PyTorch 2.6 or newer: take that, or leave '
                'model_wrapper_cfg out'
            ) from None
        own = [name for name, _ in module.named_parameters(recurse=False)]
        if own:
            raise ValueError(
                f'FullySharded cuts up the parts of a model, and {own[0]} is in none: '
                'leave model_wrapper_cfg out'
            )
        _initialize(module)
        device = next(module.parameters()).device.type
        mesh = init_device_mesh(device, (get_world_size(),))
        for part in _parts(module):
            for unit in _units(part):
                fully_shard(unit, mesh=mesh)
            # after the forward pass, too: a target encoder has no backward pass
            fully_shard(part, mesh=mesh, reshard_after_forward=True)
            for name in _ENTRIES:
                if hasattr(part, name):
                    register_fsdp_forward_method(part, name)
        for submodule in module.modules():
            submodule.register_load_state_dict_pre_hook(_distribute)
        module.register_state_dict_post_hook(_gather)
        return module


def _initialize(module: nn.Module) -> None:
    """Initialize while each weight is whole, the same in all processes."""
    initialize = getattr(module, 'init_weights', None)
    if initialize is not None:
        initialize()
        # the runner is going to ask for it, too
        module.init_weights = lambda: None  # type: ignore[method-assign, assignment]
    for value in [*module.parameters(), *module.buffers()]:
        broadcast(value.data)


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """What is called on its own, from outside of the model's forward pass, too."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):  # never called itself
            yield from _parts(child)
            continue
        part = child.module if isinstance(child, BaseAveragedModel) else child
        if next(part.parameters(), None) is not None:
            yield part


def _units(part: nn.Module) -> Iterator[nn.Module]:
    """What is gathered on its own within a part, for some are called on their own."""
    for child in part.children():
        units = child if isinstance(child, nn.ModuleList | nn.Sequential) else [child]
        yield from (unit for unit in units if next(unit.parameters(), None) is not None)


def _distribute(module: nn.Module, state: dict, prefix: str, *_: Any) -> None:
    """Cut up what is loaded, as the parameters of a module are."""
    for name, parameter in module.named_parameters(recurse=False):
        value = state.get(prefix + name)
        if isinstance(value, Tensor) and isinstance(parameter, DTensor):
            state[prefix + name] = _like(value, parameter)


def _like(value: Tensor, parameter: DTensor) -> Tensor:
    """A whole tensor, cut up as a parameter of its shape is."""
    if isinstance(value, DTensor) or value.shape != parameter.shape:
        return value
    value = value.to(parameter.device)
    return distribute_tensor(value, parameter.device_mesh, parameter.placements)


def _gather(module: nn.Module, state: dict, *_: Any) -> None:
    """Make a state whole."""
    for name, value in state.items():
        state[name] = whole(value)


def is_sharded(weights: Iterable[Tensor]) -> bool:
    """Tell whether weights are cut up over the processes.

    Args:
        weights: Of a model.

    Returns:
        True if one is.
    """
    return any(isinstance(weight, DTensor) for weight in weights)


@contextmanager
def gathered(model: nn.Module, wrapper: Any = None) -> Iterator[None]:
    """Let one process alone ask for the states of a sharded model and its optimizer.

    Args:
        model: Of any kind; nothing happens unless it is sharded. All processes enter.
        wrapper: What holds its optimizer, if that is saved, too.

    Yields:
        Nothing; meanwhile ``state_dict()`` of both is whole and asks nobody.
    """
    if not is_sharded(model.parameters()):
        yield
        return
    known: list[tuple[Any, Any]] = [(model, weights_to_cpu(model.state_dict()))]
    if (optimizer := getattr(wrapper, 'optimizer', None)) is not None:
        moments = optimizer.state_dict()
        known.append(
            (optimizer, apply_to(moments, torch.is_tensor, lambda x: whole(x).cpu()))
        )
    with ExitStack() as stack:
        for part, state in known:
            part.state_dict = lambda *_, state=state: state  # of this object alone
            stack.callback(delattr, part, 'state_dict')
        yield


def check_saving(model: nn.Module, hooks: Iterable[Hook]) -> None:
    """Make sure that checkpoints of a sharded model are whole.

    Args:
        model: The model.
        hooks: All of the run.

    Raises:
        ValueError: If a hook saves what only one process asks for.
    """
    if not is_sharded(model.parameters()):
        return
    for hook in hooks:
        if isinstance(hook, CheckpointHook) and not hasattr(hook, 'gathers'):
            raise ValueError(
                f'{type(hook).__name__} cannot save a sharded model: take '
                "default_hooks=dict(checkpoint=dict(type='DurableCheckpointHook'))"
            )


def shard_state(optimizer: Optimizer, state: dict) -> dict:
    """Cut up a whole state of an optimizer as its parameters are; a hook of PyTorch's.

    Args:
        optimizer: The optimizer to load it into.
        state: As ``state_dict()`` of the optimizer of an unsharded model.

    Returns:
        The same for a sharded model, whose moments lie where its parameters do.
    """
    saved = [number for group in state['param_groups'] for number in group['params']]
    own = [value for group in optimizer.param_groups for value in group['params']]
    moments = dict(state['state'])
    for number, parameter in zip(saved, own, strict=False):
        if isinstance(parameter, DTensor) and number in moments:
            moments[number] = {
                name: _like(value, parameter) if isinstance(value, Tensor) else value
                for name, value in moments[number].items()
            }
    return {**state, 'state': moments}
