"""What training refuses is a problem of a config, too."""

import copy

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from dseq_mm.cli.config_checks import check_config


@pytest.fixture
def config(tmp_path):
    for number, name in enumerate('aabb'):
        folder = tmp_path / 'train' / name
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f'{number}.png'), np.zeros((8, 8, 3), np.uint8))
    loader = dict(
        batch_size=1,
        num_workers=0,
        dataset=dict(
            type='ImageFolder',
            data_root=str(tmp_path / 'train'),
            serialize_data=False,  # that collects garbage, which takes long
            pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
        ),
    )
    hook = dict(type='KNNHook', bank=loader, query=copy.deepcopy(loader), k=2)
    return Config(dict(train_dataloader=loader, custom_hooks=[hook]))


def problems(config):
    lines = []
    number = check_config(config, lines.append)
    told = [line for line in lines if line.startswith('PROBLEM')]
    assert len(told) == number
    return told


def test_a_good_config_has_none(config):
    assert problems(config) == []


def test_more_neighbors_than_images(config):
    config.custom_hooks[0].k = 5
    (line,) = problems(config)
    assert 'k=5 neighbors from a bank of 4 images' in line


def test_a_bank_is_made_smaller(config):
    config.custom_hooks[0].bank_fraction = 0.25
    (line,) = problems(config)
    assert 'bank of 1 images' in line


def test_images_of_the_bank_differ_in_size(config, tmp_path):
    cv2.imwrite(str(tmp_path / 'train/b/9.png'), np.zeros((8, 9, 3), np.uint8))
    assert "KNNHook's bank: its images are" in problems(config)[0]


def test_an_unknown_class_is_told_once(config, tmp_path):
    for name in 'xyz':
        (tmp_path / 'val' / name).mkdir(parents=True)
        image = np.zeros((8, 8, 3), np.uint8)
        cv2.imwrite(str(tmp_path / 'val' / name / '0.png'), image)
    dataset = dict(type='ImageFolder', data_root=str(tmp_path / 'val'), pipeline=[])
    config.val_dataloader = dict(dataset=dataset)
    config.custom_hooks = []
    config.model = dict(head=dict(num_classes=2))
    (line,) = problems(config)
    assert 'val against train: 3 of 3 classes are unknown' in line
