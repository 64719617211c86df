"""A linear probe that learns while a model pre-trains, without a second pass.

Shape legend: ``B`` images of a batch, ``n`` of them, ``D`` channels, ``C`` classes.
"""

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, get_world_size
from mmengine.hooks import Hook
from torch import Tensor, nn

from ..engine.clock import unwrap
from ..models.rolling_sample import RollingSample
from ..registry import HOOKS
from ..utils.values import check_counts, check_numbers
from .knn_hook import preserved_randomness


@HOOKS.register_module()
class OnlineProbeHook(Hook):
    """Train a linear classifier on what the target encoder says of each batch.

    Features are pooled patch tokens of the crops that the model trains on, normalized
    by their running statistics; the model gets no gradient and is not changed. Logged
    is ``probe_top1`` in percent, of each batch before the classifier has seen it. Crops
    and moving features make it lower than that of a probe at the end: it is for the
    comparison of trainings and of epochs.

    The classifier is saved with each checkpoint and goes on from there.

    Args:
        num_classes: ``C``; labels are those of the data samples.
        lr: Of its AdamW.
        size: Images of each batch at most that it learns from, in all processes.

    Raises:
        ValueError: A number is out of its range.
    """

    priority = 55  # before LoggerHook (60)

    def __init__(self, num_classes: int, lr: float = 1e-3, size: int = 512) -> None:
        check_counts(self, 2, num_classes=num_classes, size=size)
        check_numbers(self, True, lr=lr)
        self.num_classes, self.lr, self.size = num_classes, lr, size
        self._probe: nn.Sequential | None = None
        self._saved: dict | None = None

    def before_train(self, runner) -> None:
        """Build the classifier, and let the algorithm keep features.

        Args:
            runner: The runner.

        Raises:
            ValueError: The algorithm keeps no features.
        """
        algorithm = unwrap(runner.model)
        if not hasattr(algorithm, 'sample'):
            raise ValueError(
                f'OnlineProbeHook reads the features that a JEPA keeps, and '
                f'{type(algorithm).__name__} keeps none: take KNNHook'
            )
        if algorithm.sample is None:
            algorithm.sample = RollingSample(max(1, self.size // get_world_size()))
        generator = torch.Generator().manual_seed(0)
        dims = algorithm.backbone.embed_dims
        with preserved_randomness(), torch.no_grad():
            linear = nn.Linear(dims, self.num_classes)
            linear.weight.normal_(0.0, 0.01, generator=generator)
            linear.bias.zero_()
        device = next(algorithm.parameters()).device
        norm = nn.BatchNorm1d(dims, affine=False, momentum=0.01)
        self._probe = nn.Sequential(norm, linear).to(device)
        self._optimizer = torch.optim.AdamW(self._probe.parameters(), lr=self.lr)
        if self._saved is not None:
            self._probe.load_state_dict(self._saved['probe'])
            self._optimizer.load_state_dict(self._saved['optimizer'])

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Classify the batch, then learn from it.

        Args:
            runner: The runner.
            batch_idx: Unused.
            data_batch: Its data samples have labels.
            outputs: Unused.

        Raises:
            ValueError: A sample has no label, or one that is no class.
        """
        assert self._probe is not None
        labels = _labels_of(data_batch, self.num_classes)
        sample = unwrap(runner.model).sample
        count = min(len(labels), sample.size, sample.seen)
        features, _ = sample.rows(count)  # the last images of the batch
        labels = labels[-count:].to(features.device)
        if get_world_size() > 1:  # each process learns from all, and learns the same
            features = torch.cat(all_gather(features.contiguous()))  # (n, D)
            labels = torch.cat(all_gather(labels))
        with torch.enable_grad(), torch.autocast(features.device.type, enabled=False):
            self._probe.eval()  # by what it knows of earlier batches
            scores = self._probe(features)  # (n, C)
            hits = (scores.detach().argmax(1) == labels).float().mean()
            self._probe[0].train()
            self._probe[0](features)
            self._optimizer.zero_grad()
            F.cross_entropy(scores, labels).backward()
        self._optimizer.step()
        runner.message_hub.update_scalar('train/probe_top1', 100 * hits)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Save the classifier.

        Args:
            runner: The runner.
            checkpoint: Gets ``online_probe``.
        """
        if self._probe is not None:
            checkpoint['online_probe'] = dict(
                probe=self._probe.state_dict(), optimizer=self._optimizer.state_dict()
            )

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Go on from a saved classifier of as many classes.

        Args:
            runner: The runner.
            checkpoint: May have ``online_probe``.
        """
        saved = checkpoint.get('online_probe')
        if saved and saved['probe']['1.bias'].shape == (self.num_classes,):
            self._saved = saved


def _labels_of(data_batch, num_classes: int) -> Tensor:
    """Labels of a batch, ``(B,)``, int64."""
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    labels = [getattr(sample, 'gt_label', None) for sample in samples or ()]
    if not labels or any(label is None for label in labels):
        raise ValueError(
            'OnlineProbeHook needs a label of each image: train on folders of classes '
            'with with_label=True, or take the hook out'
        )
    found = torch.cat([torch.as_tensor(label).reshape(-1)[:1] for label in labels])
    if not 0 <= int(found.min()) <= int(found.max()) < num_classes:
        raise ValueError(
            f'OnlineProbeHook has num_classes={num_classes}, and the batch has labels '
            f'from {int(found.min())} to {int(found.max())}'
        )
    return found.long()
