"""Pictures of predictions, drawn by the visualization hook of each library."""

from pathlib import Path

from mmengine.config import Config

_HOOKS = ('DetVisualizationHook', 'SegVisualizationHook', 'VisualizationHook')


def draw_predictions(cfg: Config, folder: str | Path) -> list[str]:
    """Let a test draw what the model predicts, without a display.

    In a distributed test the libraries draw the images of the first process alone.

    Args:
        cfg: Changed in place.
        folder: Where the pictures go. mmseg adds ``vis_data/vis_image``.

    Returns:
        One line for the log.

    Raises:
        ValueError: The config has no visualization hook, or mmseg's has no visualizer
            that writes files.
    """
    folder = str(Path(folder).expanduser().absolute())
    hook = (cfg.get('default_hooks') or {}).get('visualization') or {}
    name = str(hook.get('type', '')).rpartition('.')[-1]
    if name not in _HOOKS:
        raise ValueError(
            '--show-dir draws with the visualization hook of the library, and this '
            'config has none: set default_hooks.visualization=dict(type=...) to '
            f'{", ".join(_HOOKS[:2])} or {_HOOKS[2]}.'
        )
    if name == 'DetVisualizationHook':
        hook.update(draw=True, test_out_dir=folder)  # relative paths would nest
    elif name == 'SegVisualizationHook':
        hook.update(draw=True)
        _write_files(cfg, folder)
        folder = f'{folder}/vis_data/vis_image'
    else:
        hook.update(enable=True, interval=1, out_dir=folder)
        hook.setdefault('resize', 224)  # else small images have no room for the words
    return [f'Predictions are drawn into {folder}.']


def _write_files(cfg: Config, folder: str) -> None:
    """Send what the visualizer draws to a folder."""
    visualizer = cfg.get('visualizer') or {}
    backends = [b.get('type') for b in visualizer.get('vis_backends') or []]
    if 'LocalVisBackend' not in backends:
        raise ValueError(
            '--show-dir needs a visualizer that writes files: set visualizer=dict('
            "type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')])."
        )
    visualizer['save_dir'] = folder
