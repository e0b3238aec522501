"""The ROC curve of report.html, for tasks that accept or reject."""

from collections.abc import Mapping

import numpy as np
from matplotlib import figure, ticker

from tff_vision.report import figures, number_format

_PLACES = (0.001, 0.01, 0.1)
_LEAST_RATE = 1e-4


def draw(theme: figures.Theme, *, curves: Mapping[str, Mapping]) -> figure.Figure:
  """Draws true over false positive rates, the latter on a logarithmic axis.

  Args:
    curves: The values `false_positive_rate` and `true_positive_rate` of each curve, by name.
  """
  fig = figure.Figure(figsize=(figures.WIDTH, 3.5))
  axes = fig.subplots()
  for (name, curve), color in zip(curves.items(), (theme.first, theme.second), strict=False):
    axes.step(np.maximum(curve['false_positive_rate'], _LEAST_RATE / 10), curve['true_positive_rate'],
              where='post', label=name,
              color=color)
  start = max(_LEAST_RATE, min(_least(curve) for curve in curves.values()))
  chance = np.geomspace(start, 1, 50)
  axes.plot(chance, chance, color=theme.third, linestyle='--', linewidth=1.1, label='chance')
  axes.set(xscale='log', xlim=(start, 1), ylim=(0, 1.02), xlabel='false positive rate', ylabel='true positive rate')
  for axis in (axes.xaxis, axes.yaxis):
    axis.set_major_formatter(ticker.FuncFormatter(lambda share, _: f'{100 * share:g}%'))
  axes.set_title('ROC')
  axes.legend(fontsize=8.5, loc='lower right')
  return fig


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
