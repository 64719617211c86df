"""What is an image in a folder, in which order, and what is said about the rest."""

import os
import shutil

import pytest
from mmpretrain.datasets import CustomDataset

from dseq_mm.data.files import FolderSearch, printable

from .odd_folders import FOLDERS, put


@pytest.mark.parametrize('kind', FOLDERS)
def test_odd_folders(tmp_path, kind):
    root = tmp_path / 'root'
    root.mkdir()
    names, left_out, *place = FOLDERS[kind](root)
    found = FolderSearch().search(str(place[0] if place else root))
    assert found.paths == names
    assert left_out in found.omissions()
    assert bool(left_out) == bool(found.omissions())
    (line,) = found.lines()
    assert line.isprintable() and str(len(names)) in line


def test_the_line(tmp_path):
    put(tmp_path, 'a/1.png', 'a/2.PNG', 'b/3.webp', 'c/x.txt')
    put(tmp_path, '.thumbnails/1.png', 'loose.png')
    (tmp_path / 'a' / 'x.jpg').touch()
    found = FolderSearch().search(str(tmp_path), with_classes=True)
    assert found.labels == [0, 0, 1] and found.classes == ('a', 'b', 'c')
    line = found.lines()[0]
    assert line.startswith(f'3 images of 3 classes (2 .png, 1 .webp) in {tmp_path}; ')
    for part in (
        '1 hidden or system folders (.thumbnails)',
        '1 images beside the class folders (loose.png)',
        '1 empty files (a/x.jpg)',
        '1 files of other kinds (.txt)',
        '1 classes without images (c)',
    ):
        assert part in line


@pytest.mark.parametrize('with_label', [True, False])
@pytest.mark.parametrize(
    'kind', ['nested', 'numbers', 'names_that_sort_around_the_slash', 'unicode_names']
)
def test_the_order_is_that_of_mmpretrain(tmp_path, kind, with_label):
    FOLDERS[kind](tmp_path)
    theirs = CustomDataset(data_root=str(tmp_path), with_label=with_label)
    found = FolderSearch().search(str(tmp_path), with_label)
    infos = [theirs.get_data_info(index) for index in range(len(theirs))]
    assert [info['img_path'] for info in infos] == [
        f'{tmp_path}/{path}' for path in found.paths
    ]
    if with_label:
        assert [info['gt_label'] for info in infos] == found.labels
        assert theirs.metainfo['classes'] == found.classes


def test_a_folder_that_cannot_be_opened(tmp_path, monkeypatch):
    put(tmp_path, 'a/1.png', 'b/2.png')
    scandir = os.scandir

    def closed(path):
        if str(path).endswith('/a'):
            raise PermissionError(13, 'Permission denied')
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', closed)
    found = FolderSearch().search(str(tmp_path))
    assert found.paths == ['b/2.png']
    assert '1 folders that cannot be opened (a: Permission denied)' in found.lines()[0]


def test_links_of_classes(tmp_path):
    put(tmp_path / 'photos' / 'cats', '1.png')
    put(tmp_path / 'train', 'dog/1.png')
    os.symlink(tmp_path / 'photos' / 'cats', tmp_path / 'train' / 'cat')
    found = FolderSearch().search(str(tmp_path / 'train'), with_classes=True)
    assert found.classes == ('cat', 'dog') and found.labels == [0, 1]
    os.symlink(tmp_path / 'train' / 'dog', tmp_path / 'train' / 'a')
    with pytest.raises(ValueError, match='an image has one class'):
        FolderSearch().search(str(tmp_path / 'train'), with_classes=True)


def test_overlapping_folders_are_taken_once(tmp_path):
    put(tmp_path, 'a/1.png', 'b/2.png')
    for places in (['', 'a'], ['a', ''], ['a', 'b', ''], ['', '']):
        search = FolderSearch()
        parts = [search.search(str(tmp_path / place)) for place in places]
        taken = [f'{part.place}/{path}' for part in parts for path in part.paths]
        assert sorted(os.path.basename(path) for path in taken) == ['1.png', '2.png']
        assert any('reached twice' in part.omissions() for part in parts)


def test_a_link_is_taken_before_what_it_leads_to(tmp_path):
    put(tmp_path / 'b', 'x.png')
    (tmp_path / 'a').mkdir()
    os.symlink(tmp_path / 'b' / 'x.png', tmp_path / 'a' / 'x.png')
    search = FolderSearch()
    parts = [search.search(str(tmp_path / name)) for name in 'ab']
    assert [len(part) for part in parts] == [1, 0]
    shutil.rmtree(tmp_path / 'a')


def test_own_suffixes(tmp_path):
    put(tmp_path, 'a.png', 'b.gif')
    found = FolderSearch(('.gif',)).search(str(tmp_path))
    assert found.paths == ['b.gif']


def test_names_that_are_safe_to_print():
    assert printable('Über, uns.png') == 'Über, uns.png'
    assert printable('a\nb') == 'a\\nb'
    assert printable('p' * 4096) == 'p' * 4096
    assert len(printable('a' + 'b' * 10**5 + 'c')) < 500
    assert printable('\udcff').isascii()
