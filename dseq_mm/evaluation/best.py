"""The checkpoint hook's ``save_best`` with what a training hook measures."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import PurePath

from mmengine.hooks import CheckpointHook

from ..utils.host import epoch_counted, settle_best


def check_save_best(runner, names: Sequence[str]) -> None:
    """Settle what ``save_best`` means where no validation measures anything.

    Call it in ``before_train`` of a hook after the checkpoint hook.

    Args:
        runner: The runner.
        names: What will be measured, the one that 'auto' means first. Each may be
            given with ``val/`` before it, as it is logged.

    Raises:
        ValueError: ``save_best`` names something else, or 'auto' lacks a rule.
    """
    known = _with_prefix(names)
    for hook in _keepers(runner):
        keys = hook.key_indicators
        if runner.val_loop is not None:
            if ours := [key for key in keys if key in known]:
                raise ValueError(
                    f'save_best={ours[0]!r} is measured in training, and save_best '
                    'looks at the validation where there is one: remove '
                    'val_dataloader, val_cfg and val_evaluator, or name one of the '
                    "evaluator's metrics"
                )
            continue
        if keys == ['auto']:
            _settle_auto(hook, names[0])
        for key in hook.key_indicators:
            if key not in known:
                near = get_close_matches(key, known, 1, 0)[0]
                raise ValueError(
                    f'save_best={key!r} is not measured in this training; did you '
                    f'mean {near!r}? There are {", ".join(names)}'
                )
        _forget_other_metric(runner, hook)
        chosen = ', '.join(hook.key_indicators)
        runner.logger.warning(
            f'save_best keeps the epoch with the best {chosen}: the images that it is '
            'measured on choose the model, so report its accuracy on others.'
        )


def keep_best(runner, metrics: dict[str, float]) -> None:
    """Hand metrics to the hooks with ``save_best``, in ``after_train_epoch``.

    Args:
        runner: The runner.
        metrics: By name, the same in all processes.
    """
    if runner.val_loop is not None:
        return
    metrics = {key: metrics[key.removeprefix('val/')] for key in _with_prefix(metrics)}
    for hook in _keepers(runner):
        if missing := [key for key in hook.key_indicators if key not in metrics]:
            runner.logger.warning(
                f'save_best={missing[0]!r} was not measured: no best file this time'
            )
            continue
        with epoch_counted(runner.train_loop):
            hook.after_val_epoch(runner, metrics)


def _keepers(runner) -> list[CheckpointHook]:
    hooks = (hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
    return [hook for hook in hooks if hook.save_best]


def _with_prefix(names) -> list[str]:
    return [*names, *(f'val/{name}' for name in names)]


def _settle_auto(hook: CheckpointHook, name: str) -> None:
    """The host would do it by the first metrics that come, and fail then."""
    try:
        settle_best(hook, name)
    except ValueError as error:
        raise ValueError(
            f"save_best='auto' means {name!r} here, and the hook does not know which "
            "is better: set default_hooks.checkpoint.rule='greater'"
        ) from error


def _forget_other_metric(runner, hook: CheckpointHook) -> None:
    """Drop the best score of a resumed run if it is that of another metric.

    With one metric the host keeps it under a name without the metric.
    """
    info = runner.message_hub.runtime_info
    if len(hook.key_indicators) != 1 or not info.get('best_ckpt'):
        return
    prefix = f'best_{hook.key_indicators[0]}_'.replace('/', '_')
    name = PurePath(info['best_ckpt']).name
    if not name.startswith(prefix):
        runner.logger.warning(
            f'{name} is the best of another metric than {hook.key_indicators[0]}: it '
            'is kept, and the best is looked for anew'
        )
        hook.best_ckpt_path = None
        info.pop('best_ckpt'), info.pop('best_score', None)
