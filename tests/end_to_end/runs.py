"""Small runs of the shipped configs."""

import runpy
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from dseq_mm.engine.clock import unwrap
from dseq_mm.transfer.checkpoint import install_safe_loader

CONFIGS = Path(__file__).parents[2] / 'configs'
TOOLS = CONFIGS.parent / 'tools'


def run_tool(name, *arguments):
    """Run ``tools/NAME.py`` in this process: a new one would import for ten seconds."""
    main = runpy.run_path(str(TOOLS / f'{name}.py'))['main']
    return main([str(argument) for argument in arguments])


def write_images(folder, count=16, size=24, classes=2, seed=0):
    """An image folder with class sub-folders."""
    random = np.random.RandomState(seed)
    for index in range(count):
        path = Path(folder) / f'class{index % classes}' / f'{index:03d}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.randint(0, 256, (size + 6, size + 2, 3)).astype(np.uint8)
        cv2.imwrite(str(path), cv2.blur(pixels, (5, 5)))
    return Path(folder)


def digits_config(images, work_dir, method='dseq', epochs=2, batch=4, **options):
    """A DigitScenes config that trains on a few images, without kNN."""
    cfg = Config.fromfile(CONFIGS / f'{method}_digitscenes_20e.py')
    cfg.work_dir = str(work_dir)
    cfg.custom_hooks = []
    cfg.log_level = 'ERROR'
    cfg.train_cfg.max_epochs = epochs
    cfg.param_scheduler[0].end = 1
    cfg.param_scheduler[1].update(T_max=epochs - 1, end=epochs)
    cfg.param_scheduler[2].update(T_max=epochs, end=epochs)
    cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=-1)
    cfg.default_hooks.logger.interval = 1
    cfg.train_dataloader.batch_size = batch
    cfg.train_dataloader.dataset.dataset.update(
        data_root='', data_prefix=str(images), with_label=True
    )
    cfg.model.backbone.arch = dict(
        embed_dims=24, num_layers=3, num_heads=2, feedforward_channels=48
    )
    cfg.model.neck.update(predictor_dims=16, depth=1, num_heads=2)
    if method == 'dseq':
        cfg.model.mask_generator.saliency.block = 0
    cfg.experiment_name = f'{Path(work_dir).name}_{id(cfg)}'
    cfg.merge_from_dict(options)
    return cfg


def train(cfg):
    """Train and return the runner."""
    install_safe_loader()
    runner = Runner.from_cfg(cfg)
    try:
        runner.train()
    finally:
        end_workers(runner.train_dataloader)
    return runner


def end_workers(loader):
    """End data workers now: in a dying cycle, PyTorch waits five seconds for each."""
    workers = getattr(loader, '_iterator', None)
    if workers is not None:
        workers._shutdown_workers()


@HOOKS.register_module()
class RecordHook(Hook):
    """Remember what each iteration trained on: samples, pixels, plan."""

    records: dict = {}
    priority = 'LOW'

    def before_train(self, runner):
        """Listen to the mask generator."""
        model = unwrap(runner.model)
        RecordHook.records = {}

        def listen(module, args, plan):
            record = RecordHook.records.setdefault(runner.iter, {})
            record.update(
                samples=args[1].tolist(),
                context=plan.context_ids.tolist(),
                target=plan.target_ids.tolist(),
            )

        model.mask_generator.register_forward_hook(listen)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        """Remember the settings of the step to come."""
        groups = runner.optim_wrapper.optimizer.param_groups
        RecordHook.records[runner.iter] = dict(
            decay=[group['weight_decay'] for group in groups],
            lr=[group['lr'] for group in groups],
        )

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """Remember what was seen."""
        RecordHook.records[runner.iter].update(
            pixels=[image.double().sum().item() for image in data_batch['inputs']],
            loss=outputs['loss'].item(),
        )
