"""Compares finished runs; runs that differ only in the seed form a group."""

import dataclasses
import itertools
import json
import os
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from tff_vision.accounting import ledger as ledger_lib
from tff_vision.objectives import metric as metric_lib
from tff_vision.program import run_directory
from tff_vision.report import chart, declared, pages
from tff_vision.report import number_format as numbers
from tff_vision.report import tables as tables_lib

# Fields that name a run best, in this order; a name needs the fewest fields that tell the groups apart.
_NAMING = ('algorithm', 'privacy', 'secure_sum', 'aggregator', 'attack', 'model', 'dataset', 'partition', 'task',
           'target_epsilon', 'noise_multiplier', 'client_learning_rate', 'client_optimizer', 'server_optimizer')
_PLAIN = ('algorithm', 'model', 'dataset')  # Their values say what they are.
_MOST_TRIED = 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
  """Runs that differ only in the seed.

  Attributes:
    name: The settings specific to the group, short enough for a legend.
    settings: The values of the fields in which the compared groups differ.
    reports: Content of report.json of each run.
    folders: The folders of the runs, as given by the user.
  """
  name: str
  settings: Mapping[str, Any]
  reports: Sequence[Mapping[str, Any]]
  folders: Sequence[str]

  def values(self, section: str, key: str) -> list[float]:
    """Returns a final number of each run that has it."""
    found = [tables_lib.part(report, section).get(key) for report in self.reports]
    return [value for value in found if numbers.is_finite(value)]

  @property
  def ledger(self) -> ledger_lib.Statement:
    """The ledger of the run with the largest epsilon: cohorts, and so the cost, may differ between seeds."""
    return max(map(ledger_lib.of_report, self.reports), key=lambda one: one.epsilon)

  def curve(self, section: str, key: str) -> tuple[list[int], list[float], list[float]]:
    """Returns rounds, means and standard deviations over the runs, for the rounds that all runs have."""
    curves = [{entry['round']: tables_lib.part(entry, section)[key] for entry in report.get('history') or ()
               if numbers.is_finite(tables_lib.part(entry, section).get(key))} for report in self.reports]
    rounds = sorted(set.intersection(*map(set, curves)))
    columns = [[curve[number] for curve in curves] for number in rounds]
    return rounds, [statistics.fmean(column) for column in columns], [deviation(column) for column in columns]


def deviation(values: Sequence[float]) -> float:
  """Returns the sample standard deviation; 0 for one value."""
  return statistics.stdev(values) if len(values) > 1 else 0.0


def kept(paths: Sequence[str]) -> tuple[list[str], list[str]]:
  """Returns the folders of finished runs among `paths`, and for each other path a sentence why it is left out.

  A folder that is no run and holds some, such as a sweep's, stands for those.

  Raises:
    ValueError: A path does not exist, or none is a finished run.
  """
  runs, reasons = [], []
  for path in paths:
    directory = run_directory.RunDirectory(pathlib.Path(path))
    if not directory.path.exists():
      raise ValueError(f'there is no {str(path)!r}.')
    inside = [] if directory.config.exists() or not directory.path.is_dir() else sorted(
        str(child) for child in directory.path.iterdir() if run_directory.RunDirectory(child).report_json.exists())
    if directory.report_json.exists() and directory.config.exists():
      runs.append(path)
    elif inside:
      runs += [child for child in inside if run_directory.RunDirectory(pathlib.Path(child)).config.exists()]
    else:
      reasons.append(f'{path} is {"no finished run" if directory.config.exists() else "no run"}')
  if not runs:
    raise ValueError(f'no finished run is named: {"; ".join(reasons[:3])}.')
  return runs, reasons


def named(groups: Sequence[Group], names: Sequence[str]) -> list[Group]:
  """Returns the groups with names of the user's choice.

  Raises:
    ValueError: There are more or fewer names than groups, or a name is given twice.
  """
  if len(names) != len(groups) or len(set(names)) < len(names):
    raise ValueError(f'names: {len(groups)} different names are needed, in this order, for '
                     f'{"; ".join(one.name for one in groups)}; found {", ".join(names)!r}.')
  return [dataclasses.replace(one, name=name) for one, name in zip(groups, names, strict=True)]


def read(paths: Sequence[str]) -> list[Group]:
  """Returns the runs in these folders as groups, in the order of `paths`.

  Raises:
    ValueError: A folder holds no finished run, or is given twice.
  """
  folders = [pathlib.Path(path) for path in paths]
  for folder in folders:
    if [other.resolve() for other in folders].count(folder.resolve()) > 1:
      raise ValueError(f'run directory {str(folder)!r} is named twice.')
  return group([_report(run_directory.RunDirectory(folder)) for folder in folders], paths)


def _report(directory):
  directory.description()  # Also for a run made from Python objects, which no other program can continue.
  return directory.read_report()


def group(reports: Sequence[Mapping[str, Any]], folders: Sequence[str]) -> list[Group]:
  """Returns `reports` of the runs in `folders` as groups, named by the fields in which their configs differ."""
  grouped = {}
  for report, folder in zip(reports, folders, strict=True):
    grouped.setdefault(json.dumps(_settings(report), sort_keys=True), []).append((report, folder))
  settings = [_settings(members[0][0]) for members in grouped.values()]
  names = dict.fromkeys(name for one in settings for name in one)
  differing = [name for name in names if len({json.dumps(one.get(name)) for one in settings}) > 1]
  telling, made = _telling(differing, settings), []
  for members, one in zip(grouped.values(), settings, strict=True):
    shown = {name: one.get(name) for name in differing}
    name = ', '.join(_named(key, one.get(key)) for key in telling) or f'{one.get("dataset")}, {one.get("algorithm")}'
    made.append(Group(name=name, settings=shown, reports=[report for report, _ in members],
                      folders=[str(folder) for _, folder in members]))
  return made


def _named(key, value):
  return str(value) if key in _PLAIN else f'{key}={value}'


def _telling(differing, settings):
  """Returns the fewest fields whose values tell all groups apart; of equally few, those that name a run best."""
  rank = {name: place for place, name in enumerate(_NAMING)}
  order = sorted(differing, key=lambda name: (rank.get(name, len(rank)), differing.index(name)))
  apart = lambda names: len({json.dumps([one.get(name) for name in names]) for one in settings})
  for number in range(1, 4):
    for names in itertools.combinations(order[:_MOST_TRIED], number):
      if apart(names) == len(settings):
        return sorted(names, key=differing.index)
  chosen: list[str] = []  # Many fields are needed: take again and again the one that tells most apart.
  while order and apart(chosen) < len(settings):
    chosen.append(max((name for name in order if name not in chosen), key=lambda name: apart([*chosen, name])))
  return sorted(chosen, key=differing.index)


def _settings(report):
  return {name: value for section in tables_lib.part(report, 'config').values() for name, value in section.items()
          if name != 'seed'}


def summary(groups: Sequence[Group]) -> list[dict[str, Any]]:
  """Returns a row of numbers for each group: mean and deviation of its final metrics, epsilon with its conditions."""
  rows = []
  for one in groups:
    row = {'group': one.name, 'settings': dict(one.settings), 'runs': len(one.reports), 'run_dirs': list(one.folders),
           'seeds': [report['config']['program']['seed'] for report in one.reports],
           'rounds': one.reports[0].get('rounds')}
    finals = {**{metric.name: one.values('evaluation', metric.name) for metric in declared.compared(one.reports)},
              'worst_client': one.values('per_client', 'worst'), 'train_seconds': one.values('seconds', 'train'),
              'megabytes_sent': [_megabytes(report) for report in one.reports]}
    finals['megabytes_sent'] = [value for value in finals['megabytes_sent'] if value is not None]
    row |= {name: {'mean': statistics.fmean(values), 'deviation': deviation(values), 'runs': len(values)} |
            ({'without': lost} if (lost := len(one.reports) - len(values)) else {})
            for name, values in finals.items() if values}
    rows.append(row | {'privacy': _stated(one.ledger),
                       'secure_sum': tables_lib.part(one.reports[0], 'secure_sum').get('mode', 'none')})
  return rows


def _megabytes(report):
  """Returns what one client sends in a run if it takes part in every round, in MB; None if the report lacks it."""
  sent, rounds = tables_lib.part(report, 'traffic').get('bytes_up_per_client_and_round'), report.get('rounds')
  return sent * rounds / 1e6 if numbers.is_finite(sent) and numbers.is_finite(rounds) else None


def metrics(groups: Sequence[Group]) -> list[declared.Metric]:
  """Returns the metrics by which groups are compared, the leading one first."""
  return declared.compared([report for one in groups for report in one.reports])


def choosing(groups: Sequence[Group]) -> declared.Metric | None:
  """Returns the metric for choosing the best group; None if there is none.

  It is the first that all groups have as numbers, or else the first that all measured: groups that diverged are the
  worst then.
  """
  reports = [report for one in groups for report in one.reports]
  as_numbers = [{name: one.values('evaluation', name) or None
                 for name in tables_lib.part(one.reports[0], 'evaluation')} for one in groups]
  measured = [tables_lib.part(one.reports[0], 'evaluation') for one in groups]
  some = {name for one in as_numbers for name, values in one.items() if values}
  return (metric_lib.choosing(declared.of(reports[0]), as_numbers) or
          metric_lib.choosing([one for one in declared.of(reports[0]) if one.name in some], measured))


def _stated(ledger):
  if isinstance(ledger, ledger_lib.NoGuarantee):
    return ledger.to_json()
  return {'mechanism': ledger.mechanism, 'epsilon': ledger.epsilon, **ledger.conditions}


def tables(groups: Sequence[Group]) -> list[tables_lib.Table]:
  """Returns the tables of the page: metrics, privacy, and the settings that differ."""
  rows, measured = summary(groups), metrics(groups)
  spread = declared.spread(groups[0].reports[0])
  worst = dataclasses.replace(spread, name='worst_client', title='worst client')
  seconds = dataclasses.replace(declared.named('train_seconds'), title='training (s)')
  sent = declared.Metric(name='megabytes_sent', title='sent by a client of every round (MB)', higher_is_better=False)
  shown = [one for one in (*measured, worst, seconds, sent) if any(one.name in row for row in rows)]
  made = [tables_lib.Table(
      caption='Final numbers: mean ± standard deviation over runs', header=[
          'group', 'runs', 'rounds', *(one.label for one in shown), 'ε', 'secure sum'],
      rows=[[row['group'], numbers.data(row['runs']), numbers.data(row['rounds']),
             *(numbers.spread(one, row.get(one.name)) for one in shown),
             numbers.bound(row['privacy'].get('epsilon')), row['secure_sum']] for row in rows],
      best=_best(groups, rows))]
  if private := [(one.name, _stated(one.ledger)) for one in groups if isinstance(one.ledger, ledger_lib.Ledger)]:
    made.append(tables_lib.Table(
        caption='Privacy: epsilon holds under all of these conditions', header=['group', *private[0][1]],
        rows=[[name, *(numbers.named(key, value) for key, value in stated.items())] for name, stated in private]))
  if fields := list(rows[0]['settings']):
    made.append(tables_lib.Table(
        caption='Settings that differ', header=['group', *fields],
        rows=[[row['group'], *(numbers.exact(row['settings'][name]) for name in fields)] for row in rows]))
  made.append(tables_lib.Table(caption='Run directories', header=['group', 'seeds', 'folders'], rows=[
      [row['group'], numbers.data(row['seeds']), numbers.data(row['run_dirs'])] for row in rows]))
  return made


def _best(groups, rows):
  """Returns the row with the best mean of the metric by which groups are chosen; () if there is no choice."""
  metric = choosing(groups)
  if metric is None or len(rows) < 2:
    return ()
  from tff_vision.report import run_comparison_figures  # Imported late: it loads the modules of data.
  return [run_comparison_figures.best_row(rows, metric)]


def write_html(path: os.PathLike | str, groups: Sequence[Group], *, title: str,
               figures: Mapping[str, chart.Figure] | None = None) -> None:
  """Writes the page.

  Args:
    path: The file.
    groups: The groups to compare.
    title: The title of the page.
    figures: Further figures by caption.
  """
  from tff_vision.report import run_comparison_figures  # Imported late: it loads the modules of data.
  pages.write(path, pages.render('comparison.html.j2', dict(
      title=title, tables=tables(groups),
      figures={**(figures or {}), **run_comparison_figures.finals(summary(groups), choosing(groups)),
               **run_comparison_figures.curves(groups, metrics(groups))})))
