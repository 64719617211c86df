"""Schedules that are functions of the progress of training, and of nothing else.

They stand in ``param_scheduler`` like the host's and take its arguments. The host's are
recursions over iterations: another batch size or length of training at a resume, and
they go on in the old iterations. These have no state: :class:`ClockHook` sets their
values before each iteration from the share of the planned images that are done.
"""

import math
from collections.abc import Sequence

from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler

from ..registry import PARAM_SCHEDULERS
from ..utils.values import check_numbers

Length = int | float


class Schedule(_ParamScheduler):
    """A setting of the optimizer as a function of progress.

    A length is a whole number of epochs, or a fraction below 1: a share of the
    training, whatever ``max_epochs`` is. Of the schedules of one setting, the last one
    that has begun holds; after its end its last value stays.

    Args:
        optimizer: The optimizer wrapper; the runner gives it.
        param_name: Setting of its groups, such as ``'lr'`` or ``'weight_decay'``.
        begin: When it begins; by default where the schedule of the same setting that
            stands before it ends.
        end: When it ends; by default with the training.
        by_epoch: Whether whole numbers are epochs; otherwise they are iterations.
        verbose: Ignored; the settings are in the log.

    Raises:
        ValueError: If a length is negative, or a fraction above 1.
    """

    def __init__(
        self,
        optimizer,
        param_name: str = 'lr',
        begin: Length | None = None,
        end: Length | None = None,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        for name, length in (('begin', begin), ('end', end)):
            self._check_length(name, length)
        self.span = begin, end
        self.counts_epochs = by_epoch
        self._is_set = False
        super().__init__(optimizer, param_name, 0, INF, by_epoch=False)

    def _check_length(self, name: str, length: Length | None) -> None:
        whole = isinstance(length, int) and not isinstance(length, bool)
        share = isinstance(length, float) and length <= 1
        if length is not None and not ((whole or share) and length >= 0):
            raise ValueError(
                f'{name}={length!r} of {type(self).__name__}: give a whole number of '
                'epochs (iterations with by_epoch=False), or a fraction between 0.0 '
                'and 1.0, which is a share of the training'
            )

    @classmethod
    def build_iter_from_epoch(cls, *args, epoch_length=None, **kwargs) -> 'Schedule':
        """Build from a config with ``convert_to_iter_based``, which changes nothing.

        Args:
            *args: As for the class.
            epoch_length: Unused; each iteration has its own value anyway.
            **kwargs: As for the class.

        Returns:
            The schedule.
        """
        return cls(*args, **kwargs)

    def value(self, base: float, done: float, length: float, total: float) -> float:
        """Compute the setting of one group.

        Args:
            base: What the config gives.
            done: Time since the beginning, at most ``length``.
            length: From beginning to end.
            total: Length of the whole training, all in the same unit.

        Returns:
            The value.
        """
        raise NotImplementedError

    def apply(self, now: float, begin: float, end: float, total: float) -> None:
        """Set the values of all groups.

        Args:
            now: Time.
            begin: Beginning of this schedule.
            end: Its end.
            total: Length of the whole training, all in the same unit.
        """
        done = min(max(now, begin), end) - begin
        for group, base in zip(
            self.optimizer.param_groups, self.base_values, strict=True
        ):
            group[self.param_name] = self.value(base, done, end - begin, total)
        self.mark_as_set()

    def mark_as_set(self) -> None:
        """Note that a clock looks after this schedule, whether it has begun or not."""
        self._is_set = True
        self._last_value = [
            group[self.param_name] for group in self.optimizer.param_groups
        ]

    def step(self) -> None:
        """Do nothing but check that a clock sets the values; the host's hook calls it.

        Raises:
            ValueError: If nothing does.
        """
        self._last_value = [
            group[self.param_name] for group in self.optimizer.param_groups
        ]
        if not hasattr(self, '_stepped'):  # by the host's constructor
            self._stepped = True
        elif not self._is_set:
            raise ValueError(
                f'{type(self).__name__} follows a clock that this config lacks: add '
                "custom_hooks=[dict(type='dseq_mm.ClockHook')], or inherit "
                "'dseq_mm::_base_/default_runtime.py'."
            )

    def state_dict(self) -> dict:
        """Return nothing: a schedule has no state."""
        return {}

    def load_state_dict(self, state_dict: dict) -> None:
        """Ignore the state of a checkpoint.

        Args:
            state_dict: Ignored.
        """


@PARAM_SCHEDULERS.register_module()
class LinearSchedule(Schedule):
    """Line from ``start_factor`` to ``end_factor`` times the configured value.

    Args:
        *args: As for :class:`Schedule`.
        start_factor: At the beginning.
        end_factor: At the end.
        **kwargs: As for :class:`Schedule`.

    Raises:
        ValueError: If a factor is negative.
    """

    def __init__(
        self, *args, start_factor: float = 1 / 3, end_factor: float = 1.0, **kwargs
    ) -> None:
        check_numbers(self, start_factor=start_factor, end_factor=end_factor)
        self.start_factor, self.end_factor = start_factor, end_factor
        super().__init__(*args, **kwargs)

    def value(self, base: float, done: float, length: float, total: float) -> float:
        """See :meth:`Schedule.value`."""
        share = done / length if length else 1.0
        return base * (
            self.start_factor + (self.end_factor - self.start_factor) * share
        )


class _Falling(Schedule):
    """From the configured value to an end that is given as value or as ratio."""

    def __init__(
        self,
        *args,
        eta_min: float | None = None,
        eta_min_ratio: float | None = None,
        **kwargs,
    ) -> None:
        if eta_min is not None and eta_min_ratio is not None:
            raise ValueError(
                f'{type(self).__name__} takes eta_min={eta_min} or '
                f'eta_min_ratio={eta_min_ratio}, not both'
            )
        check_numbers(self, eta_min=eta_min, eta_min_ratio=eta_min_ratio)
        self.eta_min, self.eta_min_ratio = eta_min, eta_min_ratio
        super().__init__(*args, **kwargs)

    def _between(self, base: float, share: float) -> float:
        """The value that is a share of the way up from the end to the start."""
        end = self.eta_min or 0.0
        if self.eta_min_ratio is not None:
            end = base * self.eta_min_ratio
        return end + (base - end) * share


@PARAM_SCHEDULERS.register_module()
class CosineSchedule(_Falling):
    """Half a cosine from the configured value to ``eta_min``.

    Args:
        *args: As for :class:`Schedule`.
        eta_min: Value at the end; 0 by default.
        eta_min_ratio: The same as a multiple of the configured value, so that groups
            whose value is 0 stay at 0.
        T_max: Length of half the cosine, if it is another than from begin to end. What
            is longer is cut off; after a shorter one the value stays.
        **kwargs: As for :class:`Schedule`.

    Raises:
        ValueError: If both ends are given, or one is negative.
    """

    def __init__(self, *args, T_max: Length | None = None, **kwargs) -> None:
        self._check_length('T_max', T_max)
        self.T_max = T_max
        super().__init__(*args, **kwargs)

    def value(self, base: float, done: float, length: float, total: float) -> float:
        """See :meth:`Schedule.value`."""
        length = length if self.T_max is None else in_units(self.T_max, total)
        share = min(done / length, 1.0) if length else 1.0
        return self._between(base, (1 + math.cos(math.pi * share)) / 2)


@PARAM_SCHEDULERS.register_module()
class PolySchedule(_Falling):
    """Power of the remaining share, from the configured value to ``eta_min``.

    Args:
        *args: As for :class:`Schedule`.
        power: The exponent.
        eta_min: As for :class:`CosineSchedule`.
        eta_min_ratio: As for :class:`CosineSchedule`.
        **kwargs: As for :class:`Schedule`.

    Raises:
        ValueError: If both ends are given, or a number is negative.
    """

    def __init__(self, *args, power: float = 1.0, **kwargs) -> None:
        check_numbers(self, power=power)
        self.power = power
        super().__init__(*args, **kwargs)

    def value(self, base: float, done: float, length: float, total: float) -> float:
        """See :meth:`Schedule.value`."""
        share = done / length if length else 1.0
        return self._between(base, (1 - share) ** self.power)


@PARAM_SCHEDULERS.register_module()
class StepSchedule(Schedule):
    """The configured value, times ``gamma`` at each milestone.

    Args:
        *args: As for :class:`Schedule`.
        milestones: Times of the steps, as ``begin`` and ``end``.
        gamma: The factor.
        **kwargs: As for :class:`Schedule`.

    Raises:
        ValueError: If the factor is negative.
    """

    def __init__(
        self, *args, milestones: Sequence[Length], gamma: float = 0.1, **kwargs
    ) -> None:
        for milestone in milestones:
            self._check_length('milestones', milestone)
        check_numbers(self, gamma=gamma)
        self.milestones, self.gamma = tuple(milestones), gamma
        super().__init__(*args, begin=0, **kwargs)  # type: ignore[misc]  # by name

    def value(self, base: float, done: float, length: float, total: float) -> float:
        """See :meth:`Schedule.value`."""
        # a share of epochs is not exact: 8 / 28 * 28 may be a little more than 8
        passed = [done >= in_units(m, total) - 1e-9 * total for m in self.milestones]
        return base * self.gamma ** sum(passed)


def in_units(length: Length, total: float) -> float:
    """Read a length of a schedule.

    Args:
        length: Whole number of epochs or iterations, or share of the training.
        total: Length of the training in these epochs or iterations.

    Returns:
        The length in them.
    """
    return length * total if isinstance(length, float) else float(length)


def apply_schedules(
    schedules: Sequence, progress: float, max_epochs: int, max_iters: int
) -> None:
    """Set all that :class:`Schedule` objects look after.

    Args:
        schedules: Schedules in the order of the config; others are left alone.
        progress: Share of the planned images that are done.
        max_epochs: Length of the training in epochs.
        max_iters: The same in iterations.
    """
    ends: dict[str, float] = {}
    holds: dict[str, tuple] = {}
    for schedule in schedules:
        if not isinstance(schedule, Schedule):
            continue
        schedule.mark_as_set()
        total = max_epochs if schedule.counts_epochs else max_iters
        first, last = schedule.span
        # all in shares of the training from here on: units may differ
        begin = ends.get(schedule.param_name, 0.0)
        begin = begin if first is None else in_units(first, total) / total
        end = 1.0 if last is None else in_units(last, total) / total
        ends[schedule.param_name] = end
        if schedule.param_name not in holds or begin <= progress:
            holds[schedule.param_name] = schedule, begin * total, end * total, total
    for schedule, begin, end, total in holds.values():
        if progress * total >= begin:
            schedule.apply(progress * total, begin, max(begin, end), total)


def schedule_warnings(schedules: Sequence, max_epochs: int, max_iters: int) -> list:
    """Find settings whose schedules end before or after the training.

    Args:
        schedules: All schedulers of the runner, the host's included.
        max_epochs: Length of the training in epochs.
        max_iters: The same in iterations.

    Returns:
        One line for each.
    """
    ends: dict[str, tuple[str, float, float, str]] = {}
    for schedule in schedules:
        name, param = type(schedule).__name__, schedule.param_name
        by_epoch = getattr(schedule, 'counts_epochs', schedule.by_epoch)
        total = max_epochs if by_epoch else max_iters
        begin, end, period = schedule.begin, schedule.end, None
        if isinstance(schedule, Schedule):
            # without a beginning of its own it follows the one before
            begin, end = schedule.span
            begin = ends[param][1] if begin is None and param in ends else begin or 0
            begin = in_units(begin, total)
            end = total if end is None else in_units(end, total)
        if (period := getattr(schedule, 'T_max', None)) is not None:
            end = min(end, begin + in_units(period, total))
        unit = 'epoch' if by_epoch else 'iteration'
        ends[param] = name, end, total, unit
    return [
        f'param_scheduler: {name} of {param} ends at {unit} {end:g}, the training at '
        f'{total}: set end (and T_max) to what you mean, or leave them out to follow '
        'train_cfg.'
        for param, (name, end, total, unit) in ends.items()
        if end < INF and abs(end - total) > 1e-6 * total
    ]
