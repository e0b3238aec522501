"""What report.html says in words and tables, from the mapping that report.json holds.

Nothing here invents a number: a part that the report lacks is left out, and a condition of a privacy guarantee
that the report lacks is called «not stated».
"""

import dataclasses
from collections.abc import Mapping, Sequence

import markupsafe

from tff_vision.report import number_format as numbers

KNOWN_SECTIONS = frozenset((
    'config', 'dataset', 'model', 'evaluation', 'per_client', 'unseen', 'privacy', 'rounds', 'seconds',
    'examples_per_second', 'training_data_shown', 'personal', 'peak_rss_mb', 'export_parity', 'environment', 'history',
    'task', 'roc', 'warnings'))
MAX_HISTORY_ROWS = 60
_CONDITIONS = ('delta', 'unit', 'relation', 'sampling', 'rounds', 'accountant')
_SPREAD = ('mean', 'percentile_10', 'worst')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
  """A table: cells are strings (escaped by the template) or finished markup."""
  caption: str
  header: Sequence[str]
  rows: Sequence[Sequence[str | markupsafe.Markup]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tile:
  """One headline number with the sentence that qualifies it."""
  name: str
  value: str | markupsafe.Markup
  note: str | markupsafe.Markup = ''


def part(report: Mapping, key: str) -> Mapping:
  """Returns a section of the report, empty if it is missing, null or no mapping."""
  found = report.get(key)
  return found if isinstance(found, Mapping) else {}


def headline_metric(report: Mapping) -> str:
  """Returns the name of the metric that stands first: accuracy, or the evaluation's first other than the loss."""
  evaluation = part(report, 'evaluation')
  names = [name for name in evaluation if name != 'loss' and numbers.is_number(evaluation[name])]
  return 'accuracy' if 'accuracy' in names or not names else names[0]


def spread_metric(per_client: Mapping) -> str:
  """Returns the metric whose spread over clients a section holds."""
  return str(per_client.get('metric', 'accuracy'))


def tiles(report: Mapping, commonest_share: float | None) -> list[Tile]:
  """Returns the headline numbers; `commonest_share` is what always guessing the commonest class would score."""
  dataset, config, name = part(report, 'dataset'), part(report, 'config'), headline_metric(report)
  made = []
  if name in (evaluation := part(report, 'evaluation')):
    made.append(Tile(name=f'Test {numbers.label(name)}', value=numbers.metric(name, evaluation[name]),
                     note=_test_note(report, name, commonest_share)))
  if 'percentile_10' in (clients := part(report, 'per_client')):
    made.append(Tile(name='10th percentile of clients',
                     value=numbers.metric(spread_metric(clients), clients['percentile_10']),
                     note=markupsafe.Markup('{}; worst {}, of {} clients with test images').format(
                         numbers.label(spread_metric(clients)),
                         numbers.metric(spread_metric(clients), clients.get('worst')),
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


def _test_note(report: Mapping, name: str, commonest_share: float | None) -> str:
  dataset, evaluation, said = part(report, 'dataset'), part(report, 'evaluation'), []
  if 'num_test_examples' in dataset:
    said.append(f'on {numbers.plain(dataset["num_test_examples"])} test images')
  if name != 'auc' and numbers.is_finite(evaluation.get('auc')):
    said.append(f'AUC {numbers.plain(evaluation["auc"])}')
  if commonest_share is not None and name == 'accuracy':
    said.append(f'always guessing the commonest class scores {numbers.percent(commonest_share)}')
  return '; '.join(said)


def has_guarantee(report: Mapping) -> bool:
  """Returns whether the report states a finite epsilon."""
  privacy = part(report, 'privacy')
  return privacy.get('mechanism', 'none') != 'none' and numbers.is_finite(privacy.get('epsilon'))


def privacy_tile(report: Mapping) -> Tile:
  """Returns epsilon together with everything it depends on, or that there is no guarantee."""
  privacy = part(report, 'privacy')
  if has_guarantee(report):
    conditions = '; '.join(
        f'{numbers.label(key)}: {numbers.plain(privacy.get(key)) if key in privacy else "not stated"}'
        for key in _CONDITIONS)
    if 'sentence' in (audit := part(report, 'one_run_audit')):
      conditions += f'; {audit["sentence"]}'
    return Tile(name='Differential privacy', note=conditions,
                value=markupsafe.Markup('ε = {}').format(numbers.data(privacy['epsilon'])))
  if privacy.get('mechanism', 'none') == 'none':
    return Tile(name='Differential privacy', value='no privacy guarantee',
                note='Images stayed with their clients, but nothing bounds what the model itself reveals of them.')
  if isinstance(privacy.get('epsilon'), Mapping | list | tuple):
    return Tile(name='Differential privacy', value='several ε', note=numbers.plain(privacy['epsilon']))
  return Tile(name='Differential privacy', value='no privacy guarantee',
              note=f'{privacy["mechanism"]} ran, but its ε is {numbers.plain(privacy.get("epsilon"))}.')


def privacy(report: Mapping) -> Table | None:
  """Returns everything the report says about the mechanism and its cost; nothing if there is no mechanism."""
  section = part(report, 'privacy')
  if section.get('mechanism', 'none') == 'none':
    return None
  return facts({key: value for key, value in section.items() if key != 'profile'}, 'The mechanism and its accounting')


def results(report: Mapping) -> Table | None:
  """Returns every metric of the final model on the test set and on clients that never trained."""
  columns = {'Test set': part(report, 'evaluation'), 'Unseen clients': part(part(report, 'unseen'), 'evaluation')}
  columns = {name: metrics for name, metrics in columns.items() if metrics}
  names = dict.fromkeys(key for metrics in columns.values() for key in metrics)
  rows = [[numbers.label(n), *(numbers.metric(n, metrics.get(n)) for metrics in columns.values())] for n in names]
  return Table(caption='The final model', header=['metric', *columns], rows=rows) if rows else None


def client_groups(report: Mapping) -> dict[str, Mapping]:
  """Returns the per-client results by group: clients that trained, clients that never did."""
  groups = {'Training clients': part(report, 'per_client'),
            'Unseen clients': part(part(report, 'unseen'), 'per_client'),
            'Own models': _own_models(part(report, 'personal'))}
  return {name: group for name, group in groups.items() if group}


def _own_models(personal: Mapping) -> Mapping:
  kept = {key: personal[key] for key in ('gaining', 'never_trained') if key in personal}
  return {**part(personal, 'own'), **kept} if personal else {}


def clients(report: Mapping) -> Table | None:
  """Returns how accuracy spreads over the clients."""
  groups = client_groups(report)
  keys = dict.fromkeys(k for group in groups.values() for k, v in group.items()
                       if k != 'metric' and not isinstance(v, list | tuple))
  rows = [[numbers.label(key), *(numbers.metric(spread_metric(group) if key in _SPREAD else key, group.get(key))
                                 for group in groups.values())] for key in keys]
  name = numbers.heading(spread_metric(next(iter(groups.values()), {})))
  return Table(caption=f'{name} on each client’s own test images', header=['', *groups], rows=rows) if rows else None


def costs(report: Mapping) -> Table | None:
  """Returns where the time went, and the memory."""
  seconds, rounds = part(report, 'seconds'), report.get('rounds')
  rows = [[numbers.label(key), numbers.data(value, numbers.duration(value))]
          for key, value in seconds.items() if numbers.is_number(value)]
  if numbers.is_finite(seconds.get('train')) and numbers.is_finite(rounds) and rounds > 0:
    a_round = seconds['train'] / rounds
    rows.append(['a round (train / rounds)', numbers.data(a_round, numbers.duration(a_round))])
  rows += [[numbers.label(key), numbers.data(report[key])] for key in ('examples_per_second', 'peak_rss_mb')
           if report.get(key) is not None]
  return Table(caption='Time and memory', header=['', 'measured'], rows=rows) if rows else None


def history(report: Mapping, entries: Sequence[Mapping]) -> Table | None:
  """Returns the numbers behind the curves: the evaluated rounds, thinned out evenly if they are many."""
  name = headline_metric(report)
  columns = {f'test {numbers.label(name)}': ('evaluation', name), 'test loss': ('evaluation', 'loss'),
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
  rows = [[numbers.data(entries[i].get('round')),
           *(numbers.metric(name if columns[t][1] in _SPREAD else columns[t][1], values[i][t]) for t in used)]
          for i in shown]
  thinned = f' (one evaluation in {step})' if step > 1 else ''
  return Table(caption=f'The numbers behind the curves{thinned}', header=['round', *used], rows=rows)


def config(report: Mapping) -> list[Table]:
  """Returns one table for each section of the config, with unrounded values."""
  return [Table(caption=numbers.heading(section), header=['setting', 'value'],
                rows=[[key, numbers.exact(value)] for key, value in fields.items()])
          for section, fields in part(report, 'config').items() if isinstance(fields, Mapping) and fields]


def facts(section: Mapping, caption: str, leave_out: Sequence[str] = ()) -> Table | None:
  """Returns a section as a table of names and values; values that are mappings become one row for each entry."""
  rows = [[name, numbers.data(value)] for name, value in _flat(section) if name not in leave_out]
  return Table(caption=caption, header=['', 'value'], rows=rows) if rows else None


def extras(report: Mapping) -> list[Table]:
  """Returns a table for each top-level section that this page has no place of its own for."""
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
