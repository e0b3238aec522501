"""Classification: one class for each image, or any number of findings."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from tff_vision import plugins
from tff_vision.objectives import base, mistakes
from tff_vision.objectives import metric as metric_lib

LEADING = 'accuracy'
# With two classes or with findings, AUC can distinguish models that accuracy cannot.
METRICS = (metric_lib.AUC, metric_lib.Metric(name=LEADING, percent=True), metric_lib.LOSS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classification:
  """Cross-entropy of logits, or the user's own loss.

  Attributes:
    loss: The user's loss of (labels, logits); None: cross-entropy.
    num_outputs: Number of classes or findings.
    multi_label: Whether an image has findings, each with its own logit.
  """
  num_outputs: int
  multi_label: bool
  loss: tf.keras.losses.Loss | None = None
  metric: str = LEADING
  task: str = 'classification'

  @property
  def declared(self):
    return METRICS

  @property
  def head(self):
    return self.num_outputs

  @property
  def loss_fn(self):
    if self.loss is not None:
      return self.loss
    if self.multi_label:
      return tf.keras.losses.BinaryCrossentropy(from_logits=True)
    return tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)

  @property
  def separable(self):
    return self.loss is None

  def keras_model(self, builder, input_shape):
    return builder(input_shape, self.num_outputs)

  def right(self, outputs, y):
    """With several findings, each example counts as the share of its findings that are correct."""
    if self.multi_label:
      return tf.reduce_sum(tf.reduce_mean(tf.cast(tf.equal(outputs > 0, y > 0.5), tf.float64), axis=1))
    return tf.reduce_sum(tf.cast(tf.equal(tf.argmax(outputs, 1, tf.int32), tf.cast(y, tf.int32)), tf.float64))

  def metrics(self):
    return [tf.keras.metrics.BinaryAccuracy(name='accuracy', threshold=0.0) if self.multi_label
            else tf.keras.metrics.SparseCategoricalAccuracy(name='accuracy')]

  def measure(self, outputs, y):
    """Returns accuracy and loss, and AUC if it is meaningful: for two classes, or one value per finding."""
    return {'evaluation': {'accuracy': float(self._correct(outputs, y).mean()),
                           'loss': float(self._losses(outputs, y).mean()), **self._ranking(outputs, y)}}

  def mistakes(self, outputs, y):
    """Returns the section `where_it_is_wrong` of a report."""
    return (mistakes.of_findings if self.multi_label else mistakes.of_classes)(outputs, y)

  def yardstick(self, outputs, y):
    del outputs, y
    return {}

  def client_values(self, outputs, y, clients):
    correct = self._correct(outputs, y)
    return [float(correct[positions].mean()) if len(positions) else None for positions in clients]

  def _correct(self, logits, y):
    if self.multi_label:
      return ((logits > 0) == (y > 0.5)).mean(axis=1)
    return (logits.argmax(axis=1) == y).astype(np.float64)

  def _losses(self, logits, y):
    if self.loss is not None:
      return base.per_example(self.loss)(y, logits).numpy()
    if self.multi_label:
      return tf.keras.losses.binary_crossentropy(y, logits, from_logits=True).numpy()
    return tf.keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True).numpy()

  def _ranking(self, logits, y):
    from sklearn import metrics  # Imported late: the import takes half a second.
    if not self.multi_label:
      if logits.shape[1] != 2 or len(np.unique(y)) < 2:
        return {}
      return {'auc': float(metrics.roc_auc_score(y, logits[:, 1] - logits[:, 0]))}
    by_finding = [float(metrics.roc_auc_score(y[:, i], logits[:, i])) if 0 < y[:, i].sum() < len(y) else None
                  for i in range(y.shape[1])]
    known = [auc for auc in by_finding if auc is not None]
    return {'auc': float(np.mean(known)) if known else None, 'auc_by_finding': by_finding}


def build(settings, class_names, multi_label, normal_class) -> base.Objective:
  """Returns the objective for these classes."""
  del normal_class
  return Classification(num_outputs=len(class_names), multi_label=multi_label, loss=_loss(settings))


class _OfFunction(tf.keras.losses.Loss):
  """A loss that a plain function computes for each example."""

  def __init__(self, function):
    super().__init__(name=getattr(function, '__name__', 'loss'))
    self._function = function

  def call(self, y_true, y_pred):
    return self._function(y_true, y_pred)


def _loss(settings):
  """Returns the user's loss, or None.

  Raises:
    ValueError: A reference points to nothing, or to an object that cannot be called.
  """
  if settings.loss is None:
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
