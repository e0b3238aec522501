"""The tables of documents, from the rows of the catalogue."""

import re
from collections.abc import Callable, Mapping

from tff_vision import catalogue
from tff_vision.catalogue import Row, Trait

BEGIN, END = '<!-- rows: {} -->', '<!-- /rows -->'
_BLOCK = re.compile(r'<!-- rows: (\w+) -->\n.*?<!-- /rows -->', re.DOTALL)
# Column of what goes with which algorithm -> the choices that it stands for.
COLUMNS: Mapping[str, tuple[tuple[str, str], ...]] = {
    'client-level privacy': tuple(('privacy', name) for name in catalogue.with_trait('privacy', Trait.CLIENT_LEVEL)),
    'example-level privacy': tuple(('privacy', name) for name in catalogue.with_trait('privacy', Trait.EXAMPLE_LEVEL)),
    'threshold encryption': (('secure_sum', 'he'),),
    'encryption to a key holder': (('secure_sum', 'he_keyholder'),),
    'masks': (('secure_sum', 'masks'),),
    'remote workers': (('runtime', 'workers'),),
    'data on workers': (('data_placement', 'worker'),),
}


def refreshed(text: str) -> str:
  """Returns a document with the tables between its markers as the catalogue has them.

  Raises:
    KeyError: A marker names no table.
  """
  return _BLOCK.sub(lambda found: f'{BEGIN.format(found[1])}\n{TABLES[found[1]]()}\n{END}', text)


def named(text: str) -> list[str]:
  """Returns the names of the tables in a document."""
  return [found[1] for found in _BLOCK.finditer(text)]


def refusals(algorithm: str) -> Mapping[str, str]:
  """Returns the columns that an algorithm does not go with -> why not."""
  row = catalogue.row('algorithm', algorithm)
  # Of ifca with one model nobody asks.
  traits = row.traits | {trait for trait, _, _ in row.traits_unless}
  found = {}
  for column, choices in COLUMNS.items():
    # All choices of a column are refused for one reason, or none is.
    (reason,) = {catalogue.clash(row, traits, catalogue.row(*choice).traits) for choice in choices}
    if reason is not None:
      found[column] = reason
  return found


def _table(field: str, *columns: tuple[str, Callable[[Row], str]]) -> str:
  head = [f'`--{field}`', *(title for title, _ in columns)]
  rows = [[f'`{row.name}`', *(cell(row) for _, cell in columns)] for row in catalogue.KINDS[field].rows.values()]
  return _lines(head, rows)


def _lines(head, rows):
  return '\n'.join('| ' + ' | '.join(cells) + ' |' for cells in (head, ['---'] * len(head), *rows))


def _said(name: str, title: str = '') -> tuple[str, Callable[[Row], str]]:
  """Returns the column of what rows of one kind say in a field of their own."""
  return title or name, lambda row: getattr(row, name)


def _about(title: str = 'what it is') -> tuple[str, Callable[[Row], str]]:
  return title, lambda row: row.about


_READS = ('flags of its own', lambda row: ', '.join(f'`{name}`' for name in row.reads))


def _goes_with_algorithms():
  rows = []
  for name in catalogue.names('algorithm'):
    refused = refusals(name)
    rows.append([f'`{name}`', *('no' if column in refused else 'yes' for column in COLUMNS)])
  return _lines(['algorithm', *COLUMNS], rows)


def _why_not_algorithms():
  by_reason: dict[str, dict[tuple[str, ...], list[str]]] = {}
  for name in catalogue.names('algorithm'):
    columns: dict[str, list[str]] = {}
    for column, reason in refusals(name).items():
      columns.setdefault(reason, []).append(column)
    for reason, found in columns.items():
      by_reason.setdefault(reason, {}).setdefault(tuple(found), []).append(f'`{name}`')
  return '\n'.join(f'- {", ".join(names)} with {" and ".join(columns)}: {reason}.'
                   for reason, places in by_reason.items() for columns, names in places.items())


TABLES: Mapping[str, Callable[[], str]] = {
    'algorithms': lambda: _table('algorithm', _about(), _said('paper'), _said('when', 'when to use it'),
                                 _said('sends', 'a client sends, in models'),
                                 _said('shows', 'is shown beside the model'), _READS),
    'algorithms_go_with': _goes_with_algorithms,
    'algorithms_why_not': _why_not_algorithms,
    'mechanisms': lambda: _table('privacy', _about(), _said('protects'), _said('against'),
                                 _said('noise', 'noise is added'), _said('needs')),
    'secure_sums': lambda: _table('secure_sum', _about('how'), _said('opens', 'who opens the sum'),
                                  _said('loss', 'a client is lost')),
    'aggregators': lambda: _table('aggregator', _about(), _READS),
    'compressions': lambda: _table('compression', _about(), _READS),
    'attacks': lambda: _table('attack', _about(), _READS),
    'models': lambda: _table('model', _about()),
    'tasks': lambda: _table('task', _about(), _READS),
    'data_sets': lambda: _table('dataset', _about(), _said('comes_from', 'from')),
    'partitions': lambda: _table('partition', _about('a client has'), _READS, _said('after')),
    'samplings': lambda: _table('sampling', _about('who takes part in a round')),
    'formats': lambda: _table('format', _about()),
}
