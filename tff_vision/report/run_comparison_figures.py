"""Figures over several runs: curves with bands, and a sweep's results over its settings."""

import functools
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from matplotlib import figure, ticker

from tff_vision.report import declared, figures
from tff_vision.report import number_format as numbers

_EPSILON = declared.Metric(name='epsilon', higher_is_better=False)
_COLOURED = len(figures.CLASS_COLORS)
_MOST_BARS = 40
_LONGEST = 44  # Characters of a name beside its bar.


class Group(Protocol):
  """Runs that are drawn as one line, such as `run_comparison.Group`."""
  name: str

  def curve(self, section: str, key: str) -> tuple[list[int], list[float], list[float]]:
    """Returns rounds, means and standard deviations over the runs."""


def curves(groups: Sequence[Group], metrics: Sequence[declared.Metric]) -> dict[str, Mapping]:
  """Returns, by caption, a figure of each metric of a group, and of epsilon."""
  made = {}
  for metric in (*metrics, _EPSILON):
    section = 'privacy' if metric is _EPSILON else 'evaluation'
    drawn = {one.name: found for one in groups if (found := one.curve(section, metric.name))[0]}
    if drawn:
      ends = '; '.join(f'{name} ends at {numbers.metric_text(metric, found[1][-1])}' for name, found in drawn.items())
      made[f'{metric.heading} over rounds. Lines are means over runs, bands one standard deviation.'] = {
          **figures.render(functools.partial(_curve, metric=metric, drawn=drawn)),
          'alt': f'{metric.heading} over rounds: {ends}.'}
  return made


def _curve(theme, *, metric, drawn):
  """Draws lines with bands; if there are more groups than colours, the last groups are grey."""
  fig = figure.Figure(figsize=(figures.WIDTH, 3.6 + 0.18 * max(0, min(len(drawn), _COLOURED) - 4)))
  axes = fig.subplots()
  for number, (name, (rounds, means, deviations)) in enumerate(drawn.items()):
    coloured = number < _COLOURED
    color = figures.CLASS_COLORS[number] if coloured else theme.grid
    low, high = np.subtract(means, deviations), np.add(means, deviations)
    axes.fill_between(rounds, low, high, color=color, alpha=0.2, linewidth=0)
    axes.plot(rounds, means, color=color, label=name if coloured else None, zorder=3 if coloured else 2,
              marker='o' if len(rounds) <= 40 else None, markersize=3.2)
  axes.set_title(metric.heading)
  axes.set_xlabel('round')
  axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True, nbins=8))
  if metric.percent:
    axes.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
  fig.legend(loc='outside lower center', fontsize=8, ncols=1 if max(map(len, drawn)) > 45 else 2)
  return fig


_COSTS = (('train_seconds', 'training, seconds'), ('megabytes_sent', 'sent by a client, MB'),
          ('epsilon', 'ε, smaller promises more'))


def finals(rows: Sequence[Mapping], metric: declared.Metric | None) -> dict[str, Mapping]:
  """Returns, by caption, final results as bars with intervals, and beside them what they cost.

  Args:
    rows: The result of `run_comparison.summary`.
    metric: The metric by which groups are compared; None: they have none in common.
  """
  if metric is None or len(rows) < 2:
    return {}
  shown = [row | {'epsilon': {'mean': row['privacy']['epsilon']}} if numbers.is_finite(row['privacy'].get('epsilon'))
           else row for row in rows][:_MOST_BARS]
  costs = [(key, title) for key, title in _COSTS if len([row for row in shown if key in row]) > 1]
  said = '; '.join(f'{row["group"]}: {numbers.spread(metric, row[metric.name])}' for row in shown)
  left_out = f' Of {len(rows)} groups, the first {_MOST_BARS} are drawn.' if len(rows) > _MOST_BARS else ''
  made = {f'Final {metric.label} of each group, its standard deviation over runs, and the best, dashed.{left_out}': {
      **figures.render(functools.partial(_bars, rows=shown, metric=metric)), 'alt': f'Bars: {said}.'}}
  if costs:
    made[f'What {metric.label} costs: each point is a group, numbered as in the bars.'] = {
        **figures.render(functools.partial(_beside_costs, rows=shown, metric=metric, costs=costs)),
        'alt': f'{metric.heading} over {", ".join(title for _, title in costs)}.'}
  return made


def _bars(theme, *, rows, metric):
  """Draws a horizontal bar for each group, numbered; the axis ends a little beyond the worst and the best."""
  fig = figure.Figure(figsize=(figures.WIDTH, 1.1 + 0.36 * len(rows)))
  axes = fig.subplots()
  means, places = [row[metric.name]['mean'] for row in rows], np.arange(len(rows))[::-1]
  errors = [row[metric.name]['deviation'] for row in rows]
  best = best_row(rows, metric)
  axes.barh(places, means, height=0.62, color=[theme.first if row == best else theme.third for row in range(len(rows))],
            zorder=2)
  for place, mean, error in zip(places, means, errors, strict=True):
    if error:
      axes.errorbar(mean, place, xerr=error, color=theme.ink, capsize=3, linewidth=1.1, zorder=3)
  axes.axvline(means[best], color=theme.second, linestyle=(0, (4, 3)), linewidth=1.1, zorder=1)
  low = min(mean - error for mean, error in zip(means, errors, strict=True))
  high = max(mean + error for mean, error in zip(means, errors, strict=True))
  room = 0.12 * (high - low or abs(high) or 1.0)
  axes.set_xlim(max(0.0, low - 2 * room) if low >= 0 else low - 2 * room, high + room)
  axes.set_yticks(places, [f'{_short(row["group"])}  {number}' for number, row in enumerate(rows, 1)])
  axes.grid(axis='y', visible=False)
  axes.grid(axis='x', visible=True)
  if metric.percent:
    axes.xaxis.set_major_formatter(ticker.PercentFormatter(1.0))
  axes.set_xlabel(metric.label)
  return fig


def _beside_costs(theme, *, rows, metric, costs):
  fig = figure.Figure(figsize=(figures.WIDTH, 3.2))
  for axes, (key, title) in zip(fig.subplots(1, len(costs), squeeze=False).ravel(), costs, strict=True):
    for number, row in enumerate(rows, 1):
      if key in row:
        axes.plot(row[key]['mean'], row[metric.name]['mean'], 'o', color=theme.first, markersize=5)
        axes.annotate(str(number), (row[key]['mean'], row[metric.name]['mean']), xytext=(5, 4),
                      textcoords='offset points', fontsize=8.5, color=theme.ink)
    axes.set(xlabel=title, ylabel=metric.label)
    axes.margins(x=0.15, y=0.15)
    if metric.percent:
      axes.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
  return fig


def _short(name):
  return name if len(name) <= _LONGEST else f'{name[:_LONGEST - 1]}…'


def sweep(rows: Sequence[Mapping], *, metric: str | declared.Metric) -> dict[str, Mapping]:
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
  made = {**figures.render(functools.partial(_sweep, rows=rows, names=names, metric=metric)),
          'alt': f'{metric.heading} of {len(rows)} cells over {", ".join(names)}; best is {best["group"]} '
                 f'with {numbers.spread(metric, best[metric.name])}.'}
  return {f'Final {metric.label} of each cell.': made}


def best_row(rows: Sequence[Mapping], metric: str | declared.Metric) -> int:
  """Returns the position of the row with the best mean: the lowest or the highest, as the metric declares."""
  known = _known(metric)
  return int(np.argmax([known.goodness(row[known.name]['mean']) for row in rows]))


def _known(metric):
  return declared.named(metric) if isinstance(metric, str) else metric


def _sweep(theme, *, rows, names, metric):
  if len(names) == 2:
    return _heat_map(theme, rows, names, metric)
  columns = min(3, len(names))
  lines = -(-len(names) // columns)
  fig = figure.Figure(figsize=(figures.WIDTH, 3.2 * lines))
  panels = fig.subplots(lines, columns, squeeze=False).ravel()
  for axes, name in zip(panels, names, strict=False):
    settings = _ordered(row['settings'][name] for row in rows)
    for row in rows:
      position = settings.index(row['settings'][name])
      found = row[metric.name]
      axes.errorbar(position, found['mean'], yerr=found['deviation'] or None, fmt='o', color=theme.first,
                    markersize=4.5, capsize=3)
    axes.set_xticks(range(len(settings)), [numbers.plain(value) for value in settings],
                    rotation=30 if len(settings) > 6 else 0)
    axes.set(xlabel=name, ylabel=metric.label)
    axes.margins(x=0.15)
  for axes in panels[len(names):]:
    axes.set_axis_off()
  return fig


def _heat_map(theme, rows, names, metric):
  ticks = [_ordered(row['settings'][name] for row in rows) for name in names]
  values = np.full([len(side) for side in ticks], np.nan)
  for row in rows:
    values[tuple(side.index(row['settings'][name]) for side, name in zip(ticks, names, strict=True))] = (
        row[metric.name]['mean'])
  fig = figure.Figure(figsize=(figures.WIDTH, 1.6 + 0.5 * len(ticks[0])))
  axes = fig.subplots()
  scale = figures.scale_to(theme)
  axes.imshow(values, cmap=scale, aspect='auto')
  axes.grid(False)
  for (row, column), value in np.ndenumerate(values):
    if np.isfinite(value):
      dark = value > (np.nanmin(values) + 2 * np.nanmax(values)) / 3
      axes.text(column, row, numbers.metric_text(metric, float(value)), ha='center', va='center', fontsize=8.5,
                color=theme.surface if dark else theme.ink)
  axes.set_yticks(range(len(ticks[0])), [numbers.plain(value) for value in ticks[0]])
  axes.set_xticks(range(len(ticks[1])), [numbers.plain(value) for value in ticks[1]])
  axes.set(ylabel=names[0], xlabel=names[1])
  return fig


def _ordered(values):
  """Returns the distinct values: numbers in order of size, other values in their given order."""
  distinct = list(dict.fromkeys(values))
  return sorted(distinct) if all(numbers.is_number(value) for value in distinct) else distinct
