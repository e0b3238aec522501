"""Measures a score at one hospital: AUC, balanced accuracy, calibration, with confidence intervals.

Intervals are percentiles of the bootstrap, drawn within each class so that both classes are always present (Efron &
Tibshirani 1993, chapter 13). Scores are logits of the second class's probability, because the probabilities of a
confident model are all rounded to 1 and give no ranking.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special

from tff_vision.measures import calibration as bins_lib

_INTERVAL = (2.5, 97.5)


@dataclasses.dataclass(frozen=True)
class Resamples:
  """The number of times that each test image is drawn in each resample.

  Attributes:
    counts: [resamples, n]; the first row is the test set itself.
    y: [n], 0 or 1.
  """
  counts: np.ndarray
  y: np.ndarray

  def aucs(self, scores: np.ndarray) -> np.ndarray:
    """Returns [resamples] areas under the ROC curve; equal scores count half (Mann & Whitney 1947)."""
    order = np.argsort(scores, kind='stable')
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    positive, negative = (np.add.reduceat(self.counts[:, order] * (self.y[order] == label), starts, axis=1)
                          for label in (1, 0))
    below = np.cumsum(negative, axis=1) - negative / 2
    return (positive * below).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1))

  def balanced_accuracies(self, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Returns [resamples] means of sensitivity and specificity."""
    right = (scores >= threshold) == (self.y == 1)
    shares = [(self.counts[:, self.y == label] * right[self.y == label]).sum(axis=1)
              / self.counts[:, self.y == label].sum(axis=1) for label in (0, 1)]
    return sum(shares) / 2


def resamples(y: np.ndarray, *, number: int, seed: int) -> Resamples:
  """Returns the test set and `number` resamples of it; each keeps the number of images in each class."""
  rng = np.random.default_rng(seed)
  counts = np.zeros((number + 1, len(y)), np.int64)
  counts[0] = 1
  for label in (0, 1):
    of_class = np.flatnonzero(y == label)
    counts[1:, of_class] = rng.multinomial(len(of_class), np.full(len(of_class), 1 / len(of_class)), size=number)
  return Resamples(counts, y)


def auc(scores: np.ndarray, y: np.ndarray) -> float:
  """Returns the area under the ROC curve of scores for images of two classes."""
  return float(Resamples(np.ones((1, len(y)), np.int64), y).aucs(scores)[0])


def best_threshold(scores: np.ndarray, y: np.ndarray) -> float:
  """Returns the threshold of the best balanced accuracy (Youden's index), halfway between two scores."""
  values = np.unique(scores)
  candidates = np.concatenate([[values[0]], (values[1:] + values[:-1]) / 2])
  above = scores[None, :] >= candidates[:, None]
  quality = above[:, y == 1].mean(axis=1) - above[:, y == 0].mean(axis=1)
  return float(candidates[int(np.argmax(quality))])


def calibration(probabilities: np.ndarray, y: np.ndarray) -> tuple[float, Sequence[Mapping[str, float]]]:
  """Returns the expected calibration error, and the bins of equal numbers of images from which it is computed."""
  found = bins_lib.reliability(probabilities, y)
  return found['expected_calibration_error'], [
      {'predicted': one['confidence'], 'observed': one['accuracy'], 'images': one['count']} for one in found['bins']]


def measure(drawn: Resamples, scores: np.ndarray, *, threshold: float) -> dict[str, Any]:
  """Returns all measures of one model at one hospital; the threshold is given as a probability."""
  aucs, accuracies = drawn.aucs(scores), drawn.balanced_accuracies(scores, threshold)
  error, curve = calibration(special.expit(scores), drawn.y)
  return {'auc': float(aucs[0]), 'auc_interval': interval(aucs[1:]),
          'balanced_accuracy': float(accuracies[0]), 'balanced_accuracy_interval': interval(accuracies[1:]),
          'threshold': float(special.expit(threshold)), 'calibration_error': error, 'reliability': curve}


def difference(drawn: Resamples, scores: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
  """Returns the AUC of `scores` minus that of `reference`, on the same resamples."""
  found = drawn.aucs(scores) - drawn.aucs(reference)
  return {'auc_difference': float(found[0]), 'auc_difference_interval': interval(found[1:])}


def interval(values: np.ndarray) -> list[float]:
  """Returns the middle 95 % of bootstrap values."""
  return [float(value) for value in np.percentile(values, _INTERVAL)]
