"""Histograms with fixed bins that clients count, and what their sums say: ranking and calibration.

The area under the ROC curve comes from histograms of scores. Within a bin the order of scores is lost: the area is
exact up to half of the share of pairs (positive, negative) that meet in one bin; this bound is returned with it.

Expected calibration error: Naeini et al. 2015; of several classes, that of the most probable class, as in Guo et al.,
"On Calibration of Modern Neural Networks", ICML 2017.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

STEPS = 2**16  # Of a probability.
BINS, CALIBRATION_BINS = 2048, 15


def area(scores: np.ndarray) -> tuple[float | None, float | None]:
  """Returns the area under the ROC curve and the bound on its error; None, None if there is one kind of example only.

  Args:
    scores: [2, bins], the histograms of negatives and of positives; bins in ascending order of scores.
  """
  negatives, positives = np.asarray(scores, np.float64)
  pairs = negatives.sum() * positives.sum()
  if not pairs:
    return None, None
  below = np.cumsum(negatives) - negatives
  ties = (positives * negatives).sum() / pairs
  return float((positives * below).sum() / pairs + ties / 2), float(ties / 2)


def _linear(scores):
  return (scores + 1) / 2


def _curved(unit, largest, low):
  """Returns a map of scores to 0..1 that is linear below `unit` and logarithmic above, from `low` to the largest."""
  end = math.asinh(largest / unit)
  return lambda scores: (tf.asinh(scores / unit) / end - low) / (1 - low)


SIGNED = _curved(2.0**-8, 2.0**8, -1.0)
POSITIVE = _curved(2.0**-24, 2.0**8, 0.0)
COSINES = _linear


def of_scores(scores: tf.Tensor, positive: tf.Tensor, placed: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
  """Returns [2, BINS] int64, the histograms of the scores of negatives and positives; NaN counts in the first bin.

  Args:
    scores: [n]; `positive`, [n], says whose they are.
    placed: `SIGNED`, `POSITIVE` or `COSINES`: the range of the scores.
  """
  share = placed(tf.cast(scores, tf.float64))
  share = tf.where(tf.math.is_nan(share), tf.zeros_like(share), share)
  bins = tf.cast(tf.clip_by_value(share * BINS, 0.0, BINS - 1.0), tf.int32)
  return tf.reshape(counts(tf.cast(positive, tf.int32) * BINS + bins, 2 * BINS), [2, BINS])


def of_probabilities(probability: tf.Tensor, happened: tf.Tensor) -> Mapping[str, tf.Tensor]:
  """Returns for each bin of probability: `calibration`, [2, bins], the number of examples and of those that happened;
  `confidence`, the sum of probabilities in steps.
  """
  probability = tf.where(tf.math.is_nan(probability), tf.zeros_like(probability), probability)
  bins = tf.cast(tf.clip_by_value(probability * CALIBRATION_BINS, 0.0, CALIBRATION_BINS - 1.0), tf.int32)
  steps = tf.cast(tf.round(tf.cast(probability, tf.float64) * STEPS), tf.int64)
  return {'calibration': tf.stack([counts(bins, CALIBRATION_BINS),
                                   counts(tf.boolean_mask(bins, happened), CALIBRATION_BINS)]),
          'confidence': tf.math.unsorted_segment_sum(steps, bins, CALIBRATION_BINS)}


def calibration(found: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Returns the expected calibration error, and for each bin its number of examples, mean probability and share."""
  (count, happened), confidence = np.asarray(found['calibration'], np.float64), found['confidence'] / STEPS
  error = np.abs(confidence - happened).sum() / max(count.sum(), 1.0)
  full = np.maximum(count, 1.0)
  return {'calibration_error': float(error), 'calibration': {
      'examples': [int(one) for one in count], 'probability': (confidence / full).tolist(),
      'share': (happened / full).tolist()}}


def number(which: tf.Tensor) -> tf.Tensor:
  """Returns how many are true, int64."""
  return tf.math.count_nonzero(which, dtype=tf.int64)


def counts(positions: tf.Tensor, length: tf.Tensor | int) -> tf.Tensor:
  """Returns how often each of 0 .. length - 1 occurs, int64."""
  return tf.math.unsorted_segment_sum(tf.ones_like(positions, tf.int64), positions, length)
