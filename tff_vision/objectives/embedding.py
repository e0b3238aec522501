"""Embeddings for verification: unit vectors whose cosine says whether two images show the same.

The loss contrasts each image of a client's batch with the other images in it (Khosla et al., "Supervised Contrastive
Learning", NeurIPS 2020, equation 2). So clients need no common list of identities and never name their own.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tff_vision import labels as labels_lib
from tff_vision.models import pretrained
from tff_vision.objectives import base
from tff_vision.objectives import metric as metric_lib

_TEMPERATURE = 0.1
_MOST_IMAGES = 2000  # Two million pairs.
_FALSE_ACCEPTS = (0.1, 0.01, 0.001)
METRICS = (
    metric_lib.AUC, metric_lib.Metric(name='equal_error_rate', higher_is_better=False, percent=True),
    *(metric_lib.Metric(name=f'true_accept_rate_at_{rate:g}', title=f'true accepts at {100 * rate:g} % false accepts',
                        percent=True, detail=True) for rate in _FALSE_ACCEPTS))


@tf.keras.utils.register_keras_serializable('tff_vision')
class InBatchContrast(tf.keras.losses.Loss):
  """For each image of a batch, the mean of -log softmax similarity to the other images of its class.

  An image adds zero if the batch has no other image of its class, or no image of a different class.
  """

  def call(self, y_true, y_pred):
    alike = tf.matmul(y_pred, y_pred, transpose_b=True) / _TEMPERATURE
    itself = tf.eye(tf.shape(alike)[0])
    equal = tf.equal(y_true[:, None], y_true[None])  # In a TensorFlow 1 style graph `==` tests identity.
    same = tf.cast(equal, tf.float32) - itself
    log_share = alike - tf.reduce_logsumexp(alike - 1e9 * itself, axis=1, keepdims=True)
    count = tf.reduce_sum(same, 1)
    losses = -tf.math.divide_no_nan(tf.reduce_sum(same * log_share, 1), count)
    return losses * tf.cast(tf.reduce_any(~equal, axis=1), tf.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Embedding:
  """Outputs are [batch, size], vectors of length one."""
  num_outputs: int
  metric: str = 'auc'
  task: str = 'embedding'

  @property
  def declared(self):
    return METRICS

  @property
  def head(self):
    return self.num_outputs

  @property
  def loss_fn(self):
    return InBatchContrast()

  @property
  def separable(self):
    return False

  def keras_model(self, builder, input_shape):
    """Returns the model of `size` outputs, with each output vector divided by its length."""
    inner = builder(input_shape, self.num_outputs)
    divided = tf.keras.layers.UnitNormalization(name=pretrained.UNIT_LENGTH)(inner.outputs[0])
    return tf.keras.Model(inner.inputs, divided, name=inner.name)

  def right(self, outputs, y):
    del outputs, y
    return tf.constant(0.0, tf.float64)

  def metrics(self):
    return []

  def measure(self, outputs, y):
    """Returns error rates over all pairs of up to 2,000 images, evenly spaced in the test set."""
    same, alike = _pairs(outputs, y)
    if not 0 < same.sum() < len(same):
      return {'evaluation': {}}
    from sklearn import metrics  # Imported late: the import takes half a second.
    return {'evaluation': {
        'auc': float(metrics.roc_auc_score(same, alike)), 'equal_error_rate': equal_error_rate(same, alike),
        **{f'true_accept_rate_at_{rate:g}': base.true_rate_at(same, alike, rate) for rate in _FALSE_ACCEPTS},
        'pairs': len(same), 'same_pairs': int(same.sum())}, 'roc': base.roc(same, alike)}

  def yardstick(self, outputs, y):
    """Returns the cosine threshold at which the two error rates on test pairs are equal, and this rate."""
    same, alike = _pairs(outputs, y)
    if not 0 < same.sum() < len(same):
      return {}
    rate = equal_error_rate(same, alike)
    return {'threshold': float(np.quantile(alike[~same], 1 - rate)), 'equal_error_rate': rate}

  def client_values(self, outputs, y, clients):
    from sklearn import metrics
    values = []
    for own in clients:
      same, alike = _pairs(outputs[own], y[own])
      values.append(float(metrics.roc_auc_score(same, alike)) if 0 < same.sum() < len(same) else None)
    return values


def equal_error_rate(same: np.ndarray, alike: np.ndarray) -> float:
  """Returns the error rate at which the rejected share of equal pairs is the same as the accepted share of others."""
  from sklearn import metrics
  false_rate, true_rate, _ = metrics.roc_curve(same, alike)
  gap = 1 - true_rate - false_rate  # Falls from 1 to -1.
  after = int(np.argmax(gap <= 0))
  share = gap[after - 1] / (gap[after - 1] - gap[after])
  return float(false_rate[after - 1] + share * (false_rate[after] - false_rate[after - 1]))


def _pairs(outputs, y):
  """Returns for each pair of images whether they have the same class, and the cosine of their vectors."""
  if len(y) > _MOST_IMAGES:
    chosen = np.linspace(0, len(y) - 1, _MOST_IMAGES).astype(np.int64)
    outputs, y = outputs[chosen], y[chosen]
  first, second = np.triu_indices(len(y), 1)
  return y[first] == y[second], (outputs @ outputs.T)[first, second]


def build(settings, class_names, labels, normal_class) -> base.Objective:
  """Returns the objective; classes are identities.

  Raises:
    ValueError: Images have no one class.
  """
  del class_names, normal_class
  base.check_labels('embedding', labels, labels_lib.Kind.CLASS, labels_lib.Kind.FINDINGS)
  if labels is labels_lib.Kind.FINDINGS:
    raise ValueError('task=embedding needs one class to an image, and this data set has findings.')
  return Embedding(num_outputs=settings.embedding_size)
