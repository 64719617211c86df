"""The loss of each step, against loops over patches; pages while a model trains."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from dseq_mm.clock import TrainingClock
from dseq_mm.evaluation import PictureHook, load_encoder, read_pictures, step_losses
from tests.models.builders import build_jepa, jepa_config

PIXELS = dict(
    type='SelfSupDataPreprocessor',
    mean=[120.0, 110.0, 100.0],
    std=[60.0, 50.0, 40.0],
    to_rgb=True,
)


@pytest.fixture
def photos(tmp_path):
    (tmp_path / 'photos').mkdir()
    random = np.random.default_rng(0)
    for number in range(3):
        image = random.integers(0, 256, (24, 32, 3), np.uint8)
        cv2.imwrite(f'{tmp_path}/photos/{number}.png', image)
    return str(tmp_path / 'photos')


def config(**kwargs):
    return Config(dict(model=jepa_config(data_preprocessor=PIXELS, **kwargs)))


@pytest.fixture
def saved(tmp_path):
    def write(seed=0, **kwargs):
        model = build_jepa(seed, data_preprocessor=PIXELS, **kwargs)
        meta = dict(cfg=config(**kwargs).pretty_text)
        file = tmp_path / f'{seed}.pth'
        torch.save(dict(state_dict=model.state_dict(), meta=meta), file)
        return model, file

    return write


def test_losses_by_loops(saved, photos):
    model, file = saved()
    found = step_losses(file, photos)
    assert len(found) == 3  # R2 to R4
    model.eval()
    encoder, clock = load_encoder(file), TrainingClock(0, 0, 1.0)
    by_step = {step: [] for step in (1, 2, 3)}
    with torch.no_grad():
        for index, picture in enumerate(read_pictures(photos, encoder)):
            images = encoder.normalize(picture.batch)
            encoded = model.encode_target(images)
            plan = model.mask_generator(encoded, torch.tensor([index]), clock)
            prediction = model.neck(model.encode_context(images, plan), plan)
            for slot, patch in enumerate(plan.target_ids[0].tolist()):
                if patch < 0:
                    continue
                target = encoded.patches[0, patch].double()
                target = (target - target.mean()) / (target.var(correction=0)).sqrt()
                gap = (prediction[0, slot].double() - target).abs()
                loss = torch.where(gap < 1, gap.square() / 2, gap - 0.5).mean()
                by_step[int(plan.target_step[0, slot])].append(loss.item())
    assert found == pytest.approx([np.mean(v) for v in by_step.values()], rel=1e-3)


def test_what_has_no_steps(saved, photos, tmp_path):
    _, file = saved(method='IJEPA')
    with pytest.raises(ValueError, match='predicts no regions'):
        step_losses(file, photos)
    state = build_jepa().target_encoder.module.state_dict()
    torch.save(dict(state_dict=state, meta={}), tmp_path / 'backbone.pth')
    with pytest.raises(ValueError, match='no checkpoint of a pre-training'):
        step_losses(tmp_path / 'backbone.pth', photos)
    checkpoint = torch.load(saved(seed=1)[1], weights_only=True)
    checkpoint['state_dict'].pop('neck.mask_token')
    torch.save(checkpoint, tmp_path / 'cut.pth')
    with pytest.raises(ValueError, match=r'1 differences, such as neck\.mask_token'):
        step_losses(tmp_path / 'cut.pth', photos)


def draw(hook, model, cfg, epochs=3):
    drawn, said = [], []

    def add_image(name, image, step):
        assert image.dtype == np.uint8 and image.ndim == 3 and image.std() > 10
        drawn.append((name, step))

    runner = SimpleNamespace(
        model=model,
        cfg=cfg,
        epoch=0,
        max_epochs=epochs,
        visualizer=SimpleNamespace(
            _vis_backends=dict(one=SimpleNamespace(add_image=add_image))
        ),
        logger=SimpleNamespace(warning=said.append),
    )
    hook.before_train(runner)
    for runner.epoch in range(epochs):
        hook.after_train_epoch(runner)
    return drawn, said


def test_pages_while_a_model_trains(photos):
    model = build_jepa(data_preprocessor=PIXELS)
    model.train()
    before, seed = [p.clone() for p in model.parameters()], torch.get_rng_state()
    hook = PictureHook(photos, kinds=['regions', 'pca'], interval=2, number=2)
    drawn, said = draw(hook, model, config())
    pages = ('pictures_regions', 'pictures_pca')
    assert drawn == [(page, epoch) for epoch in (0, 2, 3) for page in pages]
    assert not said and torch.equal(torch.get_rng_state(), seed)
    assert all(map(torch.equal, model.parameters(), before)) and model.training
    assert all(p.requires_grad for p in model.backbone.layers.parameters())


def test_what_cannot_be_drawn(photos, monkeypatch, tmp_path):
    model = build_jepa(data_preprocessor=PIXELS)
    with pytest.raises(ValueError, match="no page 'rigions'"):
        PictureHook(photos, kinds=['rigions'])
    with pytest.raises(ValueError, match='PictureHook: .*nowhere'):
        draw(PictureHook(f'{tmp_path}/nowhere'), model, config())
    with pytest.raises(ValueError, match='mean, std and to_rgb'):
        draw(PictureHook(photos), model, Config(dict(model=jepa_config())))
    hook = PictureHook(photos, kinds=['pca'], interval=1)

    def fail(self, runner, epoch):
        if epoch:
            raise OSError('the disk is full')

    monkeypatch.setattr(PictureHook, '_draw', fail)
    _, said = draw(hook, model, config(), epochs=1)
    assert 'the training goes on: OSError: the disk is full' in said[0]
