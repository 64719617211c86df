"""Values of --cfg-options arrive as they were typed."""

import argparse
import math

import pytest

from dseq_mm.cli.options import add_options_argument, read_options, read_value

VALUES = {
    '1': 1,
    '-5': -5,
    '1e-3': 0.001,
    'true': True,
    'False': False,
    'None': None,
    'null': None,
    'none': None,
    '': '',
    'a,b': 'a,b',
    'my data': 'my data',
    ' x ': ' x ',
    'a]': 'a]',
    "it's": "it's",
    '1_0': '1_0',
    '1,2': [1, 2],
    '8,': [8],
    '1.5,None,true': [1.5, None, True],
    '1,a': '1,a',
    '[]': [],
    '()': (),
    '(1)': (1,),
    '[a, b c]': ['a', 'b c'],
    '[\'a,b\', "c", d]': ['a,b', 'c', 'd'],
    '[(1, 2), [3]]': [(1, 2), [3]],
    '(1,2),(3,4)': [(1, 2), (3, 4)],
    "[it's, b]": ["it's", 'b'],
    '"a,b"': 'a,b',
    "'1'": '1',
    "{'a': [1, 2]}": {'a': [1, 2]},
    "dict(type='SGD', lr=0.1)": {'type': 'SGD', 'lr': 0.1},
    "[dict(type='A'), {'b': 1}]": [{'type': 'A'}, {'b': 1}],
}
WRONG = ['"a', '[a', '[1,2]x', '[1,,2]', '(my) data', '{a: 1}', 'dict(', '[1,2', '{']


@pytest.mark.parametrize(('text', 'value'), VALUES.items())
def test_value(text, value):
    read = read_value(text)
    assert read == value and type(read) is type(value)


def test_no_number():
    assert math.isnan(read_value('nan')) and read_value('nancy') == 'nancy'


@pytest.mark.parametrize('text', WRONG)
def test_what_does_not_match_is_refused(text):
    with pytest.raises(ValueError, match='match|nothing between|no dict|follows'):
        read_value(text)


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('data.data_root=2020', '2020'),
        ('work_dir=1e5', '1e5'),
        ('load_from=None', None),
        ('ann_file=None', None),
        ('loss.reduction=none', 'none'),
        ('a=b=c', 'b=c'),
        ('data_prefix=[1, 2]', [1, 2]),
    ],
)
def test_names_and_paths_are_texts(text, value):
    assert list(read_options([text]).values()) == [value]


@pytest.mark.parametrize(
    ('texts', 'words'),
    [
        (['a'], 'no KEY=VALUE'),
        (['=1'], 'no KEY=VALUE'),
        (['a..b=1'], 'no KEY=VALUE'),
        (['a =1'], 'no KEY=VALUE'),
        (['a=1', 'a=2'], 'given twice'),
        (['a.b=1', 'a={}'], 'set the same'),
        (['a={}', 'a.b.c=1'], 'set the same'),
        (['a=[1'], 'a=\\[1: .*"a=\'TEXT\'"'),
    ],
)
def test_wrong_options(texts, words):
    with pytest.raises(ValueError, match=words):
        read_options(texts)


def test_the_argument_adds_up():
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options_argument(parser)
    given = ['--cfg-options', 'a=1', 'ab=2', '--cfg-options', 'b=my data']
    parsed = parser.parse_args(given).cfg_options
    assert parsed == dict(a=1, ab=2, b='my data')
    assert parser.parse_args([]).cfg_options == {}
    with pytest.raises(argparse.ArgumentError, match='a is given twice'):
        parser.parse_args([*given, '--cfg-options', 'a=1'])
