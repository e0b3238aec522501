"""Losses of classes and findings with weights and focus, of numbers, and losses that users bring.

Focal loss: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 4: an example of probability p for
its class counts (1 - p)^gamma of its cross-entropy. Every loss here is the mean of separate terms, one per example.
"""

import copy
import functools
import inspect

import numpy as np
import tensorflow as tf

from tff_vision import catalogue, plugins
from tff_vision.objectives import base

BALANCED = ('balanced',)
NAMED = catalogue.names('loss')
_PROBABILITIES = 'loss={} takes probabilities (from_logits=False), and models return logits: give it from_logits=True.'
_BATCH = 37
_LEAST_MISSED = 1e-7


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
    losses = self._focused(losses)
    return losses * tf.gather(tf.constant(self._weights, y_pred.dtype), y_true) if self._weights else losses

  def _findings(self, y, logits):
    positive, negative = tf.nn.softplus(-logits), tf.nn.softplus(logits)  # -log p and -log (1 - p).
    positive, negative = (self._focused(losses) for losses in (positive, negative))
    weights = tf.constant(self._weights, logits.dtype) if self._weights else 1.0
    return weights * y * positive + (1 - y) * negative

  def _focused(self, losses):
    if not self._gamma:
      return losses
    # 1 - p of a loss -log p. At 0, a power below 1 has no gradient: one example known for certain would make all NaN.
    return tf.maximum(-tf.math.expm1(-losses), _LEAST_MISSED) ** self._gamma * losses


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
    self.function = function

  def call(self, y_true, y_pred):
    return self.function(y_true, y_pred)


def _averaged(loss, name):
  """Returns a user's loss as the mean over a batch; a copy, because a loss may have parameters outside of its config.

  Raises:
    ValueError: It is a sum over the batch, so that steps would grow with the batch, and losses would not be means; or
      it takes probabilities.
  """
  if getattr(loss, '_fn_kwargs', {}).get('from_logits') is False:
    raise ValueError(_PROBABILITIES.format(name))
  if loss.reduction == tf.keras.losses.Reduction.SUM:
    raise ValueError(f'loss={name} has reduction=sum, but the loss of a batch is the mean of one number for each '
                     'example: leave reduction out.')
  if loss.reduction != tf.keras.losses.Reduction.NONE:
    return loss
  made = copy.copy(loss)
  made.reduction = tf.keras.losses.Reduction.AUTO
  return made


def check(loss: tf.keras.losses.Loss, labels: tf.TensorSpec, outputs: tf.TensorSpec) -> None:
  """Refuses a loss that cannot be trained with.

  Args:
    labels, outputs: Specs of a batch of any size.

  Raises:
    ValueError: It fails for such a batch, is no number, or cannot be differentiated; the message says which.
  """
  # As the size of a batch, a number that no other side is likely to have: sides that differ must not broadcast.
  labels, outputs = (tf.TensorSpec((_BATCH, *spec.shape[1:]), spec.dtype) for spec in (labels, outputs))
  name = f'loss={plugins.name_of(loss.function if isinstance(loss, _OfFunction) else loss)}'
  given = f'labels {labels.dtype.name} {labels.shape} and outputs {outputs.dtype.name} {outputs.shape}'
  own = copy.copy(loss)  # A loss may create variables at its first call, and another graph cannot use them.

  def once(y, z):
    with tf.GradientTape() as tape:
      tape.watch(z)
      value = own(y, z)
    return value, tape.gradient(value, z), base.per_example(own)(y, z)

  try:
    value, gradient, each = tf.function(once).get_concrete_function(labels, outputs).structured_outputs
  except Exception as error:
    raise ValueError(f'{name} fails for {given} with {plugins.reason(error)}') from error
  if value.shape.rank != 0 or not value.dtype.is_floating:
    raise ValueError(f'{name} must return one floating-point number for each example, found {value.dtype.name} '
                     f'{value.shape} after averaging.')
  # Of masks and findings, each pixel or finding may have a number of its own.
  if each.shape.num_elements() not in (_BATCH, labels.shape.num_elements()):
    raise ValueError(f'{name} must return one number for each example, found {each.shape} for {given}.')
  if gradient is None:
    raise ValueError(f'{name} does not depend on the outputs, or cannot be differentiated: nothing would be learned.')


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
    return _averaged(found, plugins.shown(settings.loss))
  if not callable(found):
    raise ValueError(f'loss={plugins.shown(settings.loss)} must be a tf.keras.losses.Loss or a function (labels, '
                     f'logits) -> losses, found {type(found).__name__}.')
  plugins.check_call(found, {}, setting=f'loss={plugins.shown(settings.loss)}', positional=('labels', 'logits'))
  if _takes_probabilities(found):
    raise ValueError(_PROBABILITIES.format(plugins.shown(settings.loss)))
  return _OfFunction(found)


def _takes_probabilities(function):
  try:
    option = inspect.signature(function).parameters.get('from_logits')
  except (TypeError, ValueError):  # Some built-in functions have no signature.
    return False
  return option is not None and option.default is False

