"""What each client contributed, for report.json and report.html."""

from collections.abc import Mapping, Sequence
from typing import Any

from tff_vision import wording
from tff_vision.learning import contribution
from tff_vision.report import declared, tables
from tff_vision.report import number_format as numbers

_LEAST_GAIN = 1e-6  # Over the sum of magnitudes; less is rounding.


def section(history: Sequence[Mapping[str, Any]], names: Sequence[str], metric: str) -> dict[str, Any]:
  """Returns the section of a report, from the records of all rounds.

  Args:
    names: The clients' names.
    metric: The metric that contributions add up to.
  """
  every = [entry['contribution'] for entry in history if 'contribution' in entry]
  rounds = [entry for entry in every if entry['values'] is not None]
  values = contribution.totals(history, len(names))
  exact = all(len(entry['clients']) <= contribution.EXACT_UP_TO for entry in rounds)
  how = 'exact Shapley values' if exact else 'Shapley values by random orders, cut short where little is added'
  return {'metric': metric, 'method': f'{how}; multi-round reconstruction on the test set', 'values': values,
          'ranking': [str(names[place]) for place in sorted(range(len(names)), key=lambda place: -values[place])],
          'total': sum(entry['after'] - entry['before'] for entry in rounds), 'rounds': len(rounds),
          'rounds_without_values': len(every) - len(rounds),
          'evaluations': sum(entry['evaluations'] for entry in every)}


def table(report: Mapping[str, Any], names: Sequence[str]) -> tables.Table | None:
  """Returns a row for each client, the largest contribution first; None if the report has no such section."""
  found = tables.part(report, 'contribution')
  values = found.get('values') or ()
  if not values or len(values) != len(names):
    return None
  metric = declared.named(str(found['metric']), report)
  # Orders that were cut short leave a little of `total` out, and shares are of what was given. Where nothing was gained
  # there is no whole to have a share of.
  given = sum(values)
  has_shares = given > _LEAST_GAIN * sum(map(abs, values))
  order = sorted(range(len(names)), key=lambda place: -values[place])
  rows = [[names[place], numbers.metric(metric, values[place]) if found['rounds'] else numbers.MISSING,
           numbers.data(round(values[place] / given, 4)) if has_shares else numbers.MISSING] for place in order]
  gained = 'what it added to' if metric.higher_is_better else 'what it took off'
  without = found.get('rounds_without_values')
  left_out = (f'; left out: {wording.counted(without, "round")} in which {metric.label} of some coalition is not a '
              'number' if without else '')
  return tables.Table(caption=f'What each client contributed: {found.get("method", "")}{left_out}',
                      header=['client', f'{gained} {metric.label}', 'share of the whole'], rows=rows)
