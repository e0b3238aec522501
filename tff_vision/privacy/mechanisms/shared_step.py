"""One step of private SGD on the examples of all clients together, as TFF client work, and its integers.

Each client draws a batch of its own examples, adds up their clipped gradients (`ghost.clipped`), and limits and rounds
the sum to the grid of `noise.example_shares`. Its share of the noise is added where the integers are hidden, inside the
same computation. Uses built-in TensorFlow kernels only.
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.privacy.ghost import clipped, penalties
from tff_vision.privacy.mechanisms import base, unmeasured_work
from tff_vision.privacy.noise import example_shares, noise_shares
from tff_vision.secure import chacha20, os_keys

_SAMPLING = 2 ** 16  # Nonce of the random words that choose the batch.
_MARGIN = 1 - 2.0 ** -20  # For the float64 rounding of norms, sums and their conversion to steps.


class ExampleShareEncoding(noise_shares.NoiseShareEncoding):
  """The integers of a client: its limited sum of clipped gradients, in whole steps, plus its share of the noise."""
  shares: example_shares.ExampleShares

  def prepared(self, values: tf.Tensor) -> tf.Tensor:
    """Returns the noised integers plus `offset`, [n] float64; runs on the client.

    Args:
      values: [n] float32, whole steps within the limit; `step_fn` returns such sums.
    """
    # The update passed other layers as floats: limiting and rounding again changes nothing unless one of them did.
    limit = float(self.shares.limit)
    integers = tf.clip_by_value(tf.round(tf.cast(values, tf.float64)), -limit, limit)
    integers = tf.where(tf.math.is_finite(integers), integers, tf.zeros_like(integers))
    if self.shares.stddev:
      integers += tf.cast(self._share(os_keys.kernel_key(), tuple(values.shape)), tf.float64)
    return integers + float(self.offset)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SharedStep:
  """A client's part of a step.

  Attributes:
    clip_norm: L2 bound on one example's gradient.
    rate: The probability with which each example is in the batch.
    batch_size: The expected examples of an average client's batch.
    ghost: Whether the model supports ghost clipping, see `ghost.clipped.examine`.
    shares: The grid.
  """
  clip_norm: float
  rate: float
  batch_size: int
  ghost: bool
  shares: example_shares.ExampleShares


def build_client_work(keras_model_fn: Callable[[], tf.keras.Model], loss_fn: tf.keras.losses.Loss,
                      reader: base.ExamplesReader, step: SharedStep) -> tff.learning.templates.ClientWorkProcess:
  """Returns client work whose update is the sum of a batch's clipped gradients, in whole steps of the grid.

  Args:
    loss_fn: A loss of logits, without reduction.
    reader: Reads the client data that the process receives.
  """
  def build_client_fn(model):
    step_fn = build_step_fn(model, loss_fn, step)
    return lambda server_weights, dataset: step_fn(server_weights, *reader.open(dataset).one_epoch())

  return unmeasured_work.build(keras_model_fn,
                               tff.SequenceType(tff.types.tensorflow_to_type(reader.element_spec)), build_client_fn)


def build_step_fn(model: tf.keras.Model, loss_fn: tf.keras.losses.Loss, step: SharedStep) -> Callable:
  """Returns the client's computation: (the server's `ModelWeights`, its images, their labels) -> `ClientResult`.

  Args: as in `build_client_work`; `model` is overwritten at each call.
  """
  weights = tff.learning.models.ModelWeights.from_model(model)
  to_steps, limit = step.shares.clip_steps / step.clip_norm, float(step.shares.limit)

  @tf.function
  def train(server_weights, x, y):
    tf.nest.map_structure(lambda w, w0: w.assign(w0), weights, server_weights)
    nonce = tf.constant([_SAMPLING, 0, 1], tf.uint32)
    words = tf.cast(chacha20.key_stream(os_keys.kernel_key(), nonce, tf.shape(x)[0]), tf.float64)
    chosen = tf.where(words < step.rate * 2.0 ** 32)[:, 0]
    found = clipped.clipped_sum(model, loss_fn, tf.gather(x, chosen), tf.gather(y, chosen),
                                tf.constant(step.clip_norm * _MARGIN, tf.float64), tf.ones(tf.shape(chosen)[0]),
                                ghost=step.ghost)
    sums = [tf.cast(total, tf.float64) for total in found.gradients]
    # These are functions of weights that are already private, so they need no clipping.
    if (added := penalties.gradients(model)) is not None:
      sums = [total + step.batch_size * tf.cast(part, tf.float64) for total, part in zip(sums, added, strict=True)]
    integers = [tf.clip_by_value(tf.round(total * to_steps), -limit, limit) for total in sums]
    return tff.learning.templates.ClientResult(
        update=tf.nest.pack_sequence_as(server_weights.trainable, [tf.cast(part, tf.float32) for part in integers]),
        update_weight=tf.constant(1.0, tf.float32))

  return train
