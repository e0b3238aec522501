"""Differentially private SGD as TFF client work: the promise is to each example, made on the client's own machine.

Abadi et al. 2016, arXiv:1607.00133, algorithm 1. Steps, batches and noise are drawn on the client from its kernel's
randomness; what leaves it is already private, so any aggregation may follow. Built-in TensorFlow kernels only.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.privacy import canaries as canaries_lib
from tff_vision.privacy.ghost import clipped, penalties
from tff_vision.privacy.mechanisms import base
from tff_vision.privacy.noise import integer_gaussian, integer_grid
from tff_vision.secure import chacha20, os_keys

_SAMPLING = 2 ** 16  # Names the words that choose batches; noise is named by its tensor's position.


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExampleSgd:
  """One client's training in one round.

  Attributes:
    clip_norm: L2 bound on one example's gradient.
    noise_multiplier: Standard deviation of the noise on a batch's sum, over clip_norm.
    batch_size: Expected examples in a step; a client with fewer takes all of them.
    epochs: Passes, or as many steps as make that many passes on average.
    sampling: `poisson`, `shuffled` or `balls_in_bins`, as `tff_vision.accounting.accounting` has them.
    ghost: Whether the model can be tapped, see `ghost.clipped.examine`.
  """
  clip_norm: float
  noise_multiplier: float
  batch_size: int
  epochs: int
  sampling: str
  ghost: bool

  def steps(self, num_examples: int | tf.Tensor) -> int | tf.Tensor:
    """Returns the number of optimizer steps of a client in a round."""
    return self.epochs * self.steps_a_pass(num_examples)

  def steps_a_pass(self, num_examples: int | tf.Tensor) -> int | tf.Tensor:
    """Returns the number of steps that go once over a client's examples, in the mean for `poisson`."""
    return -(-num_examples // self.batch_size)


def build_client_work(keras_model_fn: Callable[[], tf.keras.Model], loss_fn: tf.keras.losses.Loss,
                      reader: base.ExamplesReader,
                      optimizer: tff.learning.optimizers.Optimizer, training: ExampleSgd, canaries: int = 0
                      ) -> tff.learning.templates.ClientWorkProcess:
  """Returns client work whose update is the server's weights minus the client's after its last step.

  The number of a client's examples is public: it
  sets the sampling rate and the update's weight.

  Args:
    reader: Opens what the process is given for a client.
    loss_fn: Of logits, with no reduction.
    canaries: If there are any among all clients, the process is given pairs of a client's data and its slots, one
      element of [slots] int32: the number of the canary that is there, -1 where none is. Slots count as examples.
  """
  @tff.tensorflow.computation
  def initial_weights():
    return tff.learning.models.ModelWeights.from_model(keras_model_fn())

  weights_type = initial_weights.type_signature.result
  data_type = tff.SequenceType(tff.types.tensorflow_to_type(reader.element_spec))
  if canaries:
    data_type = tff.types.to_type((data_type, tff.SequenceType(tff.TensorType(np.int32, [None]))))

  @tff.tensorflow.computation(weights_type, data_type)
  def train(server_weights, given):
    dataset, slots = given if canaries else (given, None)
    slots = () if slots is None else (tf.data.Dataset.get_single_element(slots),)
    return build_train_fn(keras_model_fn(), loss_fn, optimizer, training, canaries)(
        server_weights, *reader.open(dataset).one_epoch(), *slots)

  @tff.federated_computation
  def initialize():
    return tff.federated_value((), tff.SERVER)

  @tff.federated_computation(initialize.type_signature.result, tff.FederatedType(weights_type, tff.CLIENTS),
                             tff.FederatedType(data_type, tff.CLIENTS))
  def next_fn(state, weights, client_data):
    # Losses are not noised, so none are measured.
    return tff.templates.MeasuredProcessOutput(state, tff.federated_map(train, (weights, client_data)),
                                               tff.federated_value((), tff.SERVER))

  return tff.learning.templates.ClientWorkProcess(initialize, next_fn)


def build_train_fn(model: tf.keras.Model, loss_fn: tf.keras.losses.Loss,
                   optimizer: tff.learning.optimizers.Optimizer, training: ExampleSgd, canaries: int = 0) -> Callable:
  """Returns what a client computes: (the server's `ModelWeights`, its images, their labels) -> `ClientResult`.

  With canaries, (..., its slots). A canary is an example whose gradient is its own direction, of the norm of the clip.

  Args: as `build_client_work`; `model` is overwritten at each call.
  """
  weights = tff.learning.models.ModelWeights.from_model(model)
  trainable = list(weights.trainable)
  # Rounding to the grid may move a sum by half a step a coordinate; the clip leaves room for it.
  size = sum(variable.shape.num_elements() for variable in trainable)
  clip_norm = training.clip_norm * (1 - math.sqrt(size) / integer_grid.STEPS)

  def noised_mean(x, y, slots, chosen, key, step):
    examples = tf.cast(tf.shape(x)[0], chosen.dtype)
    planted = None if slots is None else _planted(trainable, tf.gather(slots, chosen[chosen >= examples] - examples),
                                                  canaries, clip_norm)
    chosen = chosen if slots is None else chosen[chosen < examples]
    sums = clipped.clipped_sum(model, loss_fn, tf.gather(x, chosen), tf.gather(y, chosen), clip_norm,
                               tf.ones(tf.shape(chosen)[0]), ghost=training.ghost).gradients
    expected = _expected(training, _count(x, slots))
    means = []
    for index, total in enumerate(sums):
      fresh = integer_gaussian.gaussian(
          key, tf.stack([tf.constant(index, tf.uint32), tf.cast(step, tf.uint32), tf.constant(0, tf.uint32)]),
          tuple(total.shape), training.noise_multiplier * integer_grid.STEPS)
      # Whole numbers below 2^53 are added exactly in float64; the way to integers and back costs as much again.
      total = tf.cast(total, tf.float64)
      if planted is not None:
        total += planted[index]
      steps = (tf.round(total * (integer_grid.STEPS / training.clip_norm))
               + tf.cast(fresh, tf.float64))
      means.append(tf.cast(steps * (training.clip_norm / integer_grid.STEPS / expected), tf.float32))
    # Functions of weights that are private already: they need no clip.
    added = penalties.gradients(model)
    return means if added is None else [mean + part for mean, part in zip(means, added, strict=True)]

  @tf.function
  def train(server_weights, x, y, slots=None):
    tf.nest.map_structure(lambda w, w0: w.assign(w0), weights, server_weights)
    key, count = os_keys.kernel_key(), _count(x, slots)
    state = optimizer.initialize(tuple(tf.TensorSpec(w.shape, w.dtype) for w in trainable))
    for step in tf.range(training.steps(count)):
      chosen = _batch(training, key, step, count)
      gradients = noised_mean(x, y, slots, chosen, key, step)
      state, updated = optimizer.next(state, tuple(trainable), tuple(gradients))
      for weight, value in zip(trainable, updated, strict=True):
        weight.assign(value)
    update = [w0 - w for w0, w in zip(server_weights.trainable, trainable, strict=True)]
    # Noise covers what an update is, finite or not; nothing would cover a weight that tells it.
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(u)) for u in update])
    return tff.learning.templates.ClientResult(
        update=tf.nest.pack_sequence_as(server_weights.trainable, [tf.where(finite, u, 0.0) for u in update]),
        update_weight=tf.cast(count, tf.float32))

  return train


def _count(x, slots):
  """Returns the number of a client's examples, which is public: slots count whether a canary is there or not."""
  return tf.shape(x)[0] + (0 if slots is None else tf.shape(slots)[0])


def _planted(trainable, present, canaries, norm):
  """Returns the sum of the gradients of the canaries in a batch; empty slots are numbered -1."""
  there = tf.math.unsorted_segment_sum(tf.ones(tf.shape(present), tf.float64), present, canaries)
  return canaries_lib.crafted([tuple(weight.shape) for weight in trainable], norm * there)


def _expected(training, count):
  """Returns the expected number of examples in a step: public, like their number at the client."""
  if training.sampling == 'balls_in_bins':
    return tf.cast(count, tf.float64) / tf.cast(training.steps_a_pass(count), tf.float64)
  return tf.cast(tf.minimum(training.batch_size, count), tf.float64)


def _batch(training, key, step, count):
  """Returns the positions of a step's examples; a client smaller than a batch gives all of them."""
  if training.sampling == 'poisson':
    words = chacha20.key_stream(key, _sampling_nonce(step), count)
    rate = training.batch_size * 2.0 ** 32 / tf.cast(count, tf.float64)
    return tf.where(tf.cast(words, tf.float64) < rate)[:, 0]
  if training.sampling == 'balls_in_bins':
    # A step of the pass for each example; the same words for all steps of the pass.
    steps_a_pass = training.steps_a_pass(count)
    words = tf.cast(tf.reshape(chacha20.key_stream(key, _sampling_nonce(step // steps_a_pass), 2 * count), [count, 2]),
                    tf.float64)
    # 53 bits: a step's probability is off by 2^-53 a step at most.
    uniform = (tf.floor(words[:, 0] / 2 ** 5) * 2.0 ** 26 + tf.floor(words[:, 1] / 2 ** 6)) * 2.0 ** -53
    places = tf.cast(tf.floor(uniform * tf.cast(steps_a_pass, tf.float64)), count.dtype)
    return tf.where(tf.equal(places, step % steps_a_pass))[:, 0]
  # The order of a pass is that of one word an example, the same words for all steps of the pass.
  steps_a_pass = training.steps_a_pass(count)
  order = tf.argsort(tf.cast(chacha20.key_stream(key, _sampling_nonce(step // steps_a_pass), count), tf.int64))
  first = step % steps_a_pass * training.batch_size
  return order[first:first + training.batch_size]


def _sampling_nonce(number):
  return tf.stack([tf.constant(_SAMPLING, tf.uint32), tf.cast(number, tf.uint32), tf.constant(1, tf.uint32)])
