"""Pages in a real browser, at three widths, light and dark: words are whole, nothing overflows, all can be read."""

import pathlib

import pytest

from tests import browser
from tests.report import made

CHECKS = pathlib.Path(__file__).with_name('checks.js').read_text()
pytestmark = [pytest.mark.ci, pytest.mark.skipif(browser.PROGRAM is None, reason='there is no chromium')]


@pytest.fixture(scope='module')
def opened():
  with browser.Browser() as one:
    yield one


@pytest.fixture(scope='module')
def paths(tmp_path_factory):
  return made.write_all(tmp_path_factory.mktemp('pages'))


def test_pages_of_every_kind_are_whole_and_readable(opened, paths):
  wrong = {}
  for name, path in paths.items():
    for width in (1400, 700, 400):
      for dark in (False, True):
        opened.open(path, width=width, dark=dark)
        if found := opened.run(CHECKS):
          wrong[f'{name}, {width}, {"dark" if dark else "light"}'] = found
  assert not wrong, wrong


def test_marks_have_tooltips_and_nothing_is_fetched_or_run(opened, paths):
  opened.open(paths['classes'], width=1400)
  found = opened.run("""({bare: [...document.querySelectorAll('svg .dot, svg .bar, svg .cell')]
      .filter(one => !one.querySelector('title')).length,
    marks: document.querySelectorAll('svg .dot, svg .bar, svg .cell').length,
    fetched: performance.getEntriesByType('resource').filter(one => !one.name.startsWith('data:')).length,
    scripts: document.scripts.length})""")
  assert found['marks'] > 100 and not found['bare'] and not found['fetched'] and not found['scripts']


@pytest.mark.parametrize('page,kind', [
    ('<table class="numeric" style="width: 60px; table-layout: fixed; overflow-wrap: anywhere"><caption>c</caption>'
     '<tr><th scope="row">r</th><td style="white-space: normal">123456789012</td></tr></table>', 'a word or number'),
    ('<p style="white-space: nowrap; width: 60px">very long words that overflow their box</p>', 'text overflows'),
    ('<p style="color: #999">grey on white</p>', 'too little contrast'), ('<img src="data:,">', 'without alt text'),
    ('<svg><text x="0" y="9">a</text></svg>', 'a chart without'), ('<h3>deep</h3>', 'skips a level'),
    ('<div style="width: 9000px">wide</div>', 'scrolls sideways')])
def test_the_checks_find_what_is_wrong(opened, tmp_path, page, kind):
  """The same checks say nothing of an empty page."""
  shell = '<!DOCTYPE html><html lang="en"><title>t</title><body style="background: #fff">{}</body></html>'
  path = tmp_path / 'page.html'
  path.write_text(shell.format(''))
  opened.open(path, width=700)
  assert opened.run(CHECKS) == []
  path.write_text(shell.format(page))
  opened.open(path, width=700)
  assert any(kind in one for one, _ in opened.run(CHECKS))
