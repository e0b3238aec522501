"""The words and tables of report.html, from the content of report.json.

All numbers come from the report; missing parts are left out. An epsilon that lacks one of its conditions is refused.
"""

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence

import markupsafe

from tff_vision.accounting import ledger as ledger_lib
from tff_vision.report import declared
from tff_vision.report import number_format as numbers

KNOWN_SECTIONS = frozenset((
    'config', 'dataset', 'model', 'evaluation', 'per_client', 'unseen', 'privacy', 'rounds', 'seconds',
    'examples_per_second', 'training_data_shown', 'personal', 'peak_rss_mb', 'export_parity', 'environment', 'history',
    'task', 'roc', 'contribution', 'where_it_is_wrong', 'augmentation', 'warnings', 'traffic', 'origin'))
MAX_HISTORY_ROWS = 60
_SPREAD = ('mean', 'percentile_10', 'worst')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
  """A table: cells are strings (escaped by the template) or finished markup; `best` are the rows that stand out."""
  caption: str
  header: Sequence[str]
  rows: Sequence[Sequence[str | markupsafe.Markup]]
  best: Collection[int] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tile:
  """One headline number with a sentence that states its conditions."""
  name: str
  value: str | markupsafe.Markup
  note: str | markupsafe.Markup = ''


def part(report: Mapping, key: str) -> Mapping:
  """Returns a section of the report; empty if it is missing, null or not a mapping."""
  found = report.get(key)
  return found if isinstance(found, Mapping) else {}


def tiles(report: Mapping, commonest_share: float | None) -> list[Tile]:
  """Returns the headline numbers; `commonest_share` is the accuracy of one constant answer."""
  dataset, config, first = part(report, 'dataset'), part(report, 'config'), declared.leading(report)
  made = []
  if first.name in (evaluation := part(report, 'evaluation')):
    made.append(Tile(name=f'Test {first.label}', value=numbers.metric(first, evaluation[first.name]),
                     note=_test_note(report, first, commonest_share)))
  if 'percentile_10' in (clients := part(report, 'per_client')):
    spread = declared.spread(report)
    made.append(Tile(name='10th percentile of clients', value=numbers.metric(spread, clients['percentile_10']),
                     note=markupsafe.Markup('{}; worst {}, of {} clients with test images').format(
                         spread.label, numbers.metric(spread, clients.get('worst')),
                         numbers.data(clients.get('count')))))
  if report.get('rounds') is not None:
    cohort, algorithm = part(config, 'cohort'), part(config, 'algorithm')
    said = [str(algorithm['algorithm'])] if 'algorithm' in algorithm else []
    if 'cohort_size' in cohort:
      said.append(f'{numbers.plain(cohort["cohort_size"])} clients a round ({cohort.get("sampling", "")} sampling)')
    made.append(Tile(name='Rounds', value=numbers.data(report['rounds']), note=', '.join(said)))
  if 'num_clients' in dataset:
    told = f'{numbers.plain(dataset["num_train_examples"])} training images' if 'num_train_examples' in dataset else ''
    made.append(Tile(name='Clients', value=numbers.data(dataset['num_clients']), note=told))
  if 'parameters' in (model := part(report, 'model')):
    made.append(Tile(name='Model', value=str(model.get('name', numbers.MISSING)),
                     note=markupsafe.Markup('{} parameters').format(numbers.data(model['parameters']))))
  return made


def _test_note(report: Mapping, first: declared.Metric, commonest_share: float | None) -> str:
  dataset, evaluation, said = part(report, 'dataset'), part(report, 'evaluation'), []
  if 'num_test_examples' in dataset:
    said.append(f'on {numbers.plain(dataset["num_test_examples"])} test images')
  chosen_by = declared.choosing(report)
  if chosen_by not in (None, first):
    said.append(f'{chosen_by.label} {numbers.metric_text(chosen_by, evaluation[chosen_by.name])}')
  if commonest_share is not None:
    findings = declared.has_findings(report)
    guess = 'always answering that there is no finding' if findings else 'always guessing the commonest class'
    if first.name == declared.USUAL or findings:
      said.append(f'{guess} scores an accuracy of {numbers.percent(commonest_share)}')
  return '; '.join(said)


def has_guarantee(report: Mapping) -> bool:
  """Returns whether the report states a finite epsilon."""
  return math.isfinite(ledger_lib.of_report(report).epsilon)


def privacy_tile(report: Mapping) -> Tile:
  """Returns epsilon with all its conditions, or the statement that there is no guarantee."""
  ledger = ledger_lib.of_report(report)
  if isinstance(ledger, ledger_lib.NoGuarantee):
    return Tile(name='Differential privacy', value='no privacy guarantee',
                note='Images stayed with their clients, but nothing bounds what the model itself reveals of them.')
  if not math.isfinite(ledger.epsilon):
    return Tile(name='Differential privacy', value='no privacy guarantee',
                note=f'{ledger.mechanism} ran, but its ε is {numbers.plain(ledger.epsilon)}.')
  conditions = '; '.join(f'{numbers.label(name)}: {numbers.plain(value)}' for name, value in ledger.conditions.items())
  if 'sentence' in (audit := part(report, 'one_run_audit')):
    conditions += f'; {audit["sentence"]}'
  return Tile(name='Differential privacy', note=conditions,
              value=markupsafe.Markup('ε = {}').format(numbers.bound(ledger.epsilon)))


def privacy(report: Mapping) -> Table | None:
  """Returns everything in the report about the mechanism and its cost; None if there is no mechanism."""
  ledger = ledger_lib.of_report(report)
  if isinstance(ledger, ledger_lib.NoGuarantee):
    return None
  return facts(ledger.to_json(clients=False, curve=False), 'The mechanism and its accounting')


def results(report: Mapping) -> Table | None:
  """Returns every metric of the final model on the test set and on held-out clients."""
  columns = {'Test set': part(report, 'evaluation'), 'Unseen clients': part(part(report, 'unseen'), 'evaluation')}
  columns = {name: metrics for name, metrics in columns.items() if metrics}
  first = declared.leading(report).name
  names = sorted(dict.fromkeys(key for metrics in columns.values() for key in metrics), key=lambda name: name != first)
  rows = []
  for one in (declared.named(name, report) for name in names):
    values = [metrics.get(one.name) for metrics in columns.values()]
    if any(isinstance(value, list | tuple) for value in values):
      rows += _by_name(report, one, values)
    else:
      rows.append([one.label, *(numbers.metric(one, value) for value in values)])
  return Table(caption='The final model', header=['metric', *columns], rows=rows) if rows else None


def _by_name(report, metric, values):
  """Returns a row for each class or finding of a metric that is measured for each of them."""
  names = part(report, 'dataset').get('class_names') or ()
  lists = [value if isinstance(value, list | tuple) else () for value in values]
  of = lambda held, place: held[place] if place < len(held) else None
  one = declared.named(metric.name.removesuffix('_by_finding').removesuffix('_by_class'), report)
  return [[f'{one.label}: {names[place] if place < len(names) else place}',
           *(numbers.metric(one, of(held, place)) for held in lists)] for place in range(max(map(len, lists)))]


def history(report: Mapping, entries: Sequence[Mapping]) -> Table | None:
  """Returns the numbers of the curves: the evaluated rounds, or an even selection if there are many."""
  first = declared.leading(report)
  of_clients = declared.spread(report)
  columns = {f'test {first.label}': ('evaluation', first.name), 'test loss': ('evaluation', 'loss'),
             'clients’ mean': ('per_client', 'mean'), 'clients’ 10th percentile': ('per_client', 'percentile_10'),
             'clients’ worst': ('per_client', 'worst'), 'training loss': ('train', 'loss'),
             'noised number of clients': ('noised', 'cohort_size'), 'noised training accuracy': ('noised', 'accuracy'),
             'ε': ('privacy', 'epsilon')}
  values = [{title: part(entry, section).get(key) for title, (section, key) in columns.items()} for entry in entries]
  evaluated = [i for i, entry in enumerate(entries) if part(entry, 'evaluation')] or range(len(entries))
  step = max(1, -(-len(evaluated) // MAX_HISTORY_ROWS))
  shown = list(evaluated)[::-1][::step][::-1]
  used = [title for title in columns if any(values[i][title] is not None for i in shown)]
  if not used:
    return None
  metrics = {title: of_clients if key in _SPREAD else declared.named(key, report)
             for title, (_, key) in columns.items()}
  rows = [[numbers.data(entries[i].get('round')), *(numbers.metric(metrics[title], values[i][title]) for title in used)]
          for i in shown]
  thinned = f' (one evaluation in {step})' if step > 1 else ''
  return Table(caption=f'The numbers behind the curves{thinned}', header=['round', *used], rows=rows)


def facts(section: Mapping, caption: str, leave_out: Sequence[str] = ()) -> Table | None:
  """Returns a section as a table of names and values; a mapping gives one row per entry."""
  rows = [[name, _fact(name, value)] for name, value in _flat(section) if name not in leave_out]
  return Table(caption=caption, header=['', 'value'], rows=rows) if rows else None


def _fact(name, value):
  """Returns a value as HTML; a number of bytes in MB."""
  of_bytes = numbers.is_finite(value) and 'bytes' in name and 'per parameter' not in name
  return numbers.data(value, numbers.size(value)) if of_bytes else numbers.named(name, value)


def extras(report: Mapping) -> list[Table]:
  """Returns a table for each top-level section that has no fixed place on this page."""
  made = []
  for key, value in report.items():
    if key in KNOWN_SECTIONS or value is None:
      continue
    if isinstance(value, list | tuple) and value and all(isinstance(row, Mapping) for row in value):
      header = list(dict.fromkeys(name for row in value for name in row))
      made.append(Table(caption=numbers.heading(key), header=[numbers.label(name) for name in header],
                        rows=[[numbers.metric(name, row.get(name)) for name in header] for row in value]))
    else:
      made.append(facts(value if isinstance(value, Mapping) else {key: value}, numbers.heading(key)))
  return [table for table in made if table]


def _flat(section: Mapping, prefix: str = '') -> list[tuple[str, object]]:
  pairs = []
  for key, value in section.items():
    name = prefix + numbers.label(key)
    pairs += _flat(value, f'{name}: ') if isinstance(value, Mapping) else [(name, value)]
  return pairs
