"""How good a model is: over a whole test set and for each client, as one dictionary of numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_vision.data import images, preprocess

_BATCH = 500


class Evaluator:
  """Evaluates weights of one architecture on the driver; keeps the traced function between calls.

  Attributes:
    model: The Keras model that carries the weights last evaluated.
  """

  def __init__(self, model: tf.keras.Model, *, preprocessing: images.Preprocessing):
    self.model = model
    self._forward = tf.function(
        lambda x: model(preprocess.evaluation_fn(preprocessing, x), training=False), reduce_retracing=True)

  def logits(self, x: np.ndarray) -> np.ndarray:
    """Returns [n, outputs] float32 for stored images [n, height, width, channels]."""
    return np.concatenate([self._forward(x[i:i + _BATCH]).numpy() for i in range(0, len(x), _BATCH)])

  def evaluate(self, held_out: images.HeldOut) -> dict[str, Any]:
    """Returns {'evaluation': metrics over all examples, 'per_client': their distribution over clients}."""
    y = held_out.examples.y
    logits = self.logits(held_out.examples.x)
    correct = _correct(logits, y)
    return {'evaluation': {'accuracy': float(correct.mean()), 'loss': float(_losses(logits, y).mean()),
                           **_ranking(logits, y)},
            'per_client': per_client(correct, held_out.clients)}


def per_client(correct: np.ndarray, clients: Sequence[np.ndarray]) -> dict[str, Any]:
  """Summarises accuracy over clients.

  Args:
    correct: [n] in 0..1, one value per example.
    clients: The positions that belong to each client.
  """
  return summary([float(correct[positions].mean()) if len(positions) else None for positions in clients])


def summary(values: Sequence[float | None]) -> dict[str, Any]:
  """Summarises one number a client; those that lack it are counted, not guessed.

  Returns:
    mean, percentile_10, worst, count, without_examples and `accuracies`: the values, whatever they are.
  """
  known = [value for value in values if value is not None]
  counts = {'count': len(known), 'without_examples': len(values) - len(known), 'accuracies': list(values)}
  if not known:
    return counts
  return {'mean': float(np.mean(known)), 'percentile_10': float(np.percentile(known, 10)), 'worst': min(known), **counts}


def _correct(logits, y):
  if y.ndim == 1:
    return (logits.argmax(axis=1) == y).astype(np.float64)
  return ((logits > 0) == (y > 0.5)).mean(axis=1)


def _losses(logits, y):
  if y.ndim == 1:
    return tf.keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True).numpy()
  return tf.keras.losses.binary_crossentropy(y, logits, from_logits=True).numpy()


def _ranking(logits, y) -> Mapping[str, Any]:
  """Returns AUC where it means something: two classes, or one value per finding."""
  from sklearn import metrics  # Late: half a second.
  if y.ndim == 1:
    if logits.shape[1] != 2 or len(np.unique(y)) < 2:
      return {}
    return {'auc': float(metrics.roc_auc_score(y, logits[:, 1] - logits[:, 0]))}
  by_finding = [float(metrics.roc_auc_score(y[:, i], logits[:, i])) if 0 < y[:, i].sum() < len(y) else None
                for i in range(y.shape[1])]
  known = [auc for auc in by_finding if auc is not None]
  return {'auc': float(np.mean(known)) if known else None, 'auc_by_finding': by_finding}
