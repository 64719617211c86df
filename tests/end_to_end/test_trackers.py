"""What is logged arrives at the backends of mmengine's visualizer."""

import pytest

from tests.end_to_end.runs import digits_config, train, write_images

NAMES = {'loss', 'target_std', 'unexplained_step1', 'ema_momentum', 'rank_me'}


def run(tmp_path, backend):
    images = write_images(tmp_path / 'images', count=8)
    cfg = digits_config(images, tmp_path / 'run', epochs=2, batch=4)
    cfg.default_hooks.rank.interval = 1
    pictures = dict(type='PictureHook', images=str(images), kinds=['pca'], number=1)
    cfg.custom_hooks = [pictures]
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend'), backend]
    return train(cfg)


def test_tensorboard(tmp_path):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    runner = run(tmp_path, dict(type='TensorboardVisBackend'))
    runner.visualizer.close()
    events = EventAccumulator(f'{runner.log_dir}/vis_data')
    events.Reload()
    assert set(events.Tags()['scalars']) >= NAMES
    assert [event.step for event in events.Scalars('rank_me')] == [1, 2, 3, 4]
    assert 'pictures_pca' in events.Tags()['images']


def test_mlflow(tmp_path, monkeypatch):
    # files suffice here, and need no database
    monkeypatch.setenv('MLFLOW_ALLOW_FILE_STORE', 'true')
    mlflow = pytest.importorskip('mlflow')
    store = f'file://{tmp_path}/mlruns'
    backend = dict(type='MLflowVisBackend', tracking_uri=store, exp_name='ours')
    try:
        runner = run(tmp_path, backend)
        client = mlflow.MlflowClient(store)
        experiment = client.get_experiment_by_name('ours')
        (found,) = client.search_runs([experiment.experiment_id])
        assert set(found.data.metrics) >= NAMES
        history = client.get_metric_history(found.info.run_id, 'rank_me')
        assert [point.step for point in history] == [1, 2, 3, 4]
        runner.visualizer.close()
    finally:
        mlflow.end_run()


def test_wandb_offline(tmp_path, monkeypatch):
    pytest.importorskip('wandb')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    monkeypatch.setenv('WANDB_SILENT', 'true')
    runner = run(tmp_path, dict(type='WandbVisBackend'))
    runner.visualizer.close()
    (file,) = (tmp_path / 'run').rglob('run-*.wandb')
    content = file.read_bytes()
    assert all(name.encode() in content for name in NAMES)
