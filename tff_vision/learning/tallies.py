"""What a client counts on its held-out examples: whole numbers, so that their sums are exact in every kind of sum.

From the sums over clients follow the number of examples, loss, accuracy, the confusion matrix, the area under the ROC
curve, and how well probabilities are calibrated. The area comes from histograms of scores with fixed bins. Within a bin
the order of scores is lost: the area is exact up to half of the share of pairs (positive, negative) that meet in one
bin, and this bound is returned with it.

Expected calibration error: Naeini et al. 2015; of several classes, that of the most probable class, as in Guo et al.,
"On Calibration of Modern Neural Networks", ICML 2017.
"""

import abc
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tff_vision import objectives
from tff_vision.objectives import anomaly, base, classification, embedding

MOST_EXAMPLES = 2**20  # Of one client: no count of a client exceeds it.
LOSS_STEPS, LARGEST_LOSS = 2**16, 64.0  # An example's loss above the largest counts as the largest.
LARGEST_SUM = int(MOST_EXAMPLES * LOSS_STEPS * LARGEST_LOSS)
_BINS = 2048
_CALIBRATION_BINS = 15
_MOST_CLASSES = 100  # A confusion matrix of more classes would be longer than many a model.
_PAIRED_IMAGES = 300  # Of one client; pairs of images are formed within a client only.

Counts = Mapping[str, np.ndarray]


class Tally(abc.ABC):
  """The whole numbers of one kind of task.

  Attributes:
    counts: Name -> shape of counts, each at most `MOST_EXAMPLES` for one client.
    sums: Name -> shape of sums, each at most `LARGEST_SUM` for one client.
  """
  counts: Mapping[str, tuple[int, ...]]
  sums: Mapping[str, tuple[int, ...]]

  @abc.abstractmethod
  def of(self, outputs: tf.Tensor, y: tf.Tensor) -> Mapping[str, tf.Tensor]:
    """Returns the counts and sums over some examples, int64 in their shapes; runs on clients."""

  @abc.abstractmethod
  def measure(self, found: Counts) -> dict[str, Any]:
    """Returns {'evaluation': named numbers, ...} from the sums over all clients, of at least one example."""

  @property
  @abc.abstractmethod
  def measures(self) -> tuple[str, ...]:
    """The names of the metrics that `measure` gives."""

  @property
  def shapes(self) -> Mapping[str, tuple[int, ...]]:
    """The counts first, then the sums."""
    return {**self.counts, **self.sums}

  @property
  def lengths(self) -> tuple[int, int]:
    """The number of counts and of sums."""
    counts, sums = (sum(math.prod(shape) for shape in part.values()) for part in (self.counts, self.sums))
    return counts, sums

  def flat(self, found: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Returns all numbers as one vector, int64."""
    return tf.concat([tf.reshape(tf.cast(found[name], tf.int64), [-1]) for name in self.shapes], axis=0)

  def named(self, vector: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the parts of a vector by name, in their shapes."""
    found, first = {}, 0
    for name, shape in self.shapes.items():
      size = math.prod(shape)
      found[name] = np.asarray(vector[first:first + size]).reshape(shape)
      first += size
    return found


@dataclasses.dataclass(frozen=True)
class OfClasses(Tally):
  """One class for each image."""
  objective: classification.Classification

  @property
  def counts(self):
    number = self.objective.num_outputs
    return {'examples': (), 'unbounded': (), 'correct': (),
            **({'confusion': (number, number)} if number <= _MOST_CLASSES else {}),
            'calibration': (2, _CALIBRATION_BINS), **({'scores': (2, _BINS)} if number == 2 else {})}

  @property
  def sums(self):
    return {'loss': (), 'confidence': (_CALIBRATION_BINS,)}

  @property
  def measures(self):
    return ('accuracy', 'loss', *(['auc'] if self.objective.num_outputs == 2 else []))

  def of(self, outputs, y):
    number, losses = self.objective.num_outputs, base.per_example(self.objective.loss_fn)(y, outputs)
    guess = tf.argmax(outputs, axis=1, output_type=tf.int32)
    right = tf.equal(guess, y)
    found = {**_base(y, losses), 'correct': _count(right),
             **_calibration(tf.reduce_max(tf.nn.softmax(outputs), axis=1), right)}
    if number <= _MOST_CLASSES:
      found['confusion'] = tf.reshape(_histogram(y * number + guess, number**2), [number, number])
    if number == 2:
      found['scores'] = _scores(outputs[:, 1] - outputs[:, 0], tf.equal(y, 1), _SIGNED)
    return found

  def measure(self, found):
    evaluation = {'accuracy': float(found['correct'] / found['examples']), 'loss': _loss(found)}
    auc, bound = area(found['scores']) if 'scores' in found else (None, None)
    if auc is not None:
      evaluation['auc'] = auc
    return {'evaluation': evaluation, **({} if bound is None else {'auc_error_bound': bound}),
            **_of_calibration(found), **({'confusion': found['confusion'].tolist()} if 'confusion' in found else {})}


@dataclasses.dataclass(frozen=True)
class OfFindings(Tally):
  """Any number of findings for each image."""
  objective: classification.Classification

  @property
  def counts(self):
    number = self.objective.num_outputs
    return {'examples': (), 'unbounded': (), 'confusion': (number, 2, 2), 'calibration': (number, 2, _CALIBRATION_BINS),
            'scores': (number, 2, _BINS)}

  @property
  def sums(self):
    return {'loss': (), 'confidence': (self.objective.num_outputs, _CALIBRATION_BINS)}

  @property
  def measures(self):
    return 'accuracy', 'loss', 'auc'

  def of(self, outputs, y):
    found = _base(y, base.per_example(self.objective.loss_fn)(y, outputs))
    parts: dict[str, list[tf.Tensor]] = {name: [] for name in ('confusion', 'calibration', 'scores', 'confidence')}
    for number in range(self.objective.num_outputs):
      logit, has = outputs[:, number], y[:, number] > 0.5
      pair = 2 * tf.cast(has, tf.int32) + tf.cast(logit > 0, tf.int32)
      one = {'confusion': tf.reshape(_histogram(pair, 4), [2, 2]), **_calibration(tf.sigmoid(logit), has),
             'scores': _scores(logit, has, _SIGNED)}
      for name, values in parts.items():
        values.append(one[name])
    return {**found, **{name: tf.stack(values) for name, values in parts.items()}}

  def measure(self, found):
    areas = [area(scores) for scores in found['scores']]
    known = [auc for auc, _ in areas if auc is not None]
    right = found['confusion'].trace(axis1=1, axis2=2).sum()
    parts = [_of_calibration({name: found[name][number] for name in ('calibration', 'confidence')})
             for number in range(len(areas))]
    return {'evaluation': {'accuracy': float(right / (len(areas) * found['examples'])), 'loss': _loss(found),
                           'auc': float(np.mean(known)) if known else None,
                           'auc_by_finding': [auc for auc, _ in areas]},
            'auc_error_bound': max((bound for _, bound in areas if bound is not None), default=None),
            'calibration_error': float(np.mean([part['calibration_error'] for part in parts])),
            'calibration': [part['calibration'] for part in parts], 'confusion': found['confusion'].tolist()}


@dataclasses.dataclass(frozen=True)
class OfAnomalies(Tally):
  """A score of each image, and the loss of good images."""
  objective: anomaly.Anomaly
  counts = {'examples': (), 'unbounded': (), 'good': (), 'scores': (2, _BINS)}
  sums = {'loss': ()}

  @property
  def measures(self):
    return 'auc', 'loss'

  def of(self, outputs, y):
    bad = tf.not_equal(y, self.objective.normal)
    found = _base(y, tf.where(bad, tf.zeros_like(outputs[:, 0]), outputs[:, 0]))
    return {**found, 'good': _count(tf.logical_not(bad)), 'scores': _scores(outputs[:, 1], bad, _POSITIVE)}

  def measure(self, found):
    auc, bound = area(found['scores'])
    evaluation = {} if auc is None else {'auc': auc}
    if found['good']:
      evaluation['loss'] = float(found['loss'] / LOSS_STEPS / found['good'])
    return {'evaluation': evaluation, 'auc_error_bound': bound}


@dataclasses.dataclass(frozen=True)
class OfPairs(Tally):
  """Cosines of pairs of images of one client."""
  counts = {'examples': (), 'scores': (2, _BINS)}
  sums: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)

  @property
  def measures(self):
    return ('auc',)

  def of(self, outputs, y):
    some, labels = outputs[:_PAIRED_IMAGES], y[:_PAIRED_IMAGES]
    number = tf.range(tf.shape(labels)[0])
    chosen = number[:, tf.newaxis] < number[tf.newaxis]
    alike = tf.boolean_mask(tf.matmul(some, some, transpose_b=True), chosen)
    same = tf.boolean_mask(tf.equal(labels[:, tf.newaxis], labels[tf.newaxis]), chosen)
    return {'examples': tf.shape(y)[0], 'scores': _scores(alike, same, _COSINES)}

  def measure(self, found):
    auc, bound = area(found['scores'])
    pairs = found['scores'].sum(axis=1)
    return {'evaluation': {} if auc is None else {'auc': auc, 'pairs': int(pairs.sum()), 'same_pairs': int(pairs[1])},
            'auc_error_bound': bound}


@dataclasses.dataclass(frozen=True)
class OfLoss(Tally):
  """Loss, and right answers, of an objective of one's own."""
  objective: objectives.Objective
  counts = {'examples': (), 'unbounded': ()}
  sums = {'loss': (), 'right': ()}

  @property
  def measures(self):
    return ('loss', *(['accuracy'] if self.objective.metric == 'accuracy' else []))

  def of(self, outputs, y):
    right = tf.cast(tf.round(self.objective.right(outputs, y) * LOSS_STEPS), tf.int64)
    return {**_base(y, base.per_example(self.objective.loss_fn)(y, outputs)), 'right': right}

  def measure(self, found):
    right = float(found['right'] / LOSS_STEPS / found['examples'])
    return {'evaluation': {**({'accuracy': right} if self.objective.metric == 'accuracy' else {}),
                           'loss': _loss(found)}}


def of(objective: objectives.Objective) -> Tally:
  """Returns what clients count for an objective."""
  if isinstance(objective, classification.Classification):
    return OfFindings(objective) if objective.multi_label else OfClasses(objective)
  if isinstance(objective, anomaly.Anomaly):
    return OfAnomalies(objective)
  return OfPairs() if isinstance(objective, embedding.Embedding) else OfLoss(objective)


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


_SIGNED = _curved(2.0**-8, 2.0**8, -1.0)
_POSITIVE = _curved(2.0**-24, 2.0**8, 0.0)
_COSINES = _linear


def _scores(scores, positive, placed):
  """Returns [2, bins], the histograms of the scores of negatives and positives; scores that are NaN are in the first.
  """
  share = placed(tf.cast(scores, tf.float64))
  share = tf.where(tf.math.is_nan(share), tf.zeros_like(share), share)
  bins = tf.cast(tf.clip_by_value(share * _BINS, 0.0, _BINS - 1.0), tf.int32)
  return tf.reshape(_histogram(tf.cast(positive, tf.int32) * _BINS + bins, 2 * _BINS), [2, _BINS])


def _calibration(probability, happened):
  probability = tf.where(tf.math.is_nan(probability), tf.zeros_like(probability), probability)
  bins = tf.cast(tf.clip_by_value(probability * _CALIBRATION_BINS, 0.0, _CALIBRATION_BINS - 1.0), tf.int32)
  steps = tf.cast(tf.round(tf.cast(probability, tf.float64) * LOSS_STEPS), tf.int64)
  return {'calibration': tf.stack([_histogram(bins, _CALIBRATION_BINS),
                                   _histogram(tf.boolean_mask(bins, happened), _CALIBRATION_BINS)]),
          'confidence': tf.math.unsorted_segment_sum(steps, bins, _CALIBRATION_BINS)}


def _of_calibration(found):
  """Returns the expected calibration error, and for each bin its number of examples, mean probability and share."""
  (count, happened), confidence = np.asarray(found['calibration'], np.float64), found['confidence'] / LOSS_STEPS
  error = np.abs(confidence - happened).sum() / max(count.sum(), 1.0)
  full = np.maximum(count, 1.0)
  return {'calibration_error': float(error), 'calibration': {
      'examples': [int(one) for one in count], 'probability': (confidence / full).tolist(),
      'share': (happened / full).tolist()}}


def _base(y, losses):
  losses = tf.cast(losses, tf.float64)
  bounded = tf.math.is_finite(losses) & (losses <= LARGEST_LOSS)
  steps = tf.round(tf.where(bounded, tf.maximum(losses, 0.0), tf.fill(tf.shape(losses), tf.constant(
      LARGEST_LOSS, tf.float64))) * LOSS_STEPS)
  return {'examples': tf.shape(y)[0], 'unbounded': _count(tf.logical_not(bounded)),
          'loss': tf.reduce_sum(tf.cast(steps, tf.int64))}


def _loss(found):
  return float(found['loss'] / LOSS_STEPS / found['examples'])


def _count(which):
  return tf.math.count_nonzero(which, dtype=tf.int64)


def _histogram(positions, length):
  return tf.math.unsorted_segment_sum(tf.ones_like(positions, tf.int64), positions, length)
