"""What a client counts on its held-out examples: whole numbers, so that their sums are exact in every kind of sum.

From the sums over clients follow the number of examples, loss, accuracy, the confusion matrix, the area under the ROC
curve, and how well probabilities are calibrated; see `histograms`.
"""

import abc
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tff_vision import objectives
from tff_vision.configs import privacy_config
from tff_vision.learning import histograms
from tff_vision.objectives import anomaly, base, classification, embedding

MOST_EXAMPLES = privacy_config.MOST_EXAMPLES
LOSS_STEPS, LARGEST_LOSS = histograms.STEPS, 64.0  # An example's loss above the largest counts as the largest.
LARGEST_SUM = int(MOST_EXAMPLES * LOSS_STEPS * LARGEST_LOSS)
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

  def told(self, vector: tf.Tensor) -> tf.Tensor:
    """Returns what a client tells of the vector of all its examples; runs on clients."""
    return vector

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
            'calibration': (2, histograms.CALIBRATION_BINS),
            **({'scores': (2, histograms.BINS)} if number == 2 else {})}

  @property
  def sums(self):
    return {'loss': (), 'confidence': (histograms.CALIBRATION_BINS,)}

  @property
  def measures(self):
    return ('accuracy', 'loss', *(['auc'] if self.objective.num_outputs == 2 else []))

  def of(self, outputs, y):
    number, losses = self.objective.num_outputs, base.per_example(self.objective.loss_fn)(y, outputs)
    guess = tf.argmax(outputs, axis=1, output_type=tf.int32)
    right = tf.equal(guess, y)
    found = {**_base(y, losses), 'correct': histograms.number(right),
             **histograms.of_probabilities(tf.reduce_max(tf.nn.softmax(outputs), axis=1), right)}
    if number <= _MOST_CLASSES:
      found['confusion'] = tf.reshape(histograms.counts(y * number + guess, number**2), [number, number])
    if number == 2:
      found['scores'] = histograms.of_scores(outputs[:, 1] - outputs[:, 0], tf.equal(y, 1), histograms.SIGNED)
    return found

  def measure(self, found):
    evaluation = {'accuracy': float(found['correct'] / found['examples']), 'loss': _loss(found)}
    auc, bound = histograms.area(found['scores']) if 'scores' in found else (None, None)
    if auc is not None:
      evaluation['auc'] = auc
    return {'evaluation': evaluation, **({} if bound is None else {'auc_error_bound': bound}),
            **histograms.calibration(found),
            **({'confusion': found['confusion'].tolist()} if 'confusion' in found else {})}


@dataclasses.dataclass(frozen=True)
class OfFindings(Tally):
  """Any number of findings for each image."""
  objective: classification.Classification

  @property
  def counts(self):
    number = self.objective.num_outputs
    return {'examples': (), 'unbounded': (), 'confusion': (number, 2, 2),
            'calibration': (number, 2, histograms.CALIBRATION_BINS), 'scores': (number, 2, histograms.BINS)}

  @property
  def sums(self):
    return {'loss': (), 'confidence': (self.objective.num_outputs, histograms.CALIBRATION_BINS)}

  @property
  def measures(self):
    return 'accuracy', 'loss', 'auc'

  def of(self, outputs, y):
    found = _base(y, base.per_example(self.objective.loss_fn)(y, outputs))
    parts: dict[str, list[tf.Tensor]] = {name: [] for name in ('confusion', 'calibration', 'scores', 'confidence')}
    for number in range(self.objective.num_outputs):
      logit, has = outputs[:, number], y[:, number] > 0.5
      pair = 2 * tf.cast(has, tf.int32) + tf.cast(logit > 0, tf.int32)
      one = {'confusion': tf.reshape(histograms.counts(pair, 4), [2, 2]),
             **histograms.of_probabilities(tf.sigmoid(logit), has),
             'scores': histograms.of_scores(logit, has, histograms.SIGNED)}
      for name, values in parts.items():
        values.append(one[name])
    return {**found, **{name: tf.stack(values) for name, values in parts.items()}}

  def measure(self, found):
    areas = [histograms.area(scores) for scores in found['scores']]
    known = [auc for auc, _ in areas if auc is not None]
    right = found['confusion'].trace(axis1=1, axis2=2).sum()
    parts = [histograms.calibration({name: found[name][number] for name in ('calibration', 'confidence')})
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
  counts = {'examples': (), 'unbounded': (), 'good': (), 'scores': (2, histograms.BINS)}
  sums = {'loss': ()}

  @property
  def measures(self):
    return 'auc', 'loss'

  def of(self, outputs, y):
    bad = tf.not_equal(y, self.objective.normal)
    found = _base(y, tf.where(bad, tf.zeros_like(outputs[:, 0]), outputs[:, 0]))
    return {**found, 'good': histograms.number(tf.logical_not(bad)),
            'scores': histograms.of_scores(outputs[:, 1], bad, histograms.POSITIVE)}

  def measure(self, found):
    auc, bound = histograms.area(found['scores'])
    evaluation = {} if auc is None else {'auc': auc}
    if found['good']:
      evaluation['loss'] = float(found['loss'] / LOSS_STEPS / found['good'])
    return {'evaluation': evaluation, 'auc_error_bound': bound}


@dataclasses.dataclass(frozen=True)
class OfPairs(Tally):
  """Cosines of pairs of images of one client."""
  counts = {'examples': (), 'scores': (2, histograms.BINS)}
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
    return {'examples': tf.shape(y)[0], 'scores': histograms.of_scores(alike, same, histograms.COSINES)}

  def measure(self, found):
    auc, bound = histograms.area(found['scores'])
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


def _base(y, losses):
  losses = tf.cast(losses, tf.float64)
  bounded = tf.math.is_finite(losses) & (losses <= LARGEST_LOSS)
  steps = tf.round(tf.where(bounded, tf.maximum(losses, 0.0), tf.fill(tf.shape(losses), tf.constant(
      LARGEST_LOSS, tf.float64))) * LOSS_STEPS)
  return {'examples': tf.shape(y)[0], 'unbounded': histograms.number(tf.logical_not(bounded)),
          'loss': tf.reduce_sum(tf.cast(steps, tf.int64))}


def _loss(found):
  return float(found['loss'] / LOSS_STEPS / found['examples'])
