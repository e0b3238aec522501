"""The figures of report.html, for light and dark pages.

Text in a figure is numbers and fixed words, plus client and class names if the font is known to have their letters.
All other names are in the page around the figure. Nothing here uses matplotlib's global state.
"""

import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib import colors, figure, ticker

from tff_vision.report import declared, partition
from tff_vision.report import number_format as numbers

WIDTH = 9.6
DPI = 150
MAX_STACKED_CLASSES = 12
MAX_TICKED_CLIENTS = 200
CLASS_COLORS = ('#4e79a7', '#f28e2b', '#59a14f', '#e15759', '#76b7b2', '#edc948', '#b07aa1', '#ff9da7', '#9c755f',
                '#8f8a86', '#2f8f8b', '#a05195')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Theme:
  """Colours of one scheme; `surface` is the colour of the page's cards."""
  surface: str
  ink: str
  muted: str
  grid: str
  first: str
  second: str
  third: str


THEMES = {
    'light': Theme(surface='#ffffff', ink='#1a2330', muted='#5a6675', grid='#e3e7ec', first='#1f5fa8',
                   second='#b5540c', third='#8894a3'),
    'dark': Theme(surface='#1b222c', ink='#e8ecf1', muted='#a3aebb', grid='#323c49', first='#7db3ee',
                  second='#f0a45f', third='#7c8896'),
}
Draw = Callable[[Theme], figure.Figure]
Points = tuple[list[float], list[float]]


def render(draw: Draw) -> dict[str, bytes]:
  """Returns the PNG of a figure for each theme."""
  pngs = {}
  for name, theme in THEMES.items():
    with matplotlib.rc_context(_style(theme)):
      buffer = io.BytesIO()
      draw(theme).savefig(buffer, format='png', dpi=DPI, metadata={'Software': None})
      pngs[name] = buffer.getvalue()
  return pngs


def _style(theme: Theme) -> Mapping[str, object]:
  return {
      'figure.facecolor': theme.surface, 'axes.facecolor': theme.surface, 'savefig.facecolor': theme.surface,
      'text.color': theme.ink, 'axes.labelcolor': theme.muted, 'axes.edgecolor': theme.grid,
      'axes.titlecolor': theme.ink, 'xtick.color': theme.muted, 'ytick.color': theme.muted, 'grid.color': theme.grid,
      'axes.grid': True, 'axes.grid.axis': 'y', 'axes.axisbelow': True, 'axes.spines.top': False,
      'axes.spines.right': False, 'axes.spines.left': False, 'axes.titlesize': 11, 'axes.titlelocation': 'left',
      'axes.titleweight': 'bold', 'font.size': 9.5, 'legend.frameon': False, 'xtick.major.size': 0,
      'ytick.major.size': 0, 'text.parse_math': False, 'lines.linewidth': 1.9, 'figure.constrained_layout.use': True,
  }


def series(history: Sequence[Mapping], section: str, key: str) -> Points:
  """Returns rounds and values of `section.key`, for the entries of the history that have this key."""
  found = [(entry['round'], (entry.get(section) or {}).get(key)) for entry in history if 'round' in entry]
  kept = [(r, v) for r, v in found if numbers.is_finite(v)]
  return [r for r, _ in kept], [v for _, v in kept]


def curves(theme: Theme, *, history: Sequence[Mapping], metric: declared.Metric) -> figure.Figure:
  """Draws a metric and the loss over the rounds: on the test set, on clients, and on the cohorts' training examples."""
  fig = figure.Figure(figsize=(WIDTH, 3.5))
  left, right = fig.subplots(1, 2)
  left.set_title(metric.heading)
  lines = {'test set': series(history, 'evaluation', metric.name),
           'training (cohort)': series(history, 'train', metric.name)}
  if {entry['per_client'].get('metric', declared.USUAL) for entry in history
      if entry.get('per_client')} == {metric.name}:
    lines |= {'mean of clients': series(history, 'per_client', 'mean'),
              '10th percentile of clients': series(history, 'per_client', 'percentile_10')}
  _lines(left, theme, lines)
  if metric.percent:
    left.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
    left.set_ylim(min(left.get_ylim()[0], 1.0), min(left.get_ylim()[1], 1.02))
  right.set_title('Loss')
  _lines(right, theme, {'test set': series(history, 'evaluation', 'loss'),
                        'training (cohort)': series(history, 'train', 'loss')})
  return fig


_LOOKS = {
    'test set': lambda t: {'color': t.first, 'zorder': 4},
    'mean of clients': lambda t: {'color': t.second, 'zorder': 3},
    '10th percentile of clients': lambda t: {'color': t.second, 'linestyle': (0, (4, 2)), 'zorder': 3},
    'training (cohort)': lambda t: {'color': t.third, 'linewidth': 1.1, 'zorder': 2},
}


def _lines(axes, theme: Theme, lines: Mapping[str, Points]) -> None:
  for name, (rounds, values) in lines.items():
    if rounds:
      look = _LOOKS[name](theme)
      sparse = len(rounds) <= 40 and name != 'training (cohort)' or len(rounds) == 1
      axes.plot(rounds, values, label=name, marker='o' if sparse else None, markersize=3.6, **look)
  _round_axis(axes)
  if axes.lines:
    axes.legend(fontsize=8.5)
  else:
    axes.text(0.5, 0.5, 'not released', transform=axes.transAxes, ha='center', va='center', color=theme.muted)
    axes.set(xticks=[], yticks=[])


def _round_axis(axes) -> None:
  axes.set_xlabel('round')
  first, last = axes.dataLim.intervalx
  if first == last:
    axes.set_xlim(first - 1, last + 1)
  axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True, nbins=8))


def client_histograms(theme: Theme, *, groups: Mapping[str, Mapping], metrics: Mapping[str, declared.Metric]
                      ) -> figure.Figure:
  """Draws, for each group of clients, a histogram of accuracy or another metric.

  Mean, 10th percentile and worst are marked.

  Args:
    groups: The content of report.json about each group, by name.
    metrics: The metric of each group, by name.
  """
  fig = figure.Figure(figsize=(WIDTH, 3.2))
  for axes, (name, group) in zip(fig.subplots(1, len(groups), squeeze=False)[0], groups.items(), strict=True):
    metric = metrics[name]
    values = np.array([v for v in group['accuracies'] if numbers.is_finite(v)], float)
    start = min(0.5, np.floor(10 * values.min()) / 10)
    axes.hist(values, bins=np.linspace(start, 1, 26), color=theme.first, alpha=0.55, edgecolor=theme.surface,
              linewidth=1)
    if len(values) <= MAX_TICKED_CLIENTS:
      axes.plot(values, np.zeros_like(values), '|', color=theme.first, markersize=9, clip_on=False)
    for key, line in (('mean', '-'), ('percentile_10', '--'), ('worst', ':')):
      if numbers.is_finite(group.get(key)):
        axes.axvline(group[key], color=theme.second, linestyle=line, linewidth=1.7,
                     label=f'{numbers.label(key)} {numbers.metric_text(metric, group[key])}')
    axes.set_title(name)
    axes.set(xlabel=f'{metric.label} on the client’s own test images', ylabel='clients',
             xlim=(start - 0.01, 1.01))
    axes.yaxis.set_major_locator(ticker.MaxNLocator(integer=True, nbins=6))
    if metric.percent:
      axes.xaxis.set_major_formatter(ticker.PercentFormatter(1.0))
    axes.tick_params(axis='x', pad=7)
    side = 'right' if np.median(values) < (start + 1) / 2 else 'left'
    axes.legend(fontsize=8.5, loc=f'upper {side}', frameon=True, framealpha=0.9, edgecolor='none')
  return fig


def is_stacked(mix: partition.ClassMix) -> bool:
  """Returns whether `class_mix` draws bars in `CLASS_COLORS` and not a heat map."""
  return not (mix.multi_label or mix.sampled) and len(mix.class_names) <= MAX_STACKED_CLASSES


def class_mix(theme: Theme, *, mix: partition.ClassMix) -> figure.Figure:
  """Draws each client's size above the shares of its classes: stacked bars, or a heat map for many classes."""
  clients, classes = mix.shares.shape
  height = 1.9 if is_stacked(mix) else min(6.5, max(1.2, 0.24 * classes))
  fig = figure.Figure(figsize=(WIDTH, 1.9 + height))
  top, bottom = fig.subplots(2, 1, sharex=True, height_ratios=[1.1, height])
  positions = np.arange(clients)
  top.bar(positions, mix.sizes, width=0.85 if clients <= 60 else 1.0, color=theme.third)
  top.set_title('Training images of each client')
  top.tick_params(labelbottom=False)
  top.yaxis.set_major_locator(ticker.MaxNLocator(integer=True, nbins=4))
  if is_stacked(mix):
    _stacked_bars(bottom, theme, mix)
  else:
    _heat_map(fig, bottom, theme, mix)
  bottom.set_title('Share of its images with each finding' if mix.multi_label else 'Share of each class')
  names = axis_names(mix.client_ids)
  shown = positions if clients <= 25 else ()
  bottom.set_xticks(shown, [names[i] for i in shown],
                    rotation=30 if clients > 8 and max(map(len, names)) > 4 else 0)
  bottom.set_xlabel('client, smallest to largest' if mix.sampled else 'client')
  bottom.set_xlim(-0.6, clients - 0.4)
  return fig


def _stacked_bars(axes, theme: Theme, mix: partition.ClassMix) -> None:
  base = np.zeros(len(mix.sizes))
  for shares, color in zip(mix.shares.T, CLASS_COLORS, strict=False):
    axes.bar(np.arange(len(base)), shares, bottom=base, width=0.85, color=color, edgecolor=theme.surface,
             linewidth=0.5)
    base += shares
  axes.set_ylim(0, 1)
  axes.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))


def _heat_map(fig, axes, theme: Theme, mix: partition.ClassMix) -> None:
  scale = scale_to(theme)
  classes = len(mix.class_names)
  image = axes.imshow(mix.shares.T, aspect='auto', cmap=scale, vmin=0, interpolation='nearest')
  axes.grid(False)
  names = axis_names(mix.class_names)
  step = max(1, -(-classes // 28))
  axes.set_yticks(range(0, classes, step), names[::step])
  fig.colorbar(image, ax=axes, pad=0.01, format=ticker.PercentFormatter(1.0)).outline.set_visible(False)
  if mix.shares.size <= 120:
    for (client, row), share in np.ndenumerate(mix.shares):
      axes.text(client, row, f'{100 * share:.0f} %', ha='center', va='center', fontsize=8.5,
                color=theme.surface if share > 0.65 * mix.shares.max() else theme.ink)


def scale_to(theme: Theme) -> colors.Colormap:
  """Returns the colours of a heat map: from the page's colour to the first colour of the theme."""
  return colors.LinearSegmentedColormap.from_list('values', [theme.surface, theme.first])


def axis_names(names: Sequence[str]) -> list[str]:
  """Returns the names if all are short and the font has all their letters; otherwise their numbers from 0."""
  if all(len(name) <= 16 and name.isprintable() and name.strip() and max(name) < '\u0530' for name in names):
    return [str(name) for name in names]
  return [str(i) for i in range(len(names))]


def epsilon(theme: Theme, *, history: Sequence[Mapping], target: float | None) -> figure.Figure:
  """Draws the privacy cost (epsilon) of each round's model, and the budget if one was set."""
  fig = figure.Figure(figsize=(WIDTH, 2.8))
  axes = fig.subplots()
  rounds, values = series(history, 'privacy', 'epsilon')
  axes.plot(rounds, values, color=theme.first, marker='o' if len(rounds) <= 40 else None, markersize=3.6)
  if target is not None:
    axes.axhline(target, color=theme.second, linestyle='--', linewidth=1.3, label=f'target ε {numbers.plain(target)}')
    axes.legend(fontsize=8.5, loc='lower right')
  axes.set_title('ε spent by the end of each round')
  axes.set_ylim(bottom=0)
  _round_axis(axes)
  return fig
