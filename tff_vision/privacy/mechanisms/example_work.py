"""Differentially private SGD as TFF client work: it protects each example, on the client.

Abadi et al. 2016, arXiv:1607.00133, algorithm 1. Steps, batches and noise are drawn on the client from its operating
system kernel's randomness. The update that leaves the client is already private, so any aggregation may follow. Uses
built-in TensorFlow kernels only.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.privacy import canaries as canaries_lib
from tff_vision.privacy.ghost import clipped, penalties
from tff_vision.privacy.mechanisms import base, example_batches, example_views, noised_mean, unmeasured_work
from tff_vision.privacy.noise import correlated_noise, integer_gaussian, integer_grid
from tff_vision.secure import os_keys


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExampleSgd:
  """One client's training in one round.

  Attributes:
    clip_norm: L2 bound on one example's gradient; with `quantile`, its first value in a round.
    noise_multiplier: Standard deviation of the white noise on a batch's sum, over clip_norm; with `quantile`, of the
      one Gaussian that costs as much as sum and count together.
    batch_size: Expected examples in a step; a client with fewer examples uses all of them.
    epochs: Passes over the examples, or the number of steps that makes this many passes on average.
    sampling: One of `example_batches.SAMPLINGS`.
    ghost: Whether the model supports ghost clipping, see `ghost.clipped.examine`.
    views: The random views of each example (augmentation).
    stream: How white noise becomes the noise of a step.
    blocks: Number of blocks to which examples are assigned, see `example_batches`.
    quantile: How the clip norm adapts from step to step; None if it is fixed.
    average: The decay of the weight average that is returned; 0: the last weights are returned.
  """
  clip_norm: float
  noise_multiplier: float
  batch_size: int
  epochs: int
  sampling: str
  ghost: bool
  views: example_views.Views = example_views.Views()
  stream: correlated_noise.Stream = correlated_noise.White()
  blocks: int = 1
  quantile: noised_mean.QuantileClip | None = None
  average: float = 0.0

  @property
  def sum_noise_multiplier(self) -> float:
    """Standard deviation of the white noise on a batch's sum, over the current clip norm."""
    return self.quantile.sum_noise_multiplier(self.noise_multiplier) if self.quantile else self.noise_multiplier

  def steps(self, num_examples: int | tf.Tensor) -> int | tf.Tensor:
    """Returns the number of optimizer steps of a client in a round."""
    return self.epochs * self.steps_a_pass(num_examples)

  def steps_a_pass(self, num_examples: int | tf.Tensor) -> int | tf.Tensor:
    """Returns the number of steps in one pass over a client's examples (on average for `poisson`)."""
    return -(-num_examples // self.batch_size)

  def room(self, size: int) -> float:
    """Returns the fraction of the clip norm that is left for gradients of `size` numbers.

    Rounding two sums to the grid can increase their distance by one step per coordinate; the buffers of a BLT can add
    half a step more.
    """
    return 1 - (1.5 if isinstance(self.stream, correlated_noise.Buffered) else 1) * math.sqrt(size) / integer_grid.STEPS


def build_client_work(keras_model_fn: Callable[[], tf.keras.Model], loss_fn: tf.keras.losses.Loss,
                      reader: base.ExamplesReader,
                      optimizer: tff.learning.optimizers.Optimizer, training: ExampleSgd, canaries: int = 0
                      ) -> tff.learning.templates.ClientWorkProcess:
  """Returns client work whose update is the server's weights minus the client's after its last step.

  The number of a client's examples is public. It determines the sampling rate and the update's weight.

  Args:
    reader: Reads the client data that the process receives.
    loss_fn: A loss of logits, without reduction.
    canaries: If not 0, the process receives pairs of a client's data and its slots. The slots are one element of
      [slots] int32: the number of the canary in the slot, -1 for an empty slot. Slots count as examples.
  """
  data_type = tff.SequenceType(tff.types.tensorflow_to_type(reader.element_spec))
  if canaries:
    data_type = tff.types.to_type((data_type, tff.SequenceType(tff.TensorType(np.int32, [None]))))

  def build_client_fn(model):
    train_fn = build_train_fn(model, loss_fn, optimizer, training, canaries)

    def train(server_weights, given):
      dataset, slots = given if canaries else (given, None)
      slots = () if slots is None else (tf.data.Dataset.get_single_element(slots),)
      return train_fn(server_weights, *reader.open(dataset).one_epoch(), *slots)

    return train

  return unmeasured_work.build(keras_model_fn, data_type, build_client_fn)


def build_train_fn(model: tf.keras.Model, loss_fn: tf.keras.losses.Loss,
                   optimizer: tff.learning.optimizers.Optimizer, training: ExampleSgd, canaries: int = 0) -> Callable:
  """Returns the client's computation: (the server's `ModelWeights`, its images, their labels) -> `ClientResult`.

  With canaries, the arguments are (..., its slots). A canary is an example whose gradient is the canary's own
  direction, with the clip norm as its norm.

  Args: as in `build_client_work`; `model` is overwritten at each call.
  """
  weights = tff.learning.models.ModelWeights.from_model(model)
  trainable = list(weights.trainable)
  room = training.room(sum(variable.shape.num_elements() for variable in trainable))
  views, stream, quantile = training.views, training.stream, training.quantile
  stddev = training.sum_noise_multiplier * integer_grid.STEPS * 2 ** stream.fraction_bits

  def clipped_sums(x, y, slots, key, step, clip_norm):
    """Returns the sums of clipped gradients, and half of (examples below the clip minus those above), in grid steps."""
    count = _count(x, slots)
    chosen = example_batches.draw(training.sampling, training.batch_size, training.blocks, key, step, count)
    planted = None
    if slots is not None:
      examples = tf.cast(tf.shape(x)[0], chosen.dtype)
      planted = _planted(trainable, tf.gather(slots, chosen[chosen >= examples] - examples), canaries,
                         clip_norm * room)
      chosen = chosen[chosen < examples]
    images, labels, mask = tf.gather(x, chosen), tf.gather(y, chosen), tf.ones(tf.shape(chosen)[0])
    if views != example_views.Views():
      own = tf.gather(example_views.words(views, key, step, count), chosen)
      images, labels = example_views.seen(views, images, own), example_views.seen_labels(views, labels, own)
    found = clipped.clipped_sum(model, loss_fn, images, labels, clip_norm * room, mask, ghost=training.ghost,
                                copies=views.copies)
    below = tf.where(found.norms <= clip_norm, 1, -1) * (integer_grid.STEPS // 2)
    sums = found.gradients if planted is None else [
        tf.cast(total, tf.float64) + part for total, part in zip(found.gradients, planted, strict=True)]
    return sums, tf.reduce_sum(tf.cast(below, tf.int64))

  def noised_mean_of(sums, buffers, key, step, clip_norm, expected):
    """Returns the noised means and the next buffers of the noise streams."""
    means, following = [], []
    for index, total in enumerate(sums):
      def white(number, index=index, shape=tuple(total.shape)):
        return integer_gaussian.gaussian(key, _noise_nonce(index, step, number), shape, stddev)
      fresh, buffer = stream.step(buffers[index], tf.cast(step, tf.int64), white)
      following.append(buffer)
      # float64 adds whole numbers below 2^53 exactly; converting to integers and back would double the time.
      steps = tf.round(tf.cast(total, tf.float64) * (integer_grid.STEPS / clip_norm)) + tf.cast(fresh, tf.float64)
      means.append(tf.cast(steps * (clip_norm / integer_grid.STEPS / expected), tf.float32))
    # These are functions of weights that are already private, so they need no clipping.
    added = penalties.gradients(model)
    return means if added is None else [mean + part for mean, part in zip(means, added, strict=True)], following

  def moved(clip_norm, below, key, step, expected):
    """Returns the next step's clip norm; arXiv:1905.03871, algorithm 1, over the examples of a step."""
    if quantile is None:
      return clip_norm
    white = integer_gaussian.gaussian(key, _noise_nonce(len(trainable), step, 0), (),
                                      quantile.count_stddev * integer_grid.STEPS)
    return quantile.moved(clip_norm, integer_grid.decode(below, white, 1.0) / expected + 0.5)

  @tf.function
  def train(server_weights, x, y, slots=None):
    tf.nest.map_structure(lambda w, w0: w.assign(w0), weights, server_weights)
    key, count = os_keys.kernel_key(), _count(x, slots)
    expected = example_batches.expected(training.sampling, training.batch_size, training.blocks, count)
    state = optimizer.initialize(tuple(tf.TensorSpec(w.shape, w.dtype) for w in trainable))
    clip_norm, averages = tf.constant(training.clip_norm, tf.float64), [tf.identity(w) for w in trainable]
    buffers = [tf.zeros([stream.num_buffers, *w.shape], stream.dtype) for w in trainable]
    for step in tf.range(training.steps(count)):
      sums, below = clipped_sums(x, y, slots, key, step, clip_norm)
      gradients, buffers = noised_mean_of(sums, buffers, key, step, clip_norm, expected)
      clip_norm = moved(clip_norm, below, key, step, expected)
      state, updated = optimizer.next(state, tuple(trainable), tuple(gradients))
      for weight, value in zip(trainable, updated, strict=True):
        weight.assign(value)
      averages = _averaged(averages, updated, training.average, step)
    update = [w0 - w for w0, w in zip(server_weights.trainable, averages, strict=True)]
    # The noise covers the update, whether it is finite or not. It would not cover a weight that depends on `finite`.
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(u)) for u in update])
    return tff.learning.templates.ClientResult(
        update=tf.nest.pack_sequence_as(server_weights.trainable, [tf.where(finite, u, 0.0) for u in update]),
        update_weight=tf.cast(count, tf.float32))

  return train


def _count(x, slots):
  """Returns the client's number of examples, which is public: slots count whether they hold a canary or not."""
  return tf.shape(x)[0] + (0 if slots is None else tf.shape(slots)[0])


def _planted(trainable, present, canaries, norm):
  """Returns the sum of the gradients of the canaries in a batch; empty slots are numbered -1."""
  there = tf.math.unsorted_segment_sum(tf.ones(tf.shape(present), tf.float64), present, canaries)
  return canaries_lib.crafted([tuple(weight.shape) for weight in trainable], norm * there)


def _averaged(averages, weights, decay, step):
  """Returns the exponential average of the weights after each step; the decay is at first lower: (1 + t) / (10 + t)."""
  if not decay:
    return list(weights)
  number = tf.cast(step, tf.float32)
  kept = tf.minimum(decay, (1 + number) / (10 + number))
  return [kept * average + (1 - kept) * weight for average, weight in zip(averages, weights, strict=True)]


def _noise_nonce(tensor, step, draw):
  return tf.stack([tf.constant(tensor, tf.uint32), tf.cast(step, tf.uint32), tf.cast(draw, tf.uint32)])
