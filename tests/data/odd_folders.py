"""Odd folders, each with what should be found in it.

A function makes a folder and returns the names that should be listed, in order, and
words of the line about what is left out (empty: nothing is).
"""

import os
import socket

import cv2
import numpy as np

IMAGE = np.full((8, 8, 3), 100, np.uint8)
CONTENT = {
    suffix: cv2.imencode(suffix, IMAGE)[1].tobytes()
    for suffix in ('.png', '.jpg', '.bmp', '.webp', '.tiff', '.ppm')
}
CONTENT |= {'.jpeg': CONTENT['.jpg'], '.tif': CONTENT['.tiff']}
CONTENT['.pgm'] = cv2.imencode('.pgm', IMAGE[..., 0])[1].tobytes()
FOLDERS = {}


def folder(function):
    FOLDERS[function.__name__] = function
    return function


def put(root, *names):
    """Write an image to each name; its content is that of its suffix, if known."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        suffix = os.path.splitext(name)[1].lower()
        path.write_bytes(CONTENT.get(suffix, CONTENT['.png']))
    return [*names]


@folder
def flat(root):
    return put(root, 'a.png', 'b.jpg'), ''


@folder
def nested(root):
    return put(root, 'a.png', 'a/b/2.png', 'a/b/c/d/1.png'), ''


@folder
def all_formats(root):
    names = [f'x{suffix}' for suffix in CONTENT]
    return sorted(put(root, *names)), ''


@folder
def upper_case(root):
    return put(root, 'A.PNG', 'B.JPEG', 'C.TiF', 'D.WebP'), ''


@folder
def several_dots(root):
    return put(root, 'a.tar.gz.png', 'b..png', 'c.png.jpg'), ''


@folder
def hidden_class(root):
    put(root, '.ipynb_checkpoints/a-checkpoint.png', 'b/.thumbnails/b.png')
    return put(root, 'b/b.png'), 'hidden or system folders (.ipynb_checkpoints, .thumb'


@folder
def hidden_files(root):
    put(root, '._a.png', '.DS_Store')
    return put(root, 'a.png'), '2 hidden or system files (.DS_Store, ._a.png)'


@folder
def debris(root):
    put(
        root, '@eaDir/a.png', '__MACOSX/a.png', '$RECYCLE.BIN/a.png', 'lost+found/a.png'
    )
    put(root, 'Thumbs.db')
    return put(root, 'a.png'), '4 hidden or system folders'


@folder
def debris_in_other_case(root):
    put(root, '@EADIR/a.png', '__macosx/b.png')
    return put(root, 'a.png'), '2 hidden or system folders'


@folder
def link_to_itself(root):
    os.symlink('loop', root / 'loop')
    return put(root, 'a.png'), '1 links to nothing (loop)'


@folder
def link_to_itself_named_as_an_image(root):
    os.symlink('loop.png', root / 'loop.png')
    return put(root, 'a.png'), '1 links to nothing (loop.png)'


@folder
def link_loop(root):
    put(root, 'a/1.png', 'b/2.png')
    os.symlink(root, root / 'a' / 'up')
    os.symlink(root / 'a', root / 'b' / 'across')
    return ['a/1.png', 'b/2.png'], '2 folders reached twice'


@folder
def link_to_a_folder_outside(root):
    put(root.parent / 'outside', 'x/1.png')
    os.symlink(root.parent / 'outside', root / 'link')
    os.symlink(root.parent / 'outside', root / 'other')
    return ['link/x/1.png'], '1 folders reached twice (other)'


@folder
def link_to_a_file(root):
    put(root.parent / 'outside', '1.png')
    os.symlink(root.parent / 'outside' / '1.png', root / 'b.png')
    return ['b.png'], ''


@folder
def links_to_the_same_file(root):
    put(root, 'z.png')
    os.symlink('z.png', root / 'a.png')
    os.symlink('a.png', root / 'b.png')
    return ['z.png'], '2 files reached twice'


@folder
def dangling_link(root):
    os.symlink('gone.png', root / 'b.png')
    return put(root, 'a.png'), '1 links to nothing (b.png)'


@folder
def empty_file(root):
    (root / 'x.jpg').touch()
    return put(root, 'a.png'), '1 empty files (x.jpg)'


@folder
def pipe(root):
    os.mkfifo(root / 'p.png')
    return put(root, 'a.png'), '1 pipes, sockets or devices (p.png)'


@folder
def socket_file(root):
    before = os.getcwd()
    os.chdir(root)  # an address is short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind('s.png')
    finally:
        os.chdir(before)
    return put(root, 'a.png'), '1 pipes, sockets or devices'


@folder
def folder_named_as_an_image(root):
    return put(root, 'x.png/a.png'), ''


@folder
def unicode_names(root):
    return put(root, 'Übung/ß.png', '猫/犬.png'), ''


@folder
def spaces_and_commas(root):
    return put(root, ' a b, c/d , e.png', "it's.png"), ''


@folder
def newline(root):
    return put(root, 'a\nb/c\td.png'), ''


@folder
def undecodable(root):
    name = os.fsdecode(b'\xff\xfe.png')
    (root / name).write_bytes(CONTENT['.png'])
    return [name], ''


@folder
def glob_characters(root):
    return put(root, '[a]/*.png', '[a]/{b}.png', '[a]/~?.png'), ''


@folder
def special_characters(root):
    return put(root, '#a@1+2.png', '%s.png', '-x.png'), ''


@folder
def other_kinds(root):
    put(root, 'b.txt', 'c.txt', 'd.json', 'Makefile')
    return put(root, 'a.png'), '4 files of other kinds (.txt'


@folder
def unread_formats(root):
    put(root, 'b.gif', 'c.HEIC', 'd.avif')
    return put(
        root, 'a.png'
    ), '3 images in formats that are not read (.avif, .gif, .heic)'


@folder
def no_suffix(root):
    put(root, 'ILSVRC', 'png')
    return put(root, 'a.png'), '2 files of other kinds (no suffix)'


@folder
def archives(root):
    put(root, 'b.tar', 'c.zip')
    return put(root, 'a.png'), '2 files of other kinds (.tar, .zip)'


@folder
def deep(root):
    name = '/'.join(['d'] * 60) + '/a.png'
    return put(root, name), ''


@folder
def empty_folders(root):
    (root / 'none').mkdir()
    return put(root, 'a.png'), ''


@folder
def numbers(root):
    return put(root, '1/1.png', '10/1.png', '2/1.png', '2/10.png', '2/2.png'), ''


@folder
def names_that_sort_around_the_slash(root):
    return put(root, 'a-b/1.png', 'a.png', 'a/1.png', 'a0/1.png'), ''


@folder
def the_folder_itself_is_hidden(root):
    inner = root / '.cache'
    put(inner, 'a.png')
    return ['a.png'], '', inner


@folder
def the_folder_itself_is_a_link(root):
    put(root / 'real', 'a.png')
    os.symlink(root / 'real', root / 'link')
    return ['a.png'], '', root / 'link'
