"""Where a classifier is wrong, from its logits on a test set: the section `where_it_is_wrong` of report.json."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import special

from tff_vision.measures import calibration, confusion, curves, worst

_MOST_CURVES = 20


def of_classes(logits: np.ndarray, y: np.ndarray) -> Mapping[str, Any]:
  """Returns the section for one class an image.

  Args:
    logits: [n, classes].
    y: [n] class numbers.
  """
  probabilities = special.softmax(logits.astype(np.float64), axis=1)
  predicted = logits.argmax(axis=1)
  confidence = probabilities[np.arange(len(y)), predicted]
  number = logits.shape[1]
  # Of two classes, the one is the other's complement.
  scores = {1: logits[:, 1] - logits[:, 0]} if number == 2 else {c: _margin(logits, c) for c in range(number)}
  return {'confusion': confusion.describe(confusion.counts(y, predicted, number)),
          'calibration': calibration.reliability(confidence, predicted == y),
          'curves': _curves({c: (y == c, score) for c, score in scores.items()}), 'bands': curves.METHOD,
          'worst': worst.confident_errors(y, predicted, confidence)}


def of_findings(logits: np.ndarray, y: np.ndarray) -> Mapping[str, Any]:
  """Returns the section for any number of findings an image.

  Args:
    logits: [n, findings].
    y: [n, findings], 0 and 1.
  """
  probabilities = special.expit(logits.astype(np.float64))
  found = logits > 0
  confidence = np.where(found, probabilities, 1 - probabilities)
  return {'findings': confusion.findings(y, found),
          'calibration': calibration.reliability(confidence.ravel(), (found == (y > 0.5)).ravel()),
          'curves': _curves({i: (y[:, i] > 0.5, logits[:, i]) for i in range(y.shape[1])}), 'bands': curves.METHOD,
          'worst': worst.confident_findings(y, probabilities)}


def _margin(logits, number):
  """Returns the log odds of a class against all others; probabilities near one would all be equal."""
  others = np.delete(logits.astype(np.float64), number, axis=1)
  return logits[:, number] - special.logsumexp(others, axis=1)


def _curves(parts):
  """Returns the curves of classes that have positives and negatives; of many, those with the smallest areas."""
  areas = {number: curves.auc(positive, scores)[0] for number, (positive, scores) in parts.items()
           if 0 < positive.sum() < len(positive)}
  chosen = sorted(sorted(areas, key=areas.__getitem__)[:_MOST_CURVES])
  return [{'class': number, **curves.describe(*parts[number])} for number in chosen]
