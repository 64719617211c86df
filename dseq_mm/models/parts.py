"""Between an algorithm and its parts: what they are built with, what they return."""

from typing import Any

import torch
from torch import Tensor, nn

from ..plan import PredictionPlan
from ..registry import MODELS
from ..utils.arguments import arguments_of


def build_part(cfg: dict[str, Any], name: str, /, **facts: Any) -> Any:
    """Build a part, and tell it of the model what it asks for.

    Args:
        cfg: Config of the part, which goes before the facts.
        name: What the part is to the algorithm.
        **facts: What may be told, such as ``embed_dims``; a part gets those that are
            arguments of it.

    Returns:
        The part.

    Raises:
        ValueError: If it is no config of a part.
    """
    if not isinstance(cfg, dict):
        raise ValueError(f'model.{name} is dict(type=...), not {cfg!r}')
    with MODELS.switch_scope_and_registry(cfg.get('_scope_')) as registry:
        kind = cfg.get('type')
        kind = registry.get(kind) if isinstance(kind, str) else kind
    if kind is None:
        return MODELS.build(cfg)  # which says what is wrong
    names, complete = arguments_of(kind)
    told = {k: v for k, v in facts.items() if k in names or not complete}
    return MODELS.build(cfg, default_args=told)


def check_plan(plan: Any, part: nn.Module) -> None:
    """Make sure that a mask generator has made a plan.

    Args:
        plan: What it has returned.
        part: The mask generator.

    Raises:
        ValueError: If that is no plan.
    """
    if not isinstance(plan, PredictionPlan):
        raise ValueError(
            f'forward() of {type(part).__name__} returns a PredictionPlan, not '
            f'{type(plan).__name__}'
        )


def split_log(
    result: Tensor | tuple[Tensor, dict[str, Tensor]], part: nn.Module
) -> tuple[Tensor, dict[str, Tensor]]:
    """Take apart what a head returns.

    Args:
        result: Its loss, or its loss and scalars for the log, by name.
        part: The head.

    Returns:
        The loss and the scalars.

    Raises:
        ValueError: If it is neither.
    """
    pair = isinstance(result, tuple) and len(result) == 2
    loss, log = result if pair else (result, {})
    if not (isinstance(loss, Tensor) and loss.dim() == 0 and isinstance(log, dict)):
        shape = f' of shape {tuple(loss.shape)}' if isinstance(loss, Tensor) else ''
        raise ValueError(
            f'loss() of {type(part).__name__} returns a scalar tensor, or one and a '
            f'dict of what is to be logged, not {type(result).__name__}{shape}'
        )
    return loss, log


def add_to_log(
    log: dict[str, Tensor], terms: dict[str, Tensor], part: nn.Module, mark: Any
) -> None:
    """Put what a part wants logged beside what others do.

    Args:
        log: Changed in place.
        terms: Scalars by name.
        part: Whose they are.
        mark: Ends the name of a scalar where another part has taken that name.

    Raises:
        ValueError: If a name would make a scalar a loss.
    """
    for name, term in terms.items():
        if 'loss' in name:
            raise ValueError(
                f'{type(part).__name__} logs {name!r}, but MMEngine adds all that has '
                "'loss' in its name to the loss: give it another name"
            )
        term = torch.as_tensor(term).detach()
        term = term if term.is_floating_point() else term.float()
        log[f'{name}_{mark}' if name in log else name] = term
