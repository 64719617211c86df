"""What the pages name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md']
PAGES += [*sorted((ROOT / 'docs').rglob('*.md'))]
TESTS = re.compile(r'`(tests/[\w/]+(?:\.py)?)(?:::(\w+))?`')
LINK = re.compile(r'\]\(([^)#:]+)(?:#[\w-]+)?\)')


@pytest.mark.parametrize('page', PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_and_pages_that_a_page_names_exist(page):
    text = page.read_text()
    for path, function in TESTS.findall(text):
        found = ROOT / path
        assert found.exists(), path
        assert not function or f'def {function}(' in found.read_text(), function
    for link in LINK.findall(text):
        assert (page.parent / link).exists(), link


def test_every_promise_has_its_test():
    text = (ROOT / 'docs/promises.md').read_text()
    table = re.search(r'\| promise \| test \|\n\|.*\n((?:\|.*\n)+)', text)[1]
    rows = table.splitlines()
    assert len(rows) >= 9
    for row in rows:
        assert TESTS.search(row.split('|')[2]), row
