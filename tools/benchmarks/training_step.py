"""Training steps as benchmarks run them: models of shipped configs, random images."""

import sys
from pathlib import Path

import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
import flops  # noqa: E402

from dseq_mm.models import TrainingClock  # noqa: E402
from dseq_mm.utils import command  # noqa: E402

SMALL = dict(embed_dims=384, num_layers=12, num_heads=6, feedforward_channels=1536)
METHODS = {'DSeq-JEPA': 'dseq_vitb16_600e', 'I-JEPA': 'ijepa_vitb16_600e'}


def model_config(name: str, arch: str, parts: dict | None = None, **options) -> dict:
    """Model config of a shipped config.

    Args:
        name: Name of the config.
        arch: ``'base'`` or ``'small'``.
        parts: Options of backbone and predictor.
        **options: Options of the model.

    Returns:
        The config.
    """
    config = flops.load(name)
    if arch == 'small':
        config.backbone.arch = SMALL
    for part in (config.backbone, config.neck):
        part.update(parts or {})
    config.update(options)
    return config


class Step:
    """One training step of a model that starts at its random initialization.

    Args:
        config: The model.
        batch: Images.
        device: Where it runs.
        dtype: Of autocast; None leaves it out.
    """

    def __init__(
        self, config: dict, batch: int, device: str, dtype: torch.dtype | None
    ) -> None:
        torch.manual_seed(0)
        with command.quietly():
            self.model = MODELS.build(config)
            self.model.init_weights()
        self.model.to(device).train()
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-6, foreach=True)
        self.images = torch.randn(batch, 3, 224, 224).to(device)
        self.samples = [
            DataSample(metainfo=dict(sample_idx=index)) for index in range(batch)
        ]
        self.device, self.dtype, self.count = device, dtype, 0

    def loss(self) -> Tensor:
        """Run the forward pass at the end of the curriculum.

        Returns:
            The loss.
        """
        self.count += 1
        self.model.clock = TrainingClock(0, self.count, 1.0)
        kind = torch.device(self.device).type
        with torch.autocast(kind, self.dtype, enabled=self.dtype is not None):
            return self.model.loss(self.images, self.samples)['loss']

    def update(self) -> None:
        """Update the weights and their average."""
        self.optimizer.step()
        self.optimizer.zero_grad()
        for copy, source in self.model.averages.items():
            average = getattr(self.model, copy)
            average.progress = 0.5
            average.update_parameters(getattr(self.model, source))

    def __call__(self) -> None:
        self.loss().backward()
        self.update()


class ReleasedStep(Step):
    """The released strategy: each of four steps encodes and predicts the full grid."""

    def loss(self) -> Tensor:
        """See :meth:`Step.loss`."""
        model, kind = self.model, torch.device(self.device).type
        with torch.autocast(kind, self.dtype, enabled=self.dtype is not None):
            target = model.encode_target(self.images).patches
            tokens = model.backbone(self.images.repeat(4, 1, 1, 1))[0]
            tokens = model.neck.embed(tokens)
            for layer in model.neck.layers:
                tokens = layer(tokens)
            made = model.neck.project(model.neck.norm(tokens))[:, -target.shape[1] :]
            return nn.functional.smooth_l1_loss(made, target.repeat(4, 1, 1))
