"""ROC and precision-recall curves of one class against the others, with bands of 95 % confidence.

Bands are pointwise percentiles of a bootstrap that draws positives and negatives each with replacement (Efron and
Tibshirani 1993, chapter 13): of the true positive rate at a false positive rate, and of the precision at a recall. The
interval of the area under the ROC curve is that of DeLong et al., Biometrics 1988, on the logit scale, on which it
stays within 0..1.
"""

from typing import Any

import numpy as np
from scipy import special, stats

from tff_vision import seeds

METHOD = ('Bands: pointwise 95 % percentiles of 500 bootstrap samples, drawn within positives and within negatives. '
          'Interval of the AUC: DeLong et al. 1988, 95 %, on the logit scale.')
_SAMPLES = 500
_POINTS = 51
_THRESHOLDS = 1000  # With more different scores, scores between two quantiles count as equal in curves and bands.
_INTERVAL = (2.5, 97.5)
_DIGITS = 5


def describe(positive: np.ndarray, scores: np.ndarray) -> dict[str, Any] | None:
  """Returns both curves of a score, or None unless there are positives and negatives.

  Args:
    positive: [n] bool.
    scores: [n]; a positive should have a higher one.

  Returns:
    `positives`, `negatives`; `auc` with `auc_low` and `auc_high`; `average_precision` with `average_precision_low` and
    `average_precision_high`; `roc`: `false_positive_rate` with `true_positive_rate`, `low` and `high` at each; and
    `precision_recall`: `recall` with `precision`, `low` and `high` at each.
  """
  positive = positive.astype(bool)
  hits, alarms = int(positive.sum()), int((~positive).sum())
  if not hits or not alarms:
    return None
  above_hits, above_alarms = _drawn(positive, scores)
  true_rate, false_rate = above_hits / hits, above_alarms / alarms
  grid = np.linspace(0, 1, _POINTS)
  roc = _at(false_rate, true_rate, grid)
  found = above_hits + above_alarms
  precision = np.divide(above_hits, found, out=np.ones_like(above_hits, np.float64), where=found > 0)
  by_recall = _precision_at(true_rate, precision, grid)
  averages = (np.diff(true_rate, axis=1) * precision[:, 1:]).sum(axis=1)
  area, low, high = auc(positive, scores)
  return {
      'positives': hits, 'negatives': alarms, 'auc': area, 'auc_low': low, 'auc_high': high,
      'average_precision': float(averages[0]),
      **dict(zip(('average_precision_low', 'average_precision_high'),
                 map(float, np.percentile(averages[1:], _INTERVAL)), strict=True)),
      'roc': {'false_positive_rate': _listed(grid), **_band('true_positive_rate', roc)},
      'precision_recall': {'recall': _listed(grid), **_band('precision', by_recall)}}


def auc(positive: np.ndarray, scores: np.ndarray) -> tuple[float, float | None, float | None]:
  """Returns the area under the ROC curve and the ends of its interval; None with fewer than two of either kind."""
  every, hits, alarms = (stats.rankdata(part) for part in (scores, scores[positive], scores[~positive]))
  number, others = len(hits), len(alarms)
  above = (every[positive] - hits) / others  # Of each positive: the share of negatives below it, ties half.
  below = 1 - (every[~positive] - alarms) / number
  area = float(above.mean())
  if number < 2 or others < 2:
    return area, None, None
  deviation = np.sqrt(above.var(ddof=1) / number + below.var(ddof=1) / others)
  if not 0 < area < 1 or not deviation:
    return area, area, area
  reach = stats.norm.ppf(0.975) * deviation / (area * (1 - area))
  return area, *(float(special.expit(special.logit(area) + side * reach)) for side in (-1, 1))


def _drawn(positive, scores):
  """Returns how many positives and negatives have a score above each threshold, from the highest threshold down.

  Both are [1 + samples, thresholds + 1]; the first row is the test set itself, and the first column is zero.
  """
  edges = np.unique(scores)
  if len(edges) > _THRESHOLDS:
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, _THRESHOLDS), method='inverted_cdf'))
  place = len(edges) - 1 - np.searchsorted(edges, scores, side='left')
  rng = np.random.default_rng(seeds.derive(0, 'bootstrap of curves'))
  counted = []
  for kind in (positive, ~positive):
    own = np.bincount(place[kind], minlength=len(edges))
    drawn = rng.multinomial(own.sum(), own / own.sum(), size=_SAMPLES)
    rows = np.concatenate([own[None], drawn])
    counted.append(np.pad(np.cumsum(rows, axis=1), [[0, 0], [1, 0]]).astype(np.float64))
  return counted


def _at(false_rate, true_rate, grid):
  """Returns [samples, points] true positive rates, interpolated between thresholds (equal scores are a slope)."""
  # At one false positive rate, the curve rises straight up: the highest true positive rate there counts.
  return np.stack([np.interp(grid + 1e-9, false + 1e-12 * np.arange(len(false)), true)
                   for false, true in zip(false_rate, true_rate, strict=True)])


def _precision_at(recall, precision, grid):
  """Returns [samples, points] precisions at the highest threshold that reaches each recall."""
  rows = []
  for own, values in zip(recall, precision, strict=True):
    reached = np.searchsorted(own, np.maximum(grid, 1e-12) - 1e-12, side='left')
    rows.append(values[np.clip(reached, 1, len(own) - 1)])
  return np.stack(rows)


def _band(name, rows):
  low, high = np.percentile(rows[1:], _INTERVAL, axis=0)
  return {name: _listed(rows[0]), 'low': _listed(low), 'high': _listed(high)}


def _listed(values):
  return np.round(values, _DIGITS).tolist()
