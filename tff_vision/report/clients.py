"""How the clients fare, in report.html: a few by name, many as a distribution."""

import dataclasses
from collections.abc import Mapping, Sequence

from tff_vision import wording
from tff_vision.accounting import ledger as ledger_lib
from tff_vision.data import images as images_lib
from tff_vision.learning import evaluation
from tff_vision.program import released
from tff_vision.report import chart, declared, run_charts, tables
from tff_vision.report import number_format as numbers

MAX_ROWS = 100
_SPREAD = ('mean', 'percentile_10', 'worst')
_OF_TRAINING = ('Training clients', 'Own models')  # Groups whose clients have names and ledgers.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clients:
  """What a page may say of the single clients that train.

  Attributes:
    names: One for each client.
    facts: One mapping for each client: `training images`, `test images`, `ε` and the like, as far as they are public.
  """
  names: Sequence[str]
  facts: Sequence[Mapping[str, float | int | None]]


def of(report: Mapping, images: images_lib.FederatedImages | None) -> Clients:
  """Returns the clients of a run; without images they are numbered from 1."""
  costs = ledger_lib.of_report(report).per_client
  values = tables.part(report, 'per_client').get('accuracies') or ()
  number = len(images.train) if images is not None else max(len(costs), len(values))
  if number > evaluation.MAX_LISTED:  # No table or chart names so many.
    return Clients(names=images.train.client_ids if images is not None else (), facts=())
  names = list(map(str, images.train.client_ids)) if images is not None else [
      f'client {place + 1}' for place in range(number)]
  facts: list[dict[str, float | int | None]] = [{} for _ in range(number)]
  for place, one in enumerate(facts):
    if images is not None and images.train.counted and released.client_sizes_are_public(report):
      one['training images'] = images.train.num_examples(place)
    if images is not None and images.test.clients:
      one['test images'] = len(images.test.clients[place])
    if len(costs) == number:
      one |= {'ε': costs[place].smallest_epsilon, 'rounds': costs[place].rounds}
  return Clients(names=names, facts=facts)


def groups(report: Mapping) -> dict[str, Mapping]:
  """Returns the per-client results by group: training clients and held-out clients."""
  found = {'Training clients': tables.part(report, 'per_client'),
           'Unseen clients': tables.part(tables.part(report, 'unseen'), 'per_client'),
           'Own models': _own_models(tables.part(report, 'personal'))}
  return {name: group for name, group in found.items() if group}


def spread_metric(report: Mapping, group: Mapping) -> declared.Metric:
  """Returns the metric whose spread over clients is in this section of a report."""
  return declared.named(str(group.get('metric', declared.USUAL)), report)


def _own_models(personal):
  kept = {key: personal[key] for key in ('gaining', 'never_trained') if key in personal}
  return {**tables.part(personal, 'own'), **kept} if personal else {}


def summary(report: Mapping) -> tables.Table | None:
  """Returns the distribution of the metric over the clients of each group."""
  found = groups(report)
  keys = dict.fromkeys(k for group in found.values() for k, v in group.items()
                       if k != 'metric' and not isinstance(v, list | tuple | Mapping))
  rows = [[numbers.label(key), *(numbers.metric(spread_metric(report, group) if key in _SPREAD else key, group.get(key))
                                 for group in found.values())] for key in keys]
  if not rows:
    return None
  name = spread_metric(report, next(iter(found.values()))).heading
  return tables.Table(caption=f'{name} on each client’s own test images', header=['', *found], rows=rows)


def ledger(report: Mapping, who: Clients) -> tables.Table | None:
  """Returns a row for each client: its sizes, results and privacy cost; None without any, or if there are too many."""
  columns: dict[str, Sequence[object]] = {
      name: [one.get(name) for one in who.facts] for name in dict.fromkeys(key for one in who.facts for key in one)}
  metrics = {name: None for name in columns}
  for title, group in groups(report).items():
    values = group.get('accuracies') or ()
    if title in _OF_TRAINING and len(values) == len(who.names):
      metric = spread_metric(report, group)
      name = metric.label if title == _OF_TRAINING[0] else f'{metric.label} of its own model'
      columns[name], metrics[name] = values, metric
  if not columns or not 0 < len(who.names) <= MAX_ROWS:
    return None
  text = lambda name, value: (numbers.named(name, value) if metrics[name] is None
                              else numbers.metric(metrics[name], value))
  return tables.Table(
      caption='Each client', header=['client', *columns],
      rows=[[who.names[place], *(text(name, values[place]) for name, values in columns.items())]
            for place in range(len(who.names))])


def figure(report: Mapping, who: Clients) -> chart.Figure | None:
  """Draws the metric of each client by name if there are few, else how many clients have which value."""
  panels, said, marked = [], [], False
  for title, group in groups(report).items():
    values = list(group.get('accuracies') or ())
    if not any(map(numbers.is_finite, values)) and 'histogram' not in group:
      continue
    metric = spread_metric(report, group)
    if values and len(values) <= run_charts.NAMED_CLIENTS:
      named = title in _OF_TRAINING and len(values) == len(who.names)
      names = who.names if named else [f'client {place + 1}' for place in range(len(values))]
      notes = [_note(one) for one in who.facts] if named else [''] * len(values)
      panels.append(run_charts.client_rows(f'{title}: {metric.label} on the client’s own test images', names, values,
                                           metric, notes))
    else:
      panels.append(run_charts.client_histogram(title, group, metric))
      marked = True
    said.append(f'{title}: ' + ', '.join(
        f'{numbers.label(key)} {numbers.metric_text(metric, group.get(key))}' for key in _SPREAD))
    heading = metric.label
  keys = [chart.Key(look='second', name='mean'), chart.Key(look='second', name='10th percentile', kind='dashed')]
  return chart.Figure(alt=f'The {heading} of clients. {"; ".join(said)}.', panels=panels,
                      legend=keys if marked else ()) if panels else None


def _note(facts):
  return ''.join(f', {name} {numbers.upper(value)}' if wording.is_promise(name) else f', {numbers.plain(value)} {name}'
                 for name, value in facts.items())
