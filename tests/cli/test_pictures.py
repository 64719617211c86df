"""Each library's hook is told to draw into the folder that was asked for."""

import pytest
from mmengine.config import Config

from dseq_mm.cli.pictures import draw_predictions


def make_config(hook, **others):
    return Config(dict(default_hooks=dict(visualization=hook), **others))


def test_detection_gets_an_absolute_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the hook nests relative ones, once per batch
    cfg = make_config(dict(type='mmdet.DetVisualizationHook', score_thr=0.5))
    notes = draw_predictions(cfg, 'shown')
    hook = cfg.default_hooks.visualization
    assert hook.draw and hook.test_out_dir == str(tmp_path / 'shown')
    assert hook.score_thr == 0.5
    assert notes == [f'Predictions are drawn into {tmp_path / "shown"}.']


def test_segmentation_writes_by_its_visualizer(tmp_path):
    backends = [dict(type='LocalVisBackend')]
    visualizer = dict(type='SegLocalVisualizer', vis_backends=backends)
    cfg = make_config(dict(type='SegVisualizationHook'), visualizer=visualizer)
    notes = draw_predictions(cfg, tmp_path)
    assert cfg.default_hooks.visualization.draw is True
    assert cfg.visualizer.save_dir == str(tmp_path)
    assert str(tmp_path / 'vis_data' / 'vis_image') in notes[0]


def test_classification_draws_every_image(tmp_path):
    cfg = make_config(dict(type='VisualizationHook', enable=False))
    draw_predictions(cfg, tmp_path)
    assert cfg.default_hooks.visualization.to_dict() == dict(
        type='VisualizationHook',
        enable=True,
        interval=1,
        out_dir=str(tmp_path),
        resize=224,
    )


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (Config(dict()), 'this config has none'),
        (make_config(None), 'this config has none'),
        (make_config(dict(type='TrackVisualizationHook')), 'this config has none'),
        (make_config(dict(type='SegVisualizationHook')), 'visualizer that writes'),
        (
            make_config(
                dict(type='SegVisualizationHook'),
                visualizer=dict(vis_backends=[dict(type='WandbVisBackend')]),
            ),
            'visualizer that writes',
        ),
    ],
)
def test_nothing_to_draw_with(cfg, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        draw_predictions(cfg, tmp_path)
