"""Folders, lists and tar archives as one data set."""

import io
import os
import pickle
import tarfile

import numpy as np
import pytest
from mmengine import fileio
from mmpretrain.registry import DATASETS

from dseq_mm.data.own_images import find_images
from dseq_mm.data.tar_shards import tar_size
from dseq_mm.engine.record import describe_files

from .odd_folders import CONTENT, put

LOAD = [dict(type='LoadImage')]


def write_tar(path, names, **members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, 'w') as archive:
        for name in names:
            content = CONTENT.get(os.path.splitext(name)[1].lower(), b'text')
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, changes in members.items():
            member = tarfile.TarInfo(name)
            for key, value in changes.items():
                setattr(member, key, value)
            archive.addfile(member)
    return path


def names_of(*sources):
    return [
        path for part in find_images(list(map(str, sources))) for path in part.paths
    ]


def test_places_of_all_kinds_in_their_order(tmp_path):
    put(tmp_path / 'b', '2.png', 'x/1.png')
    put(tmp_path / 'lists', 'one, two.png', 'z.jpg')
    (tmp_path / 'lists' / 'list.txt').write_text('z.jpg\n\n# no\none, two.png\n')
    write_tar(tmp_path / 'a.tar', ['t/2.png', './t/1.jpg'])
    sources = [tmp_path / name for name in ('b', 'lists/list.txt', 'a.tar')]
    assert names_of(*sources) == [
        '2.png',
        'x/1.png',
        'one, two.png',
        'z.jpg',
        't/1.jpg',
        't/2.png',
    ]
    config = dict(type='OwnImages', sources=list(map(str, sources)), pipeline=LOAD)
    dataset = DATASETS.build(dict(type='KeyedDataset', dataset=config))
    assert len(dataset) == 6 and not dataset.unreadable
    again = pickle.loads(pickle.dumps(dataset))
    for index in range(6):
        assert dataset[index]['img'].shape == (8, 8, 3)
        assert again[index]['img_path'] == dataset[index]['img_path']
    assert not dataset.unreadable
    lines = dataset.dataset.files.lines()
    assert len(lines) == 4 and lines[-1] == '6 images in 3 places'


def test_what_is_reached_twice_is_taken_once(tmp_path):
    put(tmp_path, 'a/1.png', 'b/2.png')
    (tmp_path / 'list.txt').write_text('a/1.png\nb/../a/1.png\nb/2.png\n')
    os.symlink(tmp_path / 'a' / '1.png', tmp_path / 'b' / 'link.png')
    write_tar(tmp_path / 'x.tar', ['t.png'])
    parts = find_images(
        [str(tmp_path / name) for name in ('a', 'list.txt', 'b', 'x.tar', 'x.tar')]
    )
    assert [len(part) for part in parts] == [1, 1, 0, 1, 0]
    assert '2 files reached twice' in parts[1].lines()[0]
    assert '2 files reached twice' in parts[2].lines()[0]


def test_patterns_and_ranges(tmp_path):
    for number in range(12):
        write_tar(tmp_path / f's-{number:03d}.tar', [f'{number}.png'])
    expected = [f'{number}.png' for number in range(12)]
    assert names_of(tmp_path / 's-{000..011}.tar') == expected
    assert names_of(tmp_path / 's-*.tar') == expected
    assert names_of(tmp_path / 's-00{3..1}.tar') == ['3.png', '2.png', '1.png']
    assert names_of(tmp_path / 's-{00..01}{1..1}.tar') == ['1.png', '11.png']
    put(tmp_path / 'odd{1..2}[x]', 'a.png')
    assert names_of(tmp_path / 'odd{1..2}[x]') == ['a.png']
    with pytest.raises(ValueError, match='s-012.tar is missing'):
        names_of(tmp_path / 's-{000..999}.tar')


def test_a_pattern_over_all_folders_follows_no_links(tmp_path):
    for name in ('a/s.tar', 'a/b/c/s.tar', '.hidden/s.tar'):
        write_tar(tmp_path / 'x' / name, [f'{name.replace("/", "-")}.png'])
    for number in range(3):  # as a tree of 3 ** 40 folders to who follows them
        (tmp_path / 'x/a' / f'link{number}').symlink_to(tmp_path / 'x')
    expected = ['a-b-c-s.tar.png', 'a-s.tar.png']
    assert names_of(tmp_path / 'x/**/*.tar') == expected
    assert names_of(tmp_path / '?/**/s.tar') == expected
    put(tmp_path / 'y', '1.png', 'z/2.png')
    assert names_of(tmp_path / 'y/**') == ['1.png', 'z/2.png']
    with pytest.raises(ValueError, match='nothing matches'):
        names_of(tmp_path / 'x/**/*.zip')


def test_what_is_in_an_archive(tmp_path):
    path = write_tar(
        tmp_path / 'Shard, 1.TAR',
        ['a.png', 'a.png', '._b.png', '.cache/x.png', '__MACOSX/y.png', 'note.txt'],
        **{
            'empty.png': {},
            'hard.png': dict(type=tarfile.LNKTYPE, linkname='a.png'),
            'soft.png': dict(type=tarfile.SYMTYPE, linkname='a.png'),
            'folder.png': dict(type=tarfile.DIRTYPE),
            'pipe.png': dict(type=tarfile.FIFOTYPE),
        },
    )
    (part,) = find_images([str(path)])
    assert part.paths == ['a.png']
    assert fileio.get(part.locations[0]) == CONTENT['.png']
    for words in (
        '1 files replaced by later ones of their name (a.png)',
        '1 hidden or system files (._b.png)',
        '2 hidden or system folders (.cache, __MACOSX)',
        '1 files of other kinds (.txt)',
        '1 empty files (empty.png)',
        '2 links within the archive (hard.png, soft.png)',
        '1 pipes, sockets or devices (pipe.png)',
    ):
        assert words in part.lines()[0]


@pytest.mark.parametrize('form', [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_odd_names_in_archives(tmp_path, form):
    names = ['x' * 300 + '/Ü, @1+2#.png', '/absolute.png', '../up.png', 'a.tar#b.png']
    path = tmp_path / 'two\nlines.tar'
    with tarfile.open(path, 'w', format=form) as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(CONTENT['.png'])
            archive.addfile(member, io.BytesIO(CONTENT['.png']))
    (part,) = find_images([str(path)])
    assert part.paths == sorted(names)
    for location in part.locations:
        assert tar_size(location) == len(CONTENT['.png'])
        assert fileio.get(location) == CONTENT['.png']


def test_an_archive_that_shrank_is_an_unreadable_image(tmp_path):
    path = write_tar(tmp_path / 'x.tar', ['a.png', 'b.png'])
    config = dict(type='OwnImages', sources=str(path), pipeline=LOAD)
    dataset = DATASETS.build(dict(type='KeyedDataset', dataset=config))
    os.truncate(path, 1024)
    assert dataset[1]['img_path'].endswith('#a.png')
    assert dataset.unreadable == [1]


def cut(path, size):
    write_tar(path, ['a.png', 'b.png'])
    with open(path, 'r+b') as file:
        file.truncate(size)


def wrong_places(root):
    put(root, 'one.png', 'a.zip', 'b.csv', 'data.tar.gz', 'gifs/a.gif', 'list/a.png')
    (root / 'none').mkdir()
    (root / 'empty.tar').touch()
    (root / 'text.tar').write_text('no archive' * 100)
    (root / 'empty.txt').write_text('# nothing\n\n')
    (root / 'missing.txt').write_text('one.png\ngone.png\n')
    (root / 'words.txt').write_text('one.png 3\n')
    (root / 'csv.txt').write_text('path,label\none.png,1\n')
    (root / 'utf16.txt').write_text('one.png\n', encoding='utf-16')
    cut(root / 'cut.tar', 700)
    cut(root / 'no_end.tar', 2048)
    with tarfile.open(root / 'packed.tar', 'w:gz') as archive:
        archive.add(root / 'one.png')
    whole = write_tar(root / 'whole.tar', ['a.png']).read_bytes()
    (root / 'joined.tar').write_bytes(whole * 2)
    write_tar(root / 'tars' / 'inner.tar', ['a.png'])
    write_tar(root / 'outer.tar', ['inner.tar'])


WRONG = {
    'gone': 'no such folder',
    'gone.txt': 'no such file',
    'gone.tar': 'no such file',
    'gone*': 'nothing matches',
    'gone-{0..3}.tar': 'gone-0.tar is missing',
    'one.png': 'one image: give its folder',
    'a.zip': 'no folder, list',
    'b.csv': 'no folder, list',
    'data.tar.gz': 'compressed.*decompress',
    'packed.tar': 'no whole tar archive',
    'empty.tar': 'no whole tar archive',
    'text.tar': 'no whole tar archive',
    'cut.tar': 'no whole tar archive|cut off',
    'no_end.tar': 'cut off',
    'joined.tar': 'goes on after its end mark',
    'outer.tar': 'no image in .*.tar',
    'tars': "no image in .*'FOLDER/",
    'none': 'no image in .*left out: nothing',
    'gifs': 'no image in .*gif',
    'empty.txt': 'no image in',
    'missing.txt': '1 of the listed files do not exist, first gone.png in line 2',
    'words.txt': 'line 1',
    'csv.txt': 'line 1',
    'utf16.txt': 'no list in UTF-8',
    's3://bucket/x': 'only local',
}


@pytest.fixture(scope='module')
def wrong(tmp_path_factory):
    root = tmp_path_factory.mktemp('wrong')
    wrong_places(root)
    return root


@pytest.mark.parametrize('name', WRONG)
def test_wrong_places_are_refused_in_one_line(wrong, name):
    place = name if '://' in name else f'{wrong}/{name}'
    with pytest.raises(ValueError, match=WRONG[name]) as error:
        find_images([place])
    assert '\n' not in str(error.value)


def test_lists_of_other_systems(tmp_path):
    put(tmp_path, 'ä, b.png', 'c d.png')
    text = f'\ufeffä, b.png\r\n\r\n# comment\r\n{tmp_path}/c d.png\r\n'
    (tmp_path / 'list.txt').write_bytes(text.encode())
    assert len(names_of(tmp_path / 'list.txt')) == 2


def test_a_broken_image_is_named(tmp_path):
    put(tmp_path, 'a.png')
    (tmp_path / 'b.png').write_bytes(b'no image')
    config = dict(type='OwnImages', sources=str(tmp_path), pipeline=LOAD)
    dataset = DATASETS.build(config)
    assert np.shape(dataset[0]['img']) == (8, 8, 3)
    with pytest.raises(ValueError, match='b.png: no image'):
        dataset[1]


def digest_of(*sources):
    dataset = DATASETS.build(
        dict(type='OwnImages', sources=list(map(str, sources)), pipeline=LOAD)
    )
    return describe_files(dataset)['digest']


@pytest.mark.slow
def test_another_order_or_other_archives_are_other_data(tmp_path):
    for name in ('d', 'e'):
        put(tmp_path, f'{name}/0.png')
        write_tar(tmp_path / f'{name}.tar', ['0.png'])
    d, e = tmp_path / 'd', tmp_path / 'e'
    assert digest_of(d, e) != digest_of(e, d)
    assert digest_of(d) == digest_of(e)  # one folder may be renamed
    moved = tmp_path / 'elsewhere'
    moved.mkdir()
    before = digest_of(d, tmp_path / 'e.tar')
    d.rename(moved / 'd'), (tmp_path / 'e.tar').rename(moved / 'e.tar')
    assert digest_of(moved / 'd', moved / 'e.tar') == before
    # the same names, of another size
    archive = write_tar(tmp_path / 'new.tar', ['0.png'])
    before = digest_of(archive)
    with tarfile.open(archive, 'w') as file:
        member = tarfile.TarInfo('0.png')
        member.size = len(CONTENT['.png']) + 1
        file.addfile(member, io.BytesIO(CONTENT['.png'] + b'x'))
    assert digest_of(archive) != before


def test_an_address_in_the_name_of_an_archive(tmp_path):
    archive = write_tar(tmp_path / 'x@1+2#y.tar', ['0.png'])
    (part,) = find_images([str(archive)])
    assert fileio.get(part.locations[0]) == CONTENT['.png']


@pytest.mark.parametrize('name', ['f.tar', 'f.txt'])
def test_a_pipe_is_refused(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match='neither a file nor a folder'):
        find_images([str(tmp_path / name)])
