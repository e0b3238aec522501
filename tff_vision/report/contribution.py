"""What each client contributed, for report.json and report.html."""

from collections.abc import Mapping, Sequence
from typing import Any

from tff_vision.learning import contribution
from tff_vision.report import declared, tables
from tff_vision.report import number_format as numbers


def section(history: Sequence[Mapping[str, Any]], names: Sequence[str], metric: str) -> dict[str, Any]:
  """Returns the section of a report, from the records of all rounds.

  Args:
    names: The clients' names.
    metric: The metric that contributions add up to.
  """
  rounds = [entry['contribution'] for entry in history if 'contribution' in entry]
  values = contribution.totals(history, len(names))
  exact = all(len(entry['clients']) <= contribution.EXACT_UP_TO for entry in rounds)
  how = 'exact Shapley values' if exact else 'Shapley values by random orders, cut short where little is added'
  return {'metric': metric, 'method': f'{how}; multi-round reconstruction on the test set', 'values': values,
          'ranking': [str(names[place]) for place in sorted(range(len(names)), key=lambda place: -values[place])],
          'total': sum(entry['after'] - entry['before'] for entry in rounds), 'rounds': len(rounds),
          'evaluations': sum(entry['evaluations'] for entry in rounds)}


def table(report: Mapping[str, Any], names: Sequence[str]) -> tables.Table | None:
  """Returns a row for each client, the largest contribution first; None if the report has no such section."""
  found = tables.part(report, 'contribution')
  values = found.get('values') or ()
  if not values or len(values) != len(names):
    return None
  total, metric = found.get('total') or 0.0, declared.named(str(found['metric']), report)
  order = sorted(range(len(names)), key=lambda place: -values[place])
  rows = [[names[place], numbers.metric(metric, values[place]),
           numbers.data(round(values[place] / total, 4)) if total else numbers.MISSING] for place in order]
  gained = 'what it added to' if metric.higher_is_better else 'what it took off'
  return tables.Table(caption=f'What each client contributed: {found.get("method", "")}',
                      header=['client', f'{gained} {metric.label}', 'share of the whole'], rows=rows)
