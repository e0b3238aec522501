"""Classification: one class for each image, or any number of findings."""

import dataclasses

import numpy as np
import tensorflow as tf

from tff_vision import labels as labels_lib
from tff_vision.objectives import base, losses, mistakes
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
    weights: The weight of each class, or of the positives of each finding, in the cross-entropy; empty: all are 1.
    gamma: The focus of the focal loss; 0: none.
    needs_labels: Whether the weights are still to be computed, so that all classes count the same.
  """
  num_outputs: int
  multi_label: bool
  loss: tf.keras.losses.Loss | None = None
  weights: tuple[float, ...] = ()
  gamma: float = 0.0
  needs_labels: bool = False
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
    if self.weights or self.gamma:
      return losses.CrossEntropy(multi_label=self.multi_label, weights=self.weights, gamma=self.gamma)
    if self.multi_label:
      return tf.keras.losses.BinaryCrossentropy(from_logits=True)
    return tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)

  @property
  def separable(self):
    return self.loss is None

  @property
  def notes(self):
    """Sentences a user must see."""
    if not self.weights:
      return ()
    return (f'The loss weighs {"positives of findings" if self.multi_label else "classes"} by '
            f'{", ".join(f"{weight:.4g}" for weight in self.weights)}.',)

  def fitted(self, y):
    return dataclasses.replace(self, weights=losses.balanced(y, self.num_outputs), needs_labels=False)

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
    if self.loss is not None or self.weights or self.gamma:
      return base.per_example(self.loss_fn)(y, logits).numpy()
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


def build(settings, class_names, labels, normal_class) -> base.Objective:
  """Returns the objective for these classes.

  Raises:
    ValueError: Labels are neither classes nor findings, or the weights are not one for each of them.
  """
  del normal_class
  base.check_labels('classification', labels, labels_lib.Kind.CLASS, labels_lib.Kind.FINDINGS)
  own, balanced = losses.brought(settings), settings.class_weights == losses.BALANCED
  weights = () if balanced else settings.class_weights
  if weights and len(weights) != len(class_names):
    raise ValueError(f'class_weights has {len(weights)} weights, and the data set has {len(class_names)} '
                     f'{"findings" if labels is labels_lib.Kind.FINDINGS else "classes"}: '
                     f'{", ".join(map(str, class_names[:12]))}.')
  return Classification(num_outputs=len(class_names), multi_label=labels is labels_lib.Kind.FINDINGS, loss=own,
                        weights=weights, gamma=settings.focal_gamma if settings.loss == 'focal' else 0.0,
                        needs_labels=balanced)

