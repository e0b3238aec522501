"""Focal loss: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 4, for several classes.

    python -m pipelines.train --loss=examples.focal_loss:FocalLoss --loss_option=gamma=2.0
"""

import tensorflow as tf


class FocalLoss(tf.keras.losses.Loss):
  """(1 - p)^gamma times the cross-entropy, where p is the probability of the correct class."""

  def __init__(self, gamma=2.0):
    super().__init__(name='focal')
    self.gamma = gamma

  def call(self, y_true, y_pred):
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(y_true, tf.int32), y_pred)
    return (1 - tf.exp(-entropy)) ** self.gamma * entropy
