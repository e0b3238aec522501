"""Anomaly detection by an autoencoder that is trained on normal images only.

Sakurada and Yairi, "Anomaly Detection Using Autoencoders with Nonlinear Dimensionality Reduction", MLSDA 2014. A
defect is small, so an image's score is its largest error, not its mean error. A defect is also wider than a pixel, but
the sensor's noise is not. So signed differences are smoothed before they are squared.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tff_vision import labels as labels_lib
from tff_vision.objectives import base
from tff_vision.objectives import metric as metric_lib

_WINDOWS_ALONG_A_SIDE = 16
_FALSE_ALARMS = 0.05
METRICS = (
    metric_lib.AUC, metric_lib.Metric(name='average_precision', detail=True),
    metric_lib.Metric(name=f'true_positive_rate_at_{_FALSE_ALARMS:g}', percent=True, detail=True,
                      title=f'defects found at {100 * _FALSE_ALARMS:g} % false alarms'), metric_lib.LOSS)


@tf.keras.utils.register_keras_serializable('tff_vision')
class FirstOutput(tf.keras.losses.Loss):
  """A loss that is the model's first output; labels are not read."""

  def call(self, y_true, y_pred):
    del y_true
    return y_pred[:, 0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Anomaly:
  """Outputs are [batch, 2]: the mean squared error of the image, which is the training loss, and the score.

  Attributes:
    normal: Class number of good images.
  """
  normal: int
  metric: str = 'auc'
  task: str = 'anomaly'
  num_outputs: int = 2
  head: None = None

  @property
  def declared(self):
    return METRICS

  @property
  def loss_fn(self):
    return FirstOutput()

  @property
  def separable(self):
    return True

  def keras_model(self, builder, input_shape):
    """Returns the autoencoder, followed by the computation of its error.

    Raises:
      ValueError: The model does not return images of the same shape as those it takes.
    """
    autoencoder = builder(input_shape, 0)
    if tuple(autoencoder.output_shape[1:]) != tuple(input_shape):
      raise ValueError(f'task=anomaly needs a model that returns images of {input_shape}; model {autoencoder.name!r} '
                       f'returns {autoencoder.output_shape[1:]}.')
    images = autoencoder.inputs[0]
    difference = smooth = autoencoder.outputs[0] - images
    window = max(1, min(input_shape[:2]) // _WINDOWS_ALONG_A_SIDE)
    # A box filter applied twice is a triangle, which is close enough to a Gaussian. The names are none of Keras's own,
    # which the layers of a model from a file may have.
    for name in ('smooth', 'smoother'):
      smooth = tf.keras.layers.AveragePooling2D(window, strides=1, name=name)(smooth)
    squares = tf.reduce_mean(tf.square(smooth), axis=3, keepdims=True)
    largest = tf.keras.layers.GlobalMaxPooling2D(name='largest_error')(squares)
    mean = tf.reduce_mean(tf.square(difference), axis=(1, 2, 3))[:, None]
    return tf.keras.Model(images, tf.keras.layers.Concatenate(name='errors')([mean, largest]), name=autoencoder.name)

  def reconstruction(self, model):
    """Returns the autoencoder within a model that `keras_model` made: from an image to its reconstruction.

    Raises:
      ValueError: The model takes no difference to its input.
    """
    image = model.inputs[0]
    for layer in reversed(model.layers):
      for node in layer.inbound_nodes:
        inputs = node.keras_inputs
        if layer.name.startswith('tf.math.subtract') and len(inputs) == 2 and inputs[1] is image:
          return tf.keras.Model(image, inputs[0])
    raise ValueError(f'model {model.name!r} holds no reconstruction.')

  def right(self, outputs, y):
    del outputs, y
    return tf.constant(0.0, tf.float64)

  def metrics(self):
    return []

  def measure(self, outputs, y):
    """Returns how well the score separates good images from others, and the mean error of good images as loss."""
    from sklearn import metrics  # Imported late: half a second.
    bad, scores = y != self.normal, outputs[:, 1]
    if not 0 < bad.sum() < len(bad):
      return {'evaluation': {'loss': float(outputs[~bad, 0].mean())} if len(bad) - bad.sum() else {}}
    return {'evaluation': {
        'auc': float(metrics.roc_auc_score(bad, scores)),
        'average_precision': float(metrics.average_precision_score(bad, scores)),
        f'true_positive_rate_at_{_FALSE_ALARMS:g}': base.true_rate_at(bad, scores, _FALSE_ALARMS),
        'loss': float(outputs[~bad, 0].mean())}, 'roc': base.roc(bad, scores)}

  def yardstick(self, outputs, y):
    """Returns the percentiles of the scores of good test images, at every percent."""
    good = outputs[y == self.normal, 1]
    return {'good_scores': np.percentile(good, np.arange(101)).tolist()} if len(good) else {}

  def client_values(self, outputs, y, clients):
    from sklearn import metrics
    bad = y != self.normal
    return [float(metrics.roc_auc_score(bad[own], outputs[own, 1])) if 0 < bad[own].sum() < len(own) else None
            for own in map(np.asarray, clients)]


def build(settings, class_names, labels, normal_class) -> base.Objective:
  """Returns the objective for these classes.

  Raises:
    ValueError: Images have no one class, or no class is called normal_class.
  """
  del settings
  base.check_labels('anomaly', labels, labels_lib.Kind.CLASS, labels_lib.Kind.FINDINGS)
  findings = labels is labels_lib.Kind.FINDINGS
  if findings or normal_class not in class_names:
    raise ValueError(f'normal_class={normal_class} is no class of this data set; its '
                     f'{"findings" if findings else "classes"} are {", ".join(map(str, class_names[:12]))}.')
  return Anomaly(normal=list(class_names).index(normal_class))
