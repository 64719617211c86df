"""Files are whole at any time, and JSON is JSON."""

import json
import os

import numpy as np
import pytest

from dseq_mm.utils.files import read_json, write_json, write_text


def test_facts_come_back(tmp_path):
    facts = dict(a=[1, dict(b=None)], c='ü', d=0.1)
    text = write_json(tmp_path / 'made' / 'facts.json', facts)
    assert read_json(tmp_path / 'made' / 'facts.json') == facts == json.loads(text)


def test_what_is_not_finite_becomes_null_at_any_depth(tmp_path):
    facts = dict(
        rows=[dict(mean=float('nan'), all=np.array([1.0, np.inf]))], n=np.int64(3)
    )
    write_json(tmp_path / 'facts.json', facts, indent=None)
    text = (tmp_path / 'facts.json').read_text()
    assert text == '{"rows": [{"mean": null, "all": [1.0, null]}], "n": 3}\n'


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'text'
    write_text(path, 'old')
    monkeypatch.setattr(os, 'replace', lambda *args: pytest.fail('stopped here'))
    with pytest.raises(pytest.fail.Exception):
        write_text(path, 'new')
    assert path.read_text() == 'old'


@pytest.mark.parametrize('text', ['', '{"a": 1', '[1]', '\x00'])
def test_damaged_files_are_named(tmp_path, text):
    path = tmp_path / 'facts.json'
    path.write_text(text)
    with pytest.raises(ValueError, match='facts.json is damaged'):
        read_json(path)
