"""The tables of documents, from the rows of the catalogue."""

import re
from collections.abc import Callable, Mapping

from tff_vision import catalogue
from tff_vision.catalogue import Row, Trait

BEGIN, END = '<!-- rows: {} -->', '<!-- /rows -->'
_BLOCK = re.compile(r'<!-- rows: (\w+) -->\n.*?<!-- /rows -->', re.DOTALL)
_CLIENT_LEVEL = tuple(('privacy', name) for name in catalogue.with_trait('privacy', Trait.CLIENT_LEVEL))
_DRAWN_ON_CLIENTS = tuple(('privacy', name) for name in catalogue.with_trait('privacy', Trait.CLIENTS_DRAW_NOISE))
# Column of the table of compatible algorithms -> the choices that the column stands for.
COLUMNS: Mapping[str, tuple[tuple[str, str], ...]] = {
    'client-level privacy': tuple(pair for pair in _CLIENT_LEVEL if pair not in _DRAWN_ON_CLIENTS),
    'client-level privacy, noise on clients': tuple(pair for pair in _CLIENT_LEVEL if pair in _DRAWN_ON_CLIENTS),
    'example-level privacy': tuple(('privacy', name) for name in catalogue.with_trait('privacy', Trait.EXAMPLE_LEVEL)),
    'threshold encryption': (('secure_sum', 'he'),),
    'encryption to a key holder': (('secure_sum', 'he_keyholder'),),
    'masks': (('secure_sum', 'masks'),),
    'remote workers': (('runtime', 'workers'),),
    'data on workers': (('data_placement', 'worker'),),
}


def refreshed(text: str) -> str:
  """Returns a document in which the tables between the markers are generated anew from the catalogue.

  Raises:
    KeyError: A marker names no table.
  """
  return _BLOCK.sub(lambda found: f'{BEGIN.format(found[1])}\n{TABLES[found[1]]()}\n{END}', text)


def named(text: str) -> list[str]:
  """Returns the names of the tables in a document."""
  return [found[1] for found in _BLOCK.finditer(text)]


def refusals(algorithm: str) -> Mapping[str, str]:
  """Returns the columns that are incompatible with an algorithm -> the reason."""
  row = catalogue.row('algorithm', algorithm)
  traits, found = _all_traits(row), {}  # The table ignores the special case of ifca with one model.
  for column, choices in COLUMNS.items():
    if reason := _refusal(row, traits, choices):
      found[column] = reason
  return found


def _refusal(row, traits, choices):
  """Returns why a row is incompatible with all these choices; None if it is compatible with all of them.

  All choices must have the same result.
  """
  (reason,) = {catalogue.clash(row, traits, _all_traits(catalogue.row(*choice))) for choice in choices}
  return reason


def _all_traits(row):
  return row.traits | {trait for trait, _, _ in row.traits_unless}


def _table(field: str, *columns: tuple[str, Callable[[Row], str]]) -> str:
  head = [f'`--{field}`', *(title for title, _ in columns)]
  rows = [[f'`{row.name}`', *(cell(row) for _, cell in columns)] for row in catalogue.KINDS[field].rows.values()]
  return _lines(head, rows)


def _lines(head, rows):
  """Returns the text of a table with this head and these rows."""
  return '\n'.join('| ' + ' | '.join(cells) + ' |' for cells in (head, ['---'] * len(head), *rows))


def _said(name: str, title: str = '') -> tuple[str, Callable[[Row], str]]:
  """Returns the column that shows one attribute of the rows of a kind."""
  return title or name, lambda row: getattr(row, name)


def _about(title: str = 'what it is') -> tuple[str, Callable[[Row], str]]:
  return title, lambda row: row.about


_READS = ('flags of its own', lambda row: ', '.join(f'`{name}`' for name in row.reads))


# Column of the table of compatible aggregations, compressions and attacks -> the choices that the column stands for.
_AGGREGATION_COLUMNS: Mapping[str, tuple[tuple[str, str], ...]] = {
    'client-level DP': tuple(('privacy', name) for name in catalogue.with_trait('privacy', Trait.NOISES_SUM)
                             if name != 'example_distributed'),
    'local DP': (('privacy', 'local_dp'),),
    'example-level DP': (('privacy', 'example_dp_sgd'),),
    'secure sums': tuple(('secure_sum', name) for name in catalogue.with_trait('secure_sum', Trait.HIDES_UPDATES)),
    'several workers': (('runtime', 'workers'),),
    'data on workers': (('data_placement', 'worker'),),
    'SCAFFOLD, FedDyn, models of the clients\' own': tuple(
        ('algorithm', name) for name in catalogue.with_trait('algorithm', Trait.KEEPS_STATE) if name != 'ifca'),
    'IFCA': (('algorithm', 'ifca'),),
}


def _goes_with_aggregation():
  rows = []
  for field in ('aggregator', 'compression', 'attack'):
    for name, row in catalogue.KINDS[field].rows.items():
      if row.traits:
        rows.append([f'`{field}={name}`', *('no' if _refusal(row, row.traits, choices) else 'yes'
                                            for choices in _AGGREGATION_COLUMNS.values())])
  return _lines(['', *_AGGREGATION_COLUMNS], rows)


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
    'aggregators': lambda: _table('aggregator', _about('rule'), _said('withstands'), _said('holds', 'server holds'),
                                  _said('paper')),
    'compressions': lambda: _table('compression', _about('encoding'), _said('unbiased'), _said('paper')),
    'attacks': lambda: _table('attack', _about('what happens'), _READS),
    'aggregation_goes_with': _goes_with_aggregation,
    'models': lambda: _table('model', _about()),
    'tasks': lambda: _table('task', _about(), _READS),
    'losses': lambda: _table('loss', _about(), _READS),
    'samplings': lambda: _table('sampling', _about('who takes part in a round')),
    'client_optimizers': lambda: _table('client_optimizer', _about(), _READS),
    'server_optimizers': lambda: _table('server_optimizer', _about(), _READS),
    'schedules': lambda: _table('client_schedule', _about(), _READS),
    'formats': lambda: _table('format', _about()),
    'data_sets': lambda: _table('dataset', _about(), _said('comes_from', 'from')),
    'client_shifts': lambda: _table('client_shift', _about('how a client\'s images look'), _READS),
    'partitions': lambda: _table('partition', _about('a client has'), _READS, _said('after')),
}
# Title -> table, for choices that have no separate page.
CHOICES: Mapping[str, str] = {
    'Models': 'models', 'Tasks': 'tasks', 'Losses': 'losses', 'Data sets': 'data_sets',
    'Sampling of clients': 'samplings',
    'Optimizers on clients': 'client_optimizers', 'Optimizers on the server': 'server_optimizers',
    'Schedules of learning rates': 'schedules', 'Formats of export': 'formats'}
