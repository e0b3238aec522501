"""What a client counts on its held-out examples where noise is added to the sums: examples, and right answers.

One example, or one client, changes these two numbers by a known amount.
"""

import dataclasses

import tensorflow as tf

from tff_vision import objectives
from tff_vision.learning import tallies
from tff_vision.objectives import classification

ANSWER_STEPS = 2**20  # As `privacy.noise.integer_grid.STEPS`; a test checks it.


@dataclasses.dataclass(frozen=True)
class OfRightAnswers(tallies.Tally):
  """The number of examples and of right answers, in steps; of findings, an example counts as the share that is right.

  One example changes (examples, right answers - examples / 2) by (1, 1/2) at most, and with `most`, one client by
  (most, most / 2).

  Attributes:
    most: A client with more examples tells of so many, with the same accuracy; None: of all.
  """
  objective: classification.Classification
  most: int | None = None
  counts = {'examples': ()}
  sums = {'right': ()}

  @property
  def measures(self):
    return ('accuracy',)

  def of(self, outputs, y):
    if self.objective.multi_label:
      share = tf.reduce_mean(tf.cast(tf.equal(outputs > 0, y > 0.5), tf.float64), axis=1)
    else:
      share = tf.cast(tf.equal(tf.argmax(outputs, axis=1, output_type=tf.int32), y), tf.float64)
    return {'examples': tf.shape(y)[0], 'right': tf.reduce_sum(tf.cast(tf.round(share * ANSWER_STEPS), tf.int64))}

  def told(self, vector):
    if self.most is None:
      return vector
    examples, right = tf.unstack(vector)
    kept = tf.minimum(examples, self.most)
    share = tf.cast(kept, tf.float64) / tf.cast(tf.maximum(examples, 1), tf.float64)
    scaled = tf.cast(tf.round(tf.cast(right, tf.float64) * share), tf.int64)
    return tf.stack([kept, tf.clip_by_value(scaled, 0, kept * ANSWER_STEPS)])

  def measure(self, found):
    return {'evaluation': {'accuracy': float(found['right'] / ANSWER_STEPS / found['examples'])}}


def of(objective: objectives.Objective, most: int | None = None) -> OfRightAnswers:
  """Returns what clients count where noise is added to the sums; `most`: as in `OfRightAnswers`.

  Raises:
    ValueError: The task has no right answers.
  """
  if not isinstance(objective, classification.Classification):
    raise ValueError(f'evaluation_noise_multiplier releases accuracy, which task={objective.task} has none of.')
  return OfRightAnswers(objective, most)
