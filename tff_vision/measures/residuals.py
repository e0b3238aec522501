"""Errors of predicted numbers: mean absolute and squared errors, R squared, and errors along the range of answers."""

from typing import Any

import numpy as np

_BINS = 10
_PAIRS = 400


def errors(y: np.ndarray, predicted: np.ndarray) -> dict[str, float | None]:
  """Returns `mae`, `rmse` and `r2`, which is None if all numbers to be found are equal.

  Args:
    y: [n], n at least 1.
    predicted: [n].
  """
  y, residual = y.astype(np.float64), predicted.astype(np.float64) - y
  spread = np.square(y - y.mean()).sum()
  return {'mae': float(np.abs(residual).mean()), 'rmse': float(np.sqrt(np.square(residual).mean())),
          'r2': float(1 - np.square(residual).sum() / spread) if spread else None}


def describe(y: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
  """Returns how answers and truth lie to each other.

  Returns:
    `percentiles` of predicted minus true number, at 0, 5, ..., 100; `bins` of equal numbers of examples in the order of
    the prediction: `lowest`, `highest` and mean `prediction`, mean `label`, `mae` and `count`; and up to 400 `pairs` of
    label and prediction, evenly spaced in the test set.
  """
  y, predicted = y.astype(np.float64), predicted.astype(np.float64)
  order = np.argsort(predicted, kind='stable')
  bins = [{'lowest': float(predicted[own].min()), 'highest': float(predicted[own].max()),
           'prediction': float(predicted[own].mean()), 'label': float(y[own].mean()),
           'mae': float(np.abs(predicted[own] - y[own]).mean()), 'count': len(own)}
          for own in np.array_split(order, _BINS) if len(own)]
  shown = np.unique(np.linspace(0, len(y) - 1, min(len(y), _PAIRS)).astype(np.int64))
  return {'percentiles': np.percentile(predicted - y, np.arange(0, 101, 5)).tolist(), 'bins': bins,
          'pairs': np.stack([y[shown], predicted[shown]], axis=1).tolist()}
