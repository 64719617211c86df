"""The real loop, hooks and optimizer without images: an epoch takes milliseconds."""

import logging
import math
from types import SimpleNamespace

import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.logging import MessageHub
from mmpretrain.registry import PARAM_SCHEDULERS
from torch import nn
from torch.utils.data import DataLoader

from dseq_mm.engine import (
    ClockHook,
    GuardedOptimWrapper,
    ResumableTrainLoop,
    StrictCheckpointHook,
    TargetEncoderHook,
)
from dseq_mm.models import DiscriminativeMaskGenerator, TargetEncoder

SCHEDULERS = [
    dict(type='LinearSchedule', start_factor=0.1, end=0.1),
    dict(type='CosineSchedule', eta_min=1e-3),
    dict(type='CosineSchedule', param_name='weight_decay', eta_min_ratio=10.0),
]


CURRICULUM = DiscriminativeMaskGenerator(
    saliency=dict(type='mmpretrain.ClassTokenSimilarity', block=0)
)


class Images(list):
    """A data set of numbers with file names."""

    def get_data_info(self, index):
        return dict(img_path=f'/data/{self[index]}.png')


class Model(nn.Module):
    """The least that the hooks move."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(1, 1)
        self.target_encoder = TargetEncoder(self.backbone, 0.9, 1.0)
        self.clock = None

    def train_step(self, batch, optim_wrapper):
        with optim_wrapper.optim_context(self):
            loss = self.backbone(batch.float()[:, None]).square().mean()
        optim_wrapper.update_params(loss)
        return dict(loss=loss.detach())


class Stop(Exception):
    """The run is ended from outside."""


class Course:
    """What the hooks see of a runner, and what an iteration had for settings."""

    def __init__(self, images=23, batch=2, processes=1, accumulated=1, epochs=3, lr=1):
        self.logger = logging.getLogger('course')
        self.visualizer, self.val_loop = SimpleNamespace(), None
        self.message_hub = MessageHub('course')
        self.world_size, self.seed = processes, 5
        self._randomness_cfg, self._resume = dict(seed=5), False
        self.cfg = Config(
            dict(
                model=dict(type='Model'),
                optim_wrapper=dict(optimizer=dict(lr=lr)),
                train_dataloader=dict(dataset=dict(type='Images')),
            )
        )
        dataset = Images(range(images))
        sampler = DefaultSampler(dataset, seed=5)
        sampler.world_size = processes
        sampler.num_samples = -(-images // processes)
        sampler.total_size = sampler.num_samples * processes
        loader = DataLoader(dataset, batch, sampler=sampler, drop_last=True)
        torch.manual_seed(0)
        self.model = Model()
        optimizer = torch.optim.AdamW(self.model.backbone.parameters(), lr=lr)
        self.optim_wrapper = GuardedOptimWrapper(
            optimizer=optimizer, accumulative_counts=accumulated
        )
        self.train_loop = ResumableTrainLoop(self, loader, epochs)
        self.param_schedulers = [
            PARAM_SCHEDULERS.build(c, default_args=dict(optimizer=self.optim_wrapper))
            for c in SCHEDULERS
        ]
        self.strict = StrictCheckpointHook()
        self.hooks = [ClockHook(), TargetEncoderHook(), self.strict]
        self.rows, self.samples, self.stop_after = [], [], None

    train_dataloader = property(lambda self: self.train_loop.dataloader)
    epoch = property(lambda self: self.train_loop.epoch)
    iter = property(lambda self: self.train_loop.iter)
    max_epochs = property(lambda self: self.train_loop.max_epochs)
    max_iters = property(lambda self: self.train_loop.max_iters)

    def call_hook(self, name, **kwargs):
        for hook in self.hooks:
            getattr(hook, name)(self, **kwargs)
        if name == 'before_train_epoch':
            self.train_dataloader.sampler.set_epoch(self.epoch)
        if name == 'before_train_iter':
            group = self.optim_wrapper.optimizer.param_groups[0]
            self.model.target_encoder.progress = self.model.clock.progress
            momentum = self.model.target_encoder.momentum_now
            now = self.model.clock.progress
            settings = group['lr'], group['weight_decay'], momentum
            self.rows.append((now, *settings, CURRICULUM.probability(now)))
            self.samples.append((self.epoch, kwargs['data_batch'].tolist()))
        if name == 'after_train_iter' and self.iter + 1 == self.stop_after:
            raise Stop

    def run(self):
        self.optim_wrapper.initialize_count_status(
            self.model, self.train_loop.iter, self.train_loop.max_iters
        )
        self.train_loop.run()
        return self

    def run_until(self, iterations):
        """Train, stop as if killed, and give the checkpoint of that moment."""
        self.stop_after = iterations
        try:
            self.run()
        except Stop:
            meta = dict(epoch=self.epoch, iter=self.iter + 1, seed=self.seed)
        else:
            meta = dict(epoch=self.epoch, iter=self.iter, seed=self.seed)
        checkpoint = dict(
            meta=meta,
            message_hub={},
            state_dict=self.model.state_dict(),
            optimizer=self.optim_wrapper.state_dict(),
        )
        self.strict.before_save_checkpoint(self, checkpoint)
        return checkpoint

    def resume(self, checkpoint):
        """As the host's runner does."""
        self._resume = True
        self.strict.after_load_checkpoint(self, checkpoint)
        self.train_loop._epoch = checkpoint['meta']['epoch']
        self.train_loop._iter = checkpoint['meta']['iter']
        self.model.load_state_dict(checkpoint['state_dict'])
        self.optim_wrapper.load_state_dict(checkpoint['optimizer'])
        return self


def curve(progress, epochs):
    """The settings at some progress, by the formulas of the recipe."""
    decay = 0.1 + (0.01 - 0.1) * (1 + math.cos(math.pi * progress)) / 2
    if progress < 0.1:
        rate = 0.1 + 0.9 * progress / 0.1
    else:
        share = (progress - 0.1) / 0.9
        rate = 1e-3 + (1 - 1e-3) * (1 + math.cos(math.pi * share)) / 2
    return rate, decay, 0.9 + 0.1 * progress, progress
