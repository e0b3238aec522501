"""A document in another language has the same commands, links, headings, names in code and numbers as its original."""

import os
import pathlib
import re

import pytest

from tests.documents import commands

_PAIRS = [(commands.ROOT / translated, commands.ROOT / original)
          for translated, original in commands.TRANSLATIONS.items()]
_LINK = re.compile(r'\]\(([^)]+)\)')
_CODE = re.compile(r'`([^`\n]+)`')
_NUMBER = re.compile(r'\d+(?:[.,]\d+)*(?:e-?\d+)?')
_PYTHON = re.compile(r'^```python[^\n]*\n.*?^```', re.DOTALL | re.MULTILINE)
_BLOCK = re.compile(r'^```.*?^```', re.DOTALL | re.MULTILINE)


def _text(path):
  """Returns a document without its blocks and with every sentence on one line."""
  return re.sub(r'(?<![\n|])\n(?![\n|#`!])', ' ', _BLOCK.sub('', path.read_text()))


def _rows(path):
  return [line for line in path.read_text().splitlines() if line.startswith('|')]


def _links(path):
  """Links as (path in the checkout, whether to a heading), a translation as its original; none between the two."""
  for link in _LINK.findall(_text(path)):
    target, _, anchor = link.partition('#')
    there = path if not target else pathlib.Path(os.path.normpath(path.parent / target))
    name = str(there.relative_to(commands.ROOT))
    name = {**commands.TRANSLATIONS, **commands.SHORTENED}.get(name, name)
    if name != commands.TRANSLATIONS.get(str(path.relative_to(commands.ROOT)), str(path.relative_to(commands.ROOT))):
      yield name, bool(anchor)  # A heading in another language has another anchor; `test_site.py` follows both.


@pytest.mark.parametrize(('translated', 'original'), _PAIRS, ids=lambda path: path.name)
def test_a_translation_says_the_same(translated, original):
  ours, theirs = commands.commands(translated), commands.commands(original)
  said = lambda found: [(command.module, command.arguments, command.whole) for command in found]
  assert said(ours) == said(theirs)
  assert _PYTHON.findall(translated.read_text()) == _PYTHON.findall(original.read_text())
  assert list(_links(translated)) == list(_links(original))
  for path, other in ((translated, original), (original, translated)):
    link = os.path.relpath(other, path.parent)
    assert f']({link})' in path.read_text(), f'{path.name} does not link to {link}'
  headings = [re.findall(r'^#+(?= )', _BLOCK.sub('', path.read_text()), re.MULTILINE)
              for path in (translated, original)]
  assert headings[0] == headings[1]
  code = [sorted(_CODE.findall(_text(path))) for path in (translated, original)]
  assert code[0] == code[1]


@pytest.mark.parametrize(('translated', 'original'), _PAIRS, ids=lambda path: path.name)
def test_a_translation_has_the_same_tables(translated, original):
  ours, theirs = _rows(translated), _rows(original)
  for mine, other in zip(ours, theirs, strict=True):
    assert mine.count('|') == other.count('|')
    assert sorted(_NUMBER.findall(mine)) == sorted(_NUMBER.findall(other)), f'{mine}\n{other}'


@pytest.mark.parametrize(('shortened', 'original'), commands.SHORTENED.items())
def test_a_shortened_translation_says_nothing_else(shortened, original):
  """Each command, name in code and number of its tables stands in the original."""
  ours, theirs = commands.ROOT / shortened, commands.ROOT / original
  known = theirs.read_text()
  assert {name for name in _CODE.findall(_text(ours)) if name not in known} == set()
  assert {number for row in _rows(ours) for number in _NUMBER.findall(row)} <= set(_NUMBER.findall(known))
  link = os.path.relpath(theirs, ours.parent)
  assert f']({link})' in ours.read_text() and f']({os.path.relpath(ours, theirs.parent)})' in known
