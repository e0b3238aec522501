"""The design's table of places names everything that stands at the top."""

import re

from tests.documents import commands


def test_every_place_stands_in_the_table():
  page = (commands.ROOT / 'docs' / 'explanation' / 'design.md').read_text()
  table = page.split('## Where things are')[1].split('\n## ')[0]
  named = {name.rstrip('/').rpartition('/')[2] for cell in re.findall(r'^\| (`.*?`) \|', table, re.MULTILINE)
           for name in re.findall(r'`([^`]+)`', cell)}
  here = {path.name for path in (commands.ROOT / 'tff_vision').iterdir()
          if path.suffix == '.py' or (path / '__init__.py').exists()} | {
              path.name for path in commands.ROOT.iterdir() if path.name != 'tests' and next(path.glob('*.py'), None)}
  assert {name for name in here if name != '__init__.py' and not name.endswith('_config.py')} <= named | {
      'tff_vision', 'setup.py'}
