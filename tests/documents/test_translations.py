"""A document in another language has the same commands, links, headings, names in code and numbers as its original."""

import re

import pytest

from tests.documents import commands

_PAIRS = [(commands.ROOT / translated, commands.ROOT / original)
          for translated, original in commands.TRANSLATIONS.items()]
_LINK = re.compile(r'\]\(([^)]+)\)')
_CODE = re.compile(r'`([^`\n]+)`')
_NUMBER = re.compile(r'\d+(?:[.,]\d+)*(?:e-?\d+)?')
_PYTHON = re.compile(r'^```python\n.*?^```', re.DOTALL | re.MULTILINE)
_BLOCK = re.compile(r'^```.*?^```', re.DOTALL | re.MULTILINE)


def _text(path):
  """Returns a document without its blocks and with every sentence on one line."""
  return re.sub(r'(?<![\n|])\n(?![\n|#`!])', ' ', _BLOCK.sub('', path.read_text()))


def _rows(path):
  return [line for line in path.read_text().splitlines() if line.startswith('|')]


@pytest.mark.parametrize(('translated', 'original'), _PAIRS, ids=lambda path: path.name)
def test_a_translation_says_the_same(translated, original):
  ours, theirs = commands.commands(translated), commands.commands(original)
  said = lambda found: [(command.module, command.arguments, command.whole) for command in found]
  assert said(ours) == said(theirs)
  assert _PYTHON.findall(translated.read_text()) == _PYTHON.findall(original.read_text())
  links = [[link for link in _LINK.findall(_text(path)) if not link.startswith('README')]
           for path in (translated, original)]
  assert links[0] == links[1]
  for path, other in ((translated, original), (original, translated)):
    assert f']({other.name})' in path.read_text(), f'{path.name} does not link to {other.name}'
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
