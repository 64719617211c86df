"""The check of data set folders: good ones pass, and each mistake is named."""

import runpy
import shutil
from pathlib import Path

import pytest

from dseq_mm.data import make_digit_scenes
from dseq_mm.data.layout import DATA_SETS, check
from dseq_mm.data.layout.report import spread
from tests.data import folders
from tests.data.mistakes import MISTAKES, cut, flatten, list_val
from tests.end_to_end import miniature

ROOT = Path(__file__).parents[2]


def coco(root):
    from mmdet.datasets import CocoDataset

    miniature.coco(root, CocoDataset.METAINFO['classes'])
    return dict(train=4, val=3)


def ade20k(root):
    miniature.ade20k(root)
    return dict(training=3, validation=3)


def digitscenes(root):
    make_digit_scenes(root, train=10, val=10, scenes_train=4, scenes_val=2)
    return {}


BUILDERS = dict(
    imagenet=folders.class_folders,
    inat21=folders.class_folders,
    cub=folders.cub,
    cars=folders.cars,
    coco=coco,
    ade20k=ade20k,
    clevr=folders.clevr,
    digitscenes=digitscenes,
)


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """A good folder of a data set, made once, and its numbers."""
    made = {}

    def get(name):
        if name not in made:
            if name in ('coco', 'digitscenes'):
                pytest.importorskip('mmdet.datasets')
            if name in ('ade20k', 'digitscenes'):
                pytest.importorskip('mmseg.datasets')
            root = tmp_path_factory.mktemp(name) / name
            made[name] = root, BUILDERS[name](root)
        return made[name]

    return get


@pytest.fixture
def checked(built, tmp_path):
    """Function that checks a copy of a good folder after a change to it."""

    def run(name, change=lambda root: None, **settings):
        good, numbers = built(name)
        root = tmp_path / 'data'
        shutil.copytree(good, root)
        change(root)
        lines = []
        settings = {'samples': 8, 'numbers': numbers, **settings}
        report = check(name, root, echo=lines.append, **settings)
        for line in report.problems:
            assert line in lines and line.startswith('PROBLEM  ') and ' -> ' in line
        return report.problems, lines

    return run


@pytest.mark.parametrize('name', BUILDERS)
def test_good_folders_pass(checked, name):
    problems, lines = checked(name)
    assert problems == []
    assert len(lines) >= 8 and all(line.startswith('ok ') for line in lines)


def test_cars_in_one_folder(tmp_path):
    numbers = folders.cars_in_one_folder(tmp_path)
    assert check('cars', tmp_path, numbers=numbers).problems == []
    (tmp_path / 'car_ims/000003.jpg').unlink()
    (problem, decoding) = check('cars', tmp_path, numbers=numbers).problems
    assert 'not so for 1 of 4' in problem and 'car_ims/000003.jpg' in problem
    assert 'decode' in decoding


@pytest.mark.parametrize('name', [name for name in BUILDERS if name != 'digitscenes'])
def test_parts_of_a_data_set_are_told_with_both_numbers(checked, built, name):
    problems, _ = checked(name, numbers=None)
    found, published = built(name)[1], DATA_SETS[name].numbers
    for key in set(found) & set(published):
        text = f'{found[key]:,}, published {published[key]:,} -> '
        assert any(text in line for line in problems), (text, problems)


def test_too_many_images_are_told(checked):
    problems, _ = checked('imagenet', numbers=dict(classes=3, train=5, val=3))
    (line,) = problems
    assert 'train: images: 6, published 5 -> remove what does not belong' in line


@pytest.mark.parametrize(
    'name, change, expected, more',
    MISTAKES,
    ids=[f'{name}-{expected[:40]}' for name, _, expected, _ in MISTAKES],
)
def test_each_mistake_is_named(checked, name, change, expected, more):
    problems, lines = checked(name, change)
    assert any(expected in line and more in line for line in problems), problems
    assert 'the check stopped' not in ''.join(problems)
    missing = any(' is missing' in line for line in problems)
    assert missing == any('\nExpected for ' in line for line in lines)


def test_all_problems_are_listed(checked):
    def change(root):
        flatten(root)
        empty = root / 'train/n00000001'
        empty.mkdir()
        cut(root / 'train/n01440764/train_0_0.jpg')

    problems, _ = checked('imagenet', change)
    assert len(problems) == 4  # folders, an empty one, an image, val
    for word in ('4, published 3', 'hold images', 'decode', 'val: 3 files'):
        assert any(word in line for line in problems)


@pytest.mark.parametrize('flat', [False, True])
def test_a_right_list_of_val_passes(checked, flat):
    def change(root):
        if flat:
            list_val(lambda lines: [line.partition('/')[2] for line in lines])(root)
            flatten(root)
        else:
            list_val()(root)

    problems, lines = checked('imagenet', change)
    assert problems == [] and any('meta/val.txt' in line for line in lines)
    # files in class folders can be compared with train, flat ones cannot
    assert any('the same 3 classes' in line for line in lines) != flat


@pytest.mark.parametrize('name', BUILDERS)
def test_no_traceback_for_strange_folders(tmp_path, name):
    for root in (tmp_path / 'nowhere', tmp_path):
        lines = []
        assert check(name, root, echo=lines.append).problems
        assert f'\nExpected for {DATA_SETS[name].title}:' in lines[-1]
        assert DATA_SETS[name].source in lines[-1] and str(root) in lines[-1]
    # files where folders are expected, and the other way round
    for name_ in ('train', 'val', 'images', 'train2017', 'digits', 'car_ims'):
        (tmp_path / name_).write_text('')
    for name_ in ('images.txt', 'cars_annos.mat', 'digitscenes.json', 'annotations'):
        (tmp_path / name_).mkdir()
    assert check(name, tmp_path, echo=lines.append).problems


def test_samples_are_spread():
    assert spread(range(10), 4) == [0, 3, 6, 9]
    assert spread(range(3), 64) == [0, 1, 2]
    assert spread(range(5), 1) == [0] and spread([], 3) == []
    assert spread(range(1000), 64)[-1] == 999 and len(set(spread(range(99), 64))) == 64


@pytest.mark.slow
def test_tool(built, tmp_path, capsys):
    main = runpy.run_path(str(ROOT / 'tools/check_data.py'))['main']
    root, _ = built('digitscenes')
    assert main(['digitscenes', '--root', str(root), '--samples', '2']) == 0
    out = capsys.readouterr().out
    assert 'all is well' in out and 'PROBLEM' not in out and 'decode (2)' in out
    assert main(['coco', '--root', str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert '4 problems' in out and 'instances_train2017.json is missing' in out
    assert main(['folder', str(root / 'scenes/train'), '--samples', '2']) == 0
    assert '2 images were decoded' in capsys.readouterr().out
    config = ['config', 'linear_digits_28e', '--cfg-options']
    for split in ('train', 'val', 'test'):
        config.append(f'{split}_dataloader.dataset.data_root={root}')
    assert main(config) == 0 and '10 images of 10 classes' in capsys.readouterr().out
    assert main([*config, 'model.head.num_classes=5']) == 1
    assert 'PROBLEM  train: the data have 10 classes' in capsys.readouterr().out
    for wrong in (
        ['nothing'],
        ['coco', '--samples', '0'],
        ['coco', 'data/coco'],
        ['folder'],
        ['folder', 'x', '--root', 'y'],
        ['config', 'x', 'y'],
    ):
        with pytest.raises(SystemExit) as stopped:
            main(wrong)
        assert stopped.value.code == 2


def test_the_page_shows_what_is_checked():
    text = (ROOT / 'docs/data.md').read_text()
    for name, facts in DATA_SETS.items():
        assert facts.tree in text and f'check_data.py {name}' in text
