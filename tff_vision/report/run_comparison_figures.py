"""Charts over several runs: curves with bands, final results beside costs, and a sweep's results over its settings."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from tff_vision import wording
from tff_vision.report import axes, chart, declared, marks, palette, run_charts
from tff_vision.report import number_format as numbers

_EPSILON = declared.Metric(name='epsilon', title='ε', higher_is_better=False)
_COLOURED = len(palette.CLASS_COLORS)
_MOST_BARS = 40
_COSTS = (('train_seconds', 'training, seconds'), ('megabytes_sent', 'sent by a client, MB'),
          ('epsilon', 'ε, smaller promises more'))


class Group(Protocol):
  """Runs that are drawn as one line, such as `run_comparison.Group`."""
  name: str

  def curve(self, section: str, key: str) -> tuple[list[int], list[float], list[float]]:
    """Returns rounds, means and standard deviations over the runs."""


def curves(groups: Sequence[Group], metrics: Sequence[declared.Metric]) -> dict[str, chart.Figure]:
  """Returns, by caption, a figure with a panel for each metric of a group, and for epsilon; {} without rounds.

  If there are more groups than colours, the last groups are grey.
  """
  looks = {one.name: palette.look(number) if number < _COLOURED else 'third' for number, one in enumerate(groups)}
  panels, said = [], []
  for metric in (*metrics, _EPSILON):
    section = 'privacy' if metric is _EPSILON else 'evaluation'
    drawn = {one.name: found for one in groups if (found := one.curve(section, metric.name))[0]}
    if drawn:
      panels.append(_curve(metric, drawn, looks))
      said.append(f'{metric.heading}: ' + '; '.join(
          f'{name} ends at {numbers.metric_text(metric, found[1][-1])}' for name, found in drawn.items()))
  if not panels:
    return {}
  keys = [chart.Key(look=looks[one.name], name=one.name) for one in groups[:_COLOURED]]
  keys += [chart.Key(look='third', name=f'{len(groups) - _COLOURED} further groups')] if len(groups) > _COLOURED else []
  return {'Over rounds. Lines are means over runs, bands one standard deviation.': chart.Figure(
      alt=f'Curves over rounds. {". ".join(said)}.', panels=panels, legend=keys)}


def _curve(metric, drawn, looks):
  lines, bands, ends = [], [], []
  for name, (rounds, means, deviations) in drawn.items():
    low, high = np.subtract(means, deviations).tolist(), np.add(means, deviations).tolist()
    ends += [*low, *high]
    bands.append(marks.Band(xs=rounds, lows=low, highs=high, look=looks[name]))
    lines.append(marks.Line(xs=rounds, ys=means, look=looks[name], name=name, texts=[
        f'round {number}: {numbers.metric_text(metric, mean)}' for number, mean in zip(rounds, means, strict=True)]))
  return chart.Panel(title=metric.heading, marks=[*bands, *lines], y=run_charts.values_axis(metric, ends),
                     x=run_charts.round_axis([number for rounds, _, _ in drawn.values() for number in rounds]))


def finals(rows: Sequence[Mapping], metric: declared.Metric | None) -> dict[str, chart.Figure]:
  """Returns, by caption, final results as bars with intervals, and beside them what they cost.

  Args:
    rows: The result of `run_comparison.summary`.
    metric: The metric by which groups are compared; None: they have none in common.
  """
  rows = [] if metric is None else [row for row in rows if metric.name in row]
  if len(rows) < 2:
    return {}
  shown = [row | {'epsilon': {'mean': row['privacy']['epsilon']}} if numbers.is_finite(row['privacy'].get('epsilon'))
           else row for row in rows][:_MOST_BARS]
  costs = [(key, title) for key, title in _COSTS if len([row for row in shown if key in row]) > 1]
  said = '; '.join(f'{row["group"]}: {numbers.spread(metric, row[metric.name])}' for row in shown)
  left_out = f' Of {len(rows)} groups, the first {_MOST_BARS} are drawn.' if len(rows) > _MOST_BARS else ''
  made = {f'Final {metric.label} of each group, its standard deviation over runs, and the best, dashed.{left_out}':
          chart.Figure(alt=f'Bars: {said}.', panels=[_bars(shown, metric)])}
  if costs:
    made[f'What {metric.label} costs: each point is a group, numbered as in the bars.'] = chart.Figure(
        alt=f'{metric.heading} over {", ".join(title for _, title in costs)}.',
        panels=[_beside_cost(shown, metric, key, title) for key, title in costs])
  return made


def _bars(rows, metric):
  """Draws a horizontal bar for each group, numbered; the axis ends a little beyond the worst and the best."""
  means, errors = ([row[metric.name][key] for row in rows] for key in ('mean', 'deviation'))
  best = best_row(rows, metric)
  low, high = (min(np.subtract(means, errors).tolist()), max(np.add(means, errors).tolist()))
  start = low - 0.25 * (high - low or abs(high) or 1.0)
  x = run_charts.values_axis(metric, [max(0.0, start) if low >= 0 else start, high], metric.label)
  drawn: list[marks.Mark] = []
  for look, chosen in (('third', [row for row in range(len(rows)) if row != best]), ('first', [best])):
    drawn.append(marks.Bars(places=chosen, values=[means[row] for row in chosen], look=look, rows=True, texts=[
        f'{rows[row]["group"]}: {numbers.spread(metric, rows[row][metric.name])}' for row in chosen]))
  spread = [row for row, error in enumerate(errors) if error]
  drawn.append(marks.Spans(places=spread, lows=[means[row] - errors[row] for row in spread],
                           highs=[means[row] + errors[row] for row in spread], look='second'))
  drawn.append(marks.Rule(value=means[best], look='second', upright=True,
                          text=f'the best: {numbers.metric_text(metric, means[best])}'))
  return chart.Panel(title=metric.heading, x=x, marks=drawn, width=chart.WIDE, height=max(48, 26 * len(rows)),
                     y=axes.named([f'{number}  {row["group"]}' for number, row in enumerate(rows, 1)], downwards=True))


def _beside_cost(rows, metric, key, title):
  held = [(number, row) for number, row in enumerate(rows, 1) if key in row]
  xs, ys = ([row[name]['mean'] for _, row in held] for name in (key, metric.name))
  return chart.Panel(
      title=metric.heading, x=axes.numeric(xs, label=title), y=run_charts.values_axis(metric, ys), marks=[
          marks.Line(xs=xs, ys=ys, look='first', joined=False, dots=True, texts=[
              f'{row["group"]}: {numbers.metric_text(metric, y)} at {numbers.plain(float(x))}'
              for (_, row), x, y in zip(held, xs, ys, strict=True)]),
          marks.Words(xs=xs, ys=ys, texts=[str(number) for number, _ in held])])


def sweep(rows: Sequence[Mapping], *, metric: str | declared.Metric) -> dict[str, chart.Figure]:
  """Returns, by caption, figures of the final metric over the settings of the sweep.

  Args:
    rows: The result of `run_comparison.summary`.
    metric: A metric in the rows, or its name.
  """
  metric = _known(metric)
  rows = [row for row in rows if metric.name in row]
  names = list(rows[0]['settings']) if rows else []
  if not names:
    return {}
  best = rows[best_row(rows, metric)]
  panels = [_heat_map(rows, names, metric)] if len(names) == 2 else [_along(rows, name, metric) for name in names]
  return {f'Final {metric.label} of each cell.': chart.Figure(
      panels=panels, alt=f'{metric.heading} of {wording.counted(len(rows), "cell")} over '
                         f'{", ".join(names)}; best is {best["group"]} with '
                         f'{numbers.spread(metric, best[metric.name])}.')}


def best_row(rows: Sequence[Mapping], metric: str | declared.Metric) -> int:
  """Returns the position of the row with the best mean: the lowest or the highest, as the metric declares.

  A row that lacks the number of some of its runs, or of all, comes after those that have all.
  """
  known = _known(metric)

  def worth(row):
    found = row.get(known.name)
    return (0, 0.0) if found is None else (1 if 'without' in found else 2, known.goodness(found['mean']))

  return max(range(len(rows)), key=lambda place: worth(rows[place]))


def _known(metric):
  return declared.named(metric) if isinstance(metric, str) else metric


def _along(rows, name, metric):
  """Draws every cell over one of the settings, with its deviation over runs."""
  settings = _ordered(row['settings'][name] for row in rows)
  places = [settings.index(row['settings'][name]) for row in rows]
  means, errors = ([row[metric.name][key] for row in rows] for key in ('mean', 'deviation'))
  low, high = np.subtract(means, errors).tolist(), np.add(means, errors).tolist()
  return chart.Panel(
      title=metric.heading, x=axes.named([numbers.plain(value) for value in settings], label=name),
      y=run_charts.values_axis(metric, [*low, *high]), marks=[
          marks.Spans(places=places, lows=low, highs=high, look='first', upright=True),
          marks.Line(xs=places, ys=means, look='first', joined=False, dots=True, texts=[
              f'{row["group"]}: {numbers.spread(metric, row[metric.name])}' for row in rows])])


def _heat_map(rows, names, metric):
  ticks = [_ordered(row['settings'][name] for row in rows) for name in names]
  values: list[list[float | None]] = [[None] * len(ticks[1]) for _ in ticks[0]]
  texts = [[''] * len(ticks[1]) for _ in ticks[0]]
  for row in rows:
    place, column = (side.index(row['settings'][name]) for side, name in zip(ticks, names, strict=True))
    values[place][column] = row[metric.name]['mean']
    texts[place][column] = f'{row["group"]}: {numbers.spread(metric, row[metric.name])}'
  held = [value for line in values for value in line if value is not None]
  return chart.Panel(
      title=f'{metric.heading} over {names[0]} (rows) and {names[1]} (columns)', grid=False, height=34 * len(ticks[0]),
      x=axes.named([numbers.plain(value) for value in ticks[1]], label=names[1]),
      y=axes.named([numbers.plain(value) for value in ticks[0]], downwards=True),
      marks=[marks.Cells(values=values, least=min(held), most=max(held), texts=texts, written=[
          ['' if value is None else numbers.metric_text(metric, value) for value in line] for line in values])])


def _ordered(values):
  """Returns the distinct values: numbers in order of size, other values in their given order."""
  distinct = list(dict.fromkeys(values))
  return sorted(distinct) if all(numbers.is_number(value) for value in distinct) else distinct
