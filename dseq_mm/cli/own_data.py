"""Training on images of one's own: what ``--data`` does to a config."""

from collections.abc import Sequence

from mmengine.config import Config, ConfigDict

from ..data.own_images import find_images
from ..utils.configs import bare_type

#: About how many images the features are measured on while a model trains.
BANK_IMAGES = 5000


def use_data(cfg: Config, sources: Sequence[str]) -> list[str]:
    """Apply ``--data``: train on all images of some places, without labels.

    The innermost training data set is replaced, its pipeline and wrappers stay; only
    the loading transform is exchanged for ours. A kNN hook measures what needs no
    labels, on about 5,000 of the images.

    Args:
        cfg: Changed in place.
        sources: Folders, lists and tar archives; see :class:`.OwnImages`.

    Returns:
        Lines for the log.

    Raises:
        ValueError: If a place is missing or none has an image, or if the config
            concatenates several data sets.
    """
    try:
        found = find_images(sources)
    except ValueError as error:
        raise ValueError(f'--data: {error}') from None
    holder = _innermost(cfg.train_dataloader)
    replaced = holder.dataset
    if 'datasets' in replaced:
        raise ValueError(
            f'--data cannot replace a {bare_type(replaced)} of several data sets; '
            'write a config with one train_dataloader.dataset.'
        )
    holder.dataset = _own_images(sources, replaced)
    notes = [
        f'Training on images of your own instead of {bare_type(replaced)}.',
        *([] if _has_data_hook(cfg) else found.lines()),
    ]
    for hook in cfg.get('custom_hooks') or []:
        if bare_type(hook) == 'KNNHook':
            bank = _innermost(hook.bank)
            bank.dataset = _own_images(sources, bank.dataset)
            hook.query = None
            hook.bank_fraction = min(1.0, BANK_IMAGES / found.number)
            notes.append(
                'Without labels KNNHook measures no accuracy, but RankMe and the '
                f'deviation of features on {min(found.number, BANK_IMAGES):,} images.'
            )
    return notes


def _has_data_hook(cfg: Config) -> bool:
    """Whether the config has a hook that logs the same lines."""
    hooks = [
        *(cfg.get('default_hooks') or {}).values(),
        *(cfg.get('custom_hooks') or []),
    ]
    return any(bare_type(hook) == 'DataHook' for hook in hooks if hook)


def _innermost(loader: ConfigDict) -> ConfigDict:
    """The dict whose `dataset` is wrapped by no other."""
    while 'dataset' in loader.dataset:
        loader = loader.dataset
    return loader


def _own_images(sources: Sequence[str], replaced: ConfigDict) -> ConfigDict:
    pipeline = [*replaced.get('pipeline', ())]
    if pipeline and bare_type(pipeline[0]) == 'LoadImageFromFile':
        pipeline[0] = ConfigDict(pipeline[0], type='LoadImage')
    return ConfigDict(
        type='mmpretrain.OwnImages', sources=[*sources], pipeline=pipeline
    )
