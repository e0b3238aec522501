"""Figures over several runs: curves with bands, and a sweep's results over its settings."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import figure, ticker

from tff_vision.report import figures, run_comparison
from tff_vision.report import number_format as numbers

_CURVES = {'accuracy': 'evaluation', 'auc': 'evaluation', 'equal_error_rate': 'evaluation', 'loss': 'evaluation',
           'epsilon': 'privacy'}
_COLOURED = len(figures.CLASS_COLORS)


def curves(groups: Sequence[run_comparison.Group]) -> dict[str, Mapping]:
  """Returns, by caption, a figure of each metric that a group was evaluated by."""
  made = {}
  for metric, section in _CURVES.items():
    drawn = {one.name: found for one in groups if (found := one.curve(section, metric))[0]}
    if drawn:
      ends = '; '.join(f'{name} ends at {numbers.metric_text(metric, found[1][-1])}' for name, found in drawn.items())
      made[f'{numbers.heading(metric)} over rounds. Lines are means over runs, bands one standard deviation.'] = {
          **figures.render(functools.partial(_curve, metric=metric, drawn=drawn)),
          'alt': f'{numbers.heading(metric)} over rounds: {ends}.'}
  return made


def _curve(theme, *, metric, drawn):
  """Draws lines with bands; of more groups than there are colours, the last are grey."""
  fig = figure.Figure(figsize=(figures.WIDTH, 3.6 + 0.18 * max(0, min(len(drawn), _COLOURED) - 4)))
  axes = fig.subplots()
  for number, (name, (rounds, means, deviations)) in enumerate(drawn.items()):
    coloured = number < _COLOURED
    color = figures.CLASS_COLORS[number] if coloured else theme.grid
    low, high = np.subtract(means, deviations), np.add(means, deviations)
    axes.fill_between(rounds, low, high, color=color, alpha=0.2, linewidth=0)
    axes.plot(rounds, means, color=color, label=name if coloured else None, zorder=3 if coloured else 2,
              marker='o' if len(rounds) <= 40 else None, markersize=3.2)
  axes.set_title(numbers.heading(metric))
  axes.set_xlabel('round')
  axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True, nbins=8))
  if 'accuracy' in metric:
    axes.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
  fig.legend(loc='outside lower center', fontsize=8, ncols=1 if max(map(len, drawn)) > 45 else 2)
  return fig


def sweep(rows: Sequence[Mapping], *, metric: str) -> dict[str, Mapping]:
  """Returns, by caption, the final metric over the settings that were swept.

  Args:
    rows: From `comparison.summary`.
    metric: Its name there.
  """
  rows = [row for row in rows if metric in row]
  names = list(rows[0]['settings']) if rows else []
  if not names:
    return {}
  best = rows[best_row(rows, metric)]
  made = {**figures.render(functools.partial(_sweep, rows=rows, names=names, metric=metric)),
          'alt': f'{numbers.heading(metric)} of {len(rows)} cells over {", ".join(names)}; best is {best["group"]} '
                 f'with {run_comparison.spread(metric, best[metric])}.'}
  return {f'Final {numbers.label(metric)} of each cell.': made}


def best_row(rows: Sequence[Mapping], metric: str) -> int:
  """Returns the position of the row with the best mean: the least loss or error, the most of anything else."""
  values = [row[metric]['mean'] * (-1 if metric in ('loss', 'equal_error_rate') else 1) for row in rows]
  return int(np.argmax(values))


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
      axes.errorbar(position, row[metric]['mean'], yerr=row[metric]['deviation'] or None, fmt='o', color=theme.first,
                    markersize=4.5, capsize=3)
    axes.set_xticks(range(len(settings)), [numbers.plain(value) for value in settings],
                    rotation=30 if len(settings) > 6 else 0)
    axes.set(xlabel=name, ylabel=numbers.label(metric))
    axes.margins(x=0.15)
  for axes in panels[len(names):]:
    axes.set_axis_off()
  return fig


def _heat_map(theme, rows, names, metric):
  ticks = [_ordered(row['settings'][name] for row in rows) for name in names]
  values = np.full([len(side) for side in ticks], np.nan)
  for row in rows:
    values[tuple(side.index(row['settings'][name]) for side, name in zip(ticks, names, strict=True))] = (
        row[metric]['mean'])
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
  """Returns the distinct values, numbers in order of size and the rest as they came."""
  distinct = list(dict.fromkeys(values))
  return sorted(distinct) if all(numbers.is_number(value) for value in distinct) else distinct
