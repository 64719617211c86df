"""Errors of building name the part of the config, and say what is wrong with it."""

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS

from dseq_mm.cli.building import name_parts
from dseq_mm.utils import command
from tests.libraries import need


@pytest.fixture(autouse=True)
def before_the_work(monkeypatch):
    """Whatever tests before this one have begun."""
    monkeypatch.setattr(command._Work, 'begun', False)


def dataset(folder):
    return dict(type='ImageFolder', data_prefix=str(folder), pipeline=[])


def test_of_two_parts_of_a_type_the_right_one_is_named(tmp_path):
    (tmp_path / 'good' / 'a').mkdir(parents=True)
    cv2.imwrite(str(tmp_path / 'good' / 'a' / '0.png'), np.zeros((4, 4), np.uint8))
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            train_dataloader=dict(dataset=dataset(tmp_path / 'good')),
            val_dataloader=dict(
                dataset=dict(dataset(tmp_path / 'good'), test_mode='maybe', no_such=1)
            ),
        )
    )
    with pytest.raises(ValueError, match=r"\(val_dataloader\.dataset\).*'no_such'"):
        with name_parts(cfg):
            DATASETS.build(cfg.train_dataloader.dataset)
            DATASETS.build(cfg.val_dataloader.dataset)


def test_a_data_set_that_cannot_be_built_is_explained_by_its_files(tmp_path):
    need('mmseg')

    cv2.imwrite(str(tmp_path / '0.png'), np.zeros((4, 4), np.uint8))
    prefix = dict(img_path=str(tmp_path), seg_map_path=str(tmp_path))
    own = dict(type='BaseSegDataset', metainfo=dict(classes=['a']), pipeline=[])
    own.update(data_prefix=prefix, seg_map_suffix='.png')
    cfg = Config(
        dict(
            default_scope='mmseg',
            train_dataloader=dict(dataset=dict(own, img_suffix='.png')),
            val_dataloader=dict(dataset=dict(own, img_suffix='.jpg')),
        )
    )
    with pytest.raises(ValueError, match=r'\(val_dataloader.dataset\).*img_suffix'):
        with DefaultScope.overwrite_default_scope('mmseg'), name_parts(cfg):
            DATASETS.build(cfg.train_dataloader.dataset)
            DATASETS.build(cfg.val_dataloader.dataset)
