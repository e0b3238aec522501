"""Which classes a model takes for which: the confusion matrix, and precision, recall and support of each class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MAX_CLASSES = 100  # A larger matrix would make report.json megabytes long; the pairs below tell most of it.
_MOST_PAIRS = 20


def counts(y: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
  """Returns [num_classes, num_classes] counts: row c holds what the examples of class c were taken for.

  Args:
    y: [n] class numbers.
    predicted: [n] predicted class numbers.
  """
  flat = np.bincount(y.astype(np.int64) * num_classes + predicted, minlength=num_classes ** 2)
  return flat.reshape(num_classes, num_classes)


def describe(matrix: np.ndarray) -> dict[str, Any]:
  """Returns the matrix as data.

  Args:
    matrix: As `counts` returns it.

  Returns:
    `counts`, the rows, or None for more than `MAX_CLASSES` classes; `classes`, one mapping a class, as `of_class`
    returns it; and `confused`, the most frequent errors: `label`, `prediction`, `count`, by class number.
  """
  return {'counts': matrix.tolist() if len(matrix) <= MAX_CLASSES else None,
          'classes': [of_class(matrix, c) for c in range(len(matrix))], 'confused': _confused(matrix)}


def of_class(matrix: np.ndarray, number: int) -> dict[str, float | int | None]:
  """Returns `precision`, `recall`, `f1`, `support` and `predicted` of a class; None where the denominator is zero."""
  right, support, predicted = (int(value) for value in (
      matrix[number, number], matrix[number].sum(), matrix[:, number].sum()))
  return {'precision': right / predicted if predicted else None, 'recall': right / support if support else None,
          'f1': 2 * right / (support + predicted) if support + predicted else None, 'support': support,
          'predicted': predicted}


def findings(y: np.ndarray, predicted: np.ndarray) -> Sequence[Mapping[str, Any]]:
  """Returns for each finding its matrix of two rows (absent, present) and its precision, recall, F1 and support.

  Args:
    y: [n, findings], 0 and 1.
    predicted: [n, findings], bool.
  """
  matrices = [counts(y[:, i].astype(np.int64), predicted[:, i].astype(np.int64), 2) for i in range(y.shape[1])]
  return [{'counts': matrix.tolist(), **of_class(matrix, 1)} for matrix in matrices]


def _confused(matrix):
  wrong = matrix * (1 - np.eye(len(matrix), dtype=matrix.dtype))
  order = np.argsort(-wrong, axis=None, kind='stable')[:_MOST_PAIRS]
  return [{'label': int(place // len(matrix)), 'prediction': int(place % len(matrix)), 'count': int(wrong.flat[place])}
          for place in order if wrong.flat[place]]
