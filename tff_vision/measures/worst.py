"""The answers of a model that are furthest from the truth, as positions in the test set."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MOST = 24


def confident_errors(y: np.ndarray, predicted: np.ndarray, confidence: np.ndarray) -> Sequence[Mapping[str, Any]]:
  """Returns up to `MOST` wrong answers, the most confident first: `example`, `label`, `prediction`, `confidence`.

  Args:
    y: [n] class numbers.
    predicted: [n] predicted class numbers.
    confidence: [n] probabilities of these.
  """
  wrong = np.flatnonzero(predicted != y)
  chosen = wrong[np.argsort(-confidence[wrong], kind='stable')][:MOST]
  return [{'example': int(i), 'label': int(y[i]), 'prediction': int(predicted[i]), 'confidence': float(confidence[i])}
          for i in chosen]


def confident_findings(y: np.ndarray, probabilities: np.ndarray) -> Sequence[Mapping[str, Any]]:
  """Returns up to `MOST` wrong findings, the most confident first, with `finding` beside the keys of the other.

  Args:
    y: [n, findings], 0 and 1.
    probabilities: [n, findings], of the finding being there.
  """
  predicted = probabilities > 0.5
  confidence = np.where(predicted, probabilities, 1 - probabilities)
  examples, which = np.nonzero(predicted != (y > 0.5))
  order = np.argsort(-confidence[examples, which], kind='stable')[:MOST]
  return [{'example': int(i), 'finding': int(j), 'label': int(y[i, j]), 'prediction': int(predicted[i, j]),
           'confidence': float(confidence[i, j])} for i, j in zip(examples[order], which[order], strict=True)]


def largest_errors(y: np.ndarray, predicted: np.ndarray) -> Sequence[Mapping[str, Any]]:
  """Returns up to `MOST` answers that are furthest from the number to be found: `example`, `label`, `prediction`.

  Args:
    y: [n] numbers.
    predicted: [n] numbers.
  """
  order = np.argsort(-np.abs(predicted.astype(np.float64) - y), kind='stable')[:MOST]
  return [{'example': int(i), 'label': float(y[i]), 'prediction': float(predicted[i])} for i in order]
