"""FedLC: Zhang et al., "Federated Learning with Label Distribution Skew via Logits Calibration", ICML 2022, equation 6.

    python -m pipelines.train --algorithm=examples.fedlc:FedLC --algorithm_option=tau=1.0

A client subtracts tau * n_c^(-1/4) from the logit of class c, of which it has n_c examples. Classes with few examples
at the client get a larger margin; classes without examples are not changed.
"""

import tensorflow as tf

import tff_vision as tv


class FedLC(tv.Algorithm):
  """FedAvg with calibrated logits."""

  def __init__(self, tau=1.0):
    self.tau = tau

  def work(self, client):
    _, labels = client.examples()
    counts = tf.math.bincount(labels, minlength=client.task.objective.num_outputs, dtype=tf.float32)
    counts = tf.reshape(counts, [client.task.objective.num_outputs])
    margin = tf.where(counts > 0, self.tau * tf.pow(tf.maximum(counts, 1.0), -0.25), 0.0)
    trained = client.descend(loss=lambda model, x, y, logits: client.task.loss_fn(y, logits - margin))
    return tv.Work(trained=trained, sent=tuple(trained.update()))
