"""The charts of report.html, of numbers in report.json."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tff_vision import wording
from tff_vision.report import axes, chart, declared, marks, palette, partition
from tff_vision.report import number_format as numbers

NAMED_CLIENTS = 20  # Up to so many clients are shown by name.
STACKED_CLASSES = 5  # Up to so many classes are shown as parts of a bar; more make a heat map.
_WRITTEN_CELLS = 150
_BINS = 25
Points = tuple[list[float], list[float]]


def series(history: Sequence[Mapping], section: str, key: str) -> Points:
  """Returns rounds and values of `section.key`, for the entries of the history that have this key."""
  found = [(entry['round'], (entry.get(section) or {}).get(key)) for entry in history if 'round' in entry]
  kept = [(r, v) for r, v in found if numbers.is_finite(v)]
  return [r for r, _ in kept], [v for _, v in kept]


def values_axis(metric: declared.Metric, values: Sequence[float], label: str = '') -> axes.Axis:
  """Returns an axis for a metric; that of a share ends at 100 % or below."""
  if metric.percent:
    ends = axes.numeric([*values], count=5)
    return axes.numeric(values, label=label, count=5, low=max(0.0, ends.low), high=min(1.0, ends.high),
                        text=_percent)
  return axes.numeric(values, label=label)


def _percent(share):
  return f'{numbers.plain(round(100 * share, 6))} %'


_LINES = {  # Name of a line -> the section and the key (None: the metric's), and how it looks.
    'test set': ('evaluation', None, 'first', False),
    'mean of clients': ('per_client', 'mean', 'second', False),
    '10th percentile of clients': ('per_client', 'percentile_10', 'second', True),
    'local training, during local steps': ('train', None, 'third', False)}


def curves(history: Sequence[Mapping], metric: declared.Metric) -> chart.Figure | None:
  """Draws a metric and the loss over the rounds: on the test set, on clients, and during their local steps.

  Returns None if nothing was measured.
  """
  of_clients = {entry['per_client'].get('metric', declared.USUAL) for entry in history if entry.get('per_client')}
  panels, keys, said = [], {}, []
  for one in (metric, declared.named(declared.LOSS)):
    drawn = []
    for name, (section, key, look, dashed) in _LINES.items():
      if key is None or (one is metric and of_clients == {metric.name}):
        rounds, values = series(history, section, key or one.name)
        if rounds:
          drawn.append(marks.Line(xs=rounds, ys=values, look=look, dashed=dashed, name=name, dots=(
              None if section != 'train' else len(rounds) == 1), texts=[
                  f'round {number}: {numbers.metric_text(one, value)}'
                  for number, value in zip(rounds, values, strict=True)]))
          keys[name] = chart.Key(look=look, name=name, kind='dashed' if dashed else 'line')
          if section == 'evaluation':
            said.append(f'test {one.label} {_ends(rounds, values, one)}')
    if drawn:
      panels.append(chart.Panel(
          title=one.heading, marks=drawn[::-1], x=round_axis([x for line in drawn for x in line.xs]),
          y=values_axis(one, [y for line in drawn for y in line.ys])))
  alt = f'Curves over rounds: {"; ".join(said) or "nothing evaluated"}.'
  return chart.Figure(alt=alt, panels=panels, legend=list(keys.values())) if panels else None


def round_axis(rounds: Sequence[float]) -> axes.Axis:
  """Returns an axis from the first to the last round."""
  return axes.numeric(rounds, label='round', integer=True, tight=True, count=8)


def _ends(rounds, values, metric):
  first, last = (numbers.metric_text(metric, values[i]) for i in (0, -1))
  return f'{first} in round {rounds[0]}' + (f', {last} in round {rounds[-1]}' if len(rounds) > 1 else '')


def client_rows(title: str, names: Sequence[str], values: Sequence[float | None], metric: declared.Metric,
                notes: Sequence[str]) -> chart.Panel:
  """Draws a metric of a few clients as rows with their names; `notes` are tooltips."""
  written = [numbers.MISSING if value is None else numbers.metric_text(metric, value) for value in values]
  known = [value for value in values if numbers.is_finite(value)]
  x = axes.numeric([0.0, *known], high=1.0 if metric.percent or max(known, default=0) <= 1 else None,
                   text=_percent if metric.percent else numbers.plain)
  return chart.Panel(
      title=title, height=max(40, 24 * len(names)), margin=64, x=x, y=axes.named(names, downwards=True),
      marks=[marks.Bars(places=range(len(names)), values=[np.nan if v is None else v for v in values], texts=[
          f'{name}: {text}{note}' for name, text, note in zip(names, written, notes, strict=True)], look='first',
                        rows=True, written=written)])


def client_histogram(title: str, group: Mapping, metric: declared.Metric) -> chart.Panel:
  """Draws how many clients have which value of a metric, with mean, 10th percentile and worst."""
  values, weights = _weighed(group)
  x = values_axis(metric, [*values, 1.0] if metric.percent else list(values))
  counts, edges = np.histogram(values, bins=np.linspace(x.low, x.high, _BINS + 1), weights=weights)
  bars = marks.Bars(places=(edges[:-1] + edges[1:]) / 2, values=counts.tolist(), size=0.92 * (edges[1] - edges[0]),
                    look='first', texts=[
      f'{numbers.metric_text(metric, float(low))} to {numbers.metric_text(metric, float(high))}: '
      f'{wording.counted(count, "client")}'
      for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True)])
  rules = [marks.Rule(value=group[key], look='second', dashed=key != 'mean', upright=True,
                      text=f'{numbers.label(key)}: {numbers.metric_text(metric, group[key])}')
           for key in ('mean', 'percentile_10') if numbers.is_finite(group.get(key))]
  return chart.Panel(title=f'{title}: number of clients', x=dataclasses.replace(x, label=metric.label),
                     marks=[bars, *rules], y=axes.numeric([0, *counts.tolist()], integer=True, low=0))


def _weighed(group):
  """Returns the values of clients, and how many clients have each; None: one."""
  if 'histogram' not in group:
    return np.array([v for v in group['accuracies'] if numbers.is_finite(v)], float), None
  edges, clients = np.array(group['histogram']['edges']), np.array(group['histogram']['counts'])
  return ((edges[:-1] + edges[1:]) / 2)[clients > 0], clients[clients > 0]


def class_mix(mix: partition.ClassMix) -> chart.Figure:
  """Draws each client's size and the shares of its classes: stacked bars, or a heat map for six classes or more."""
  names = [str(name) for name in mix.client_ids]
  x = axes.named(names, most=40, label='clients, smallest to largest' if mix.sampled else '')
  places = list(range(len(names)))
  sizes = chart.Panel(
      title='Training images of each client', x=axes.named(names, most=1) if len(names) > 60 else x,
      height=90, width=chart.WIDE, y=axes.numeric([0, *mix.sizes.tolist()], integer=True, low=0, count=3),
      marks=[marks.Bars(places=places, values=mix.sizes.tolist(), look='third', texts=[
          f'{name}: {size:,} training images' for name, size in zip(names, mix.sizes, strict=True)])])
  title = 'Share of its images with each finding' if mix.multi_label else 'Share of each class'
  classes = [str(name) for name in mix.class_names]
  text = lambda client, number: (
      f'{names[client]}, {classes[number]}: {numbers.percent(float(mix.shares[client, number]))}')
  stacked = is_stacked(mix)
  if stacked:
    tops = mix.shares.cumsum(axis=1)
    shares = chart.Panel(
        title=title, x=x, y=axes.numeric([0, 1], low=0, high=1, text=_percent), height=180, width=chart.WIDE, marks=[
            marks.Bars(places=places, values=tops[:, i].tolist(), bases=(tops[:, i] - mix.shares[:, i]).tolist(),
                       look=palette.look(i), texts=[text(client, i) for client in places])
            for i in range(len(classes))])
  else:
    few = mix.shares.size <= _WRITTEN_CELLS and len(names) <= 16
    shares = chart.Panel(
        title=title, x=x, y=axes.named(classes, downwards=True, most=30), width=chart.WIDE, grid=False,
        height=min(520, max(60, 22 * len(classes))), marks=[marks.Cells(
            values=mix.shares.T.tolist(), most=float(mix.shares.max()) or 1.0,
            texts=[[text(client, i) for client in places] for i in range(len(classes))],
            written=[[f'{100 * share:.0f} %' for share in row] for row in mix.shares.T] if few else ())])
  keys = [chart.Key(look=palette.look(i), name=name, kind='box') for i, name in enumerate(classes)] if stacked else ()
  alt = (f'Training images and class shares of {wording.counted(len(mix.sizes), "client")}; they hold '
         f'{mix.sizes.min():,} to {mix.sizes.max():,} images each, of {len(mix.class_names)} classes.')
  return chart.Figure(alt=alt, panels=[sizes, shares], legend=keys)


def is_stacked(mix: partition.ClassMix) -> bool:
  """Returns whether `class_mix` draws parts of bars and not a heat map."""
  return not (mix.multi_label or mix.sampled) and len(mix.class_names) <= STACKED_CLASSES


def epsilon(history: Sequence[Mapping], target: float | None) -> chart.Figure | None:
  """Draws the privacy cost (epsilon) of each round's model, and the budget if one was set; None: there is no cost."""
  rounds, values = series(history, 'privacy', 'epsilon')
  if not rounds:
    return None
  metric = declared.Metric(name='epsilon', higher_is_better=False)
  drawn: list[marks.Mark] = [marks.Line(xs=rounds, ys=values, look='first', texts=[
      f'round {number}: ε = {numbers.upper(float(value))}' for number, value in zip(rounds, values, strict=True)])]
  keys = []
  if numbers.is_finite(target):
    drawn.append(marks.Rule(value=target, look='second', text=f'target ε {numbers.plain(target)}'))
    keys.append(chart.Key(look='second', kind='dashed', name=f'target ε {numbers.plain(target)}'))
  return chart.Figure(
      alt=f'Epsilon over rounds: epsilon {_ends(rounds, values, metric)}.',
      legend=keys, panels=[chart.Panel(
          title='ε spent by the end of each round', x=round_axis(rounds), height=170, marks=drawn,
          y=axes.numeric([0, *values, *([target] if keys else [])], low=0))])
