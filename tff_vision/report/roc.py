"""The ROC curve of report.html, for tasks that accept or reject."""

from collections.abc import Mapping

import numpy as np

from tff_vision.report import axes, chart, marks, number_format

_PLACES = (0.001, 0.01, 0.1)
_LEAST_RATE = 1e-4
_MOST_POINTS = 300
_LOOKS = ('first', 'second')


def figure(curves: Mapping[str, Mapping]) -> chart.Figure:
  """Draws true over false positive rates, the latter on a logarithmic axis.

  Args:
    curves: The values `false_positive_rate` and `true_positive_rate` of each curve, by name.
  """
  start = max(_LEAST_RATE, min(_least(curve) for curve in curves.values()))
  percent = lambda share: f'{number_format.plain(100 * share)} %'
  chance = np.geomspace(start, 1, 50).tolist()
  drawn: list[marks.Mark] = [marks.Line(xs=chance, ys=chance, look='third', dashed=True, dots=False, name='chance')]
  keys = []
  for (name, curve), look in zip(curves.items(), _LOOKS, strict=False):
    xs, ys = thinned(curve['false_positive_rate'], curve['true_positive_rate'])
    drawn.append(marks.Line(xs=xs, ys=ys, look=look, stepped=True, dots=False, name=name, texts=[
        f'finds {number_format.percent(float(y))} at {number_format.percent(float(x))} false alarms'
        for x, y in zip(xs, ys, strict=True)]))
    keys.append(chart.Key(look=look, name=name))
  panel = chart.Panel(title='ROC: true positive rate', marks=drawn, height=230,
                      x=axes.logarithmic(start, 1, label='false positive rate', text=percent),
                      y=axes.numeric([0, 1], low=0, high=1, text=percent))
  return chart.Figure(alt=describe(curves), panels=[panel],
                      legend=[*keys, chart.Key(look='third', name='chance', kind='dashed')])


def thinned(xs, ys) -> tuple[list[float], list[float]]:
  """Returns at most some hundred points of a curve, with both ends."""
  step = max(1, -(-len(xs) // _MOST_POINTS))
  places = sorted({*range(0, len(xs), step), len(xs) - 1}) if len(xs) else []
  return [float(xs[place]) for place in places], [float(ys[place]) for place in places]


def describe(curves: Mapping[str, Mapping]) -> str:
  """Returns a description of the figure in words."""
  said = []
  for name, curve in curves.items():
    rates = [np.interp(place, curve['false_positive_rate'], curve['true_positive_rate']) for place in _PLACES]
    said.append(f'{name}: ' + ', '.join(f'{number_format.percent(float(rate))} at {number_format.percent(place)}'
                                        for place, rate in zip(_PLACES, rates, strict=True)))
  return f'True positive rate at false positive rates. {"; ".join(said)}.'


def _least(curve):
  return min((rate for rate in curve['false_positive_rate'] if rate > 0), default=1e-3)
