"""check_data.py folder: what is broken, tiny, there twice or odd."""

import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from dseq_mm.data.checks.folder import check_folder


@pytest.fixture
def photos(tmp_path):
    generator = np.random.default_rng(0)
    for name in ('a', 'b'):
        (tmp_path / name).mkdir()
        for number in range(2):
            pixels = generator.integers(0, 255, (40, 48, 3), np.uint8)
            cv2.imwrite(str(tmp_path / name / f'{number}.jpg'), pixels)
    return tmp_path


def run(root, **settings):
    lines = []
    number = check_folder([str(root)], echo=lines.append, **settings)
    return number, '\n'.join(lines)


def test_good_folder(photos):
    number, text = run(photos)
    assert number == 0 and 'PROBLEM' not in text and 'odd' not in text
    assert '4 images (4 .jpg)' in text and '2 folders of 2 to 2' in text
    assert run(photos, samples=2)[1].endswith('2 images were decoded')


def cut(root):
    path = root / 'a/0.jpg'
    path.write_bytes(path.read_bytes()[:-200])


def twice(root):
    shutil.copy(root / 'a/0.jpg', root / 'b/copy.jpg')


def save(name, mode='RGB', size=(48, 40), **kwargs):
    return lambda root: Image.new(mode, size, 0).save(root / name, **kwargs)


FAULTS = [
    (cut, 1, 'broken', 'a/0.jpg'),
    (lambda root: (root / 'a/x.png').write_bytes(b'text'), 1, 'broken', 'x.png'),
    (save('a/t.png', size=(8, 40)), 1, 'tiny', '8 x 40'),
    (twice, 1, 'duplicates', 'copy.jpg'),
    (save('a/x.jpg', format='PNG'), 0, 'another format', 'x.jpg'),
    (save('a/x.png', mode='I;16'), 0, '16 bits', 'x.png'),
    (save('a/x.jpg', mode='CMYK'), 0, 'CMYK', 'x.jpg'),
    (save('a/x.png', size=(40, 500)), 0, 'over 10 times', 'x.png'),
    (save('a/x.gif'), 0, 'formats that are not read', '.gif'),
]


@pytest.mark.parametrize('change, problems, words, more', FAULTS)
def test_faults_are_named(photos, change, problems, words, more):
    change(photos)
    number, text = run(photos)
    assert number == problems, text
    assert any(words in line and more in line for line in text.splitlines()), text


def test_several_processes_find_the_same(photos):
    for number in range(70):
        shutil.copy(photos / 'a/0.jpg', photos / f'a/copy{number}.jpg')
    alone, text = run(photos, processes=1)
    assert run(photos, processes=2) == (alone, text) and '70 of 74 images' in text
