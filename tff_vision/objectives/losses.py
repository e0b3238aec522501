"""Losses of classes and findings with weights and focus, of numbers, and losses that users bring.

Focal loss: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 4: an example of probability p for
its class counts (1 - p)^gamma of its cross-entropy. Every loss here is the mean of separate terms, one per example.
"""

import functools

import numpy as np
import tensorflow as tf

from tff_vision import catalogue, plugins
from tff_vision.objectives import base

BALANCED = ('balanced',)
NAMED = catalogue.names('loss')


class CrossEntropy(tf.keras.losses.Loss):
  """Cross-entropy of logits in which classes weigh differently, or in which well-known examples count less."""

  def __init__(self, *, multi_label: bool, weights: tuple[float, ...] = (), gamma: float = 0.0):
    """Initializes the loss.

    Args:
      multi_label: Whether labels are findings; weights are then those of positives.
      weights: One for each class or finding; empty: all are 1.
      gamma: The focus; 0: none.
    """
    super().__init__(name='cross_entropy')
    self._multi_label = multi_label
    self._weights = weights
    self._gamma = gamma

  def call(self, y_true, y_pred):
    if self._multi_label:
      return tf.reduce_mean(self._findings(tf.cast(y_true, y_pred.dtype), y_pred), axis=-1)
    y_true = tf.cast(y_true, tf.int32)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y_true, y_pred)
    losses = self._focused(losses, tf.exp(-losses))
    return losses * tf.gather(tf.constant(self._weights, y_pred.dtype), y_true) if self._weights else losses

  def _findings(self, y, logits):
    positive, negative = tf.nn.softplus(-logits), tf.nn.softplus(logits)  # -log p and -log (1 - p).
    positive, negative = (self._focused(losses, tf.exp(-losses)) for losses in (positive, negative))
    weights = tf.constant(self._weights, logits.dtype) if self._weights else 1.0
    return weights * y * positive + (1 - y) * negative

  def _focused(self, losses, probability):
    return (1 - probability) ** self._gamma * losses if self._gamma else losses


class NumberError(tf.keras.losses.Loss):
  """The error of a predicted number, in standard units: squared, absolute, or Huber's with its bend at one unit."""

  def __init__(self, kind: str, scale: float):
    """Args: `kind`: `squared`, `absolute` or `huber`; `scale`: the user's units in one standard unit."""
    super().__init__(name=kind)
    self._kind = kind
    self._scale = scale

  def call(self, y_true, y_pred):
    error = tf.abs(y_pred[:, 0] - y_true) / self._scale
    if self._kind == 'absolute':
      return error
    if self._kind == 'squared':
      return tf.square(error)
    near = tf.minimum(error, 1.0)  # Huber 1964: a square up to the bend, a line beyond it.
    return near * (error - near / 2)


class OfColumns(tf.keras.losses.Loss):
  """A user's loss of numbers, which is given labels as [batch, 1], like outputs: Keras would compare all with all."""

  def __init__(self, own: tf.keras.losses.Loss):
    super().__init__(name=own.name)
    self._own = own

  def call(self, y_true, y_pred):
    return base.per_example(self._own)(y_true[:, tf.newaxis], y_pred)


def balanced(y: np.ndarray, number: int) -> tuple[float, ...]:
  """Returns weights by which all classes count the same in a data set; of findings, as much as their absence does.

  Args:
    y: Training labels: [n] class numbers, or [n, findings] of 0 and 1.
    number: The number of classes or findings. One that no label has gets the weight 1.
  """
  if y.ndim == 2:
    positive = y.sum(axis=0)
    return tuple(float((len(y) - one) / one) if one else 1.0 for one in positive)
  counts = np.bincount(y, minlength=number)
  return tuple(float(len(y) / (number * one)) if one else 1.0 for one in counts)


class _OfFunction(tf.keras.losses.Loss):
  """A loss that a plain function computes for each example."""

  def __init__(self, function):
    super().__init__(name=getattr(function, '__name__', 'loss'))
    self._function = function

  def call(self, y_true, y_pred):
    return self._function(y_true, y_pred)


def brought(settings) -> tf.keras.losses.Loss | None:
  """Returns the user's own loss that a `TaskConfig` holds or refers to, or None.

  Raises:
    ValueError: A reference points to nothing, or to an object that cannot be called.
  """
  if settings.loss is None or isinstance(settings.loss, str) and settings.loss in NAMED:
    return None
  found = plugins.value_of(settings.loss, {}, field='loss')
  given = plugins.options(settings.loss_option, field='loss_option')
  if isinstance(found, type):
    plugins.check_call(found, given, setting=f'loss={plugins.shown(settings.loss)}')
    found = found(**given)
  elif given and callable(found):
    plugins.check_call(found, given, setting=f'loss={plugins.shown(settings.loss)}',
                       positional=('labels', 'logits'))
    found = functools.partial(found, **given)
  if isinstance(found, tf.keras.losses.Loss):
    return found
  if not callable(found):
    raise ValueError(f'loss={plugins.shown(settings.loss)} must be a tf.keras.losses.Loss or a function (labels, '
                     f'logits) -> losses, found {type(found).__name__}.')
  return _OfFunction(found)

