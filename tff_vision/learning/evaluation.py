"""Evaluates a model on the whole test set and for each client."""

import concurrent.futures
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_vision import objectives
from tff_vision.data import images, pieces, preprocess
from tff_vision.objectives import classification
from tff_vision.objectives import metric as metric_lib

_BATCH = 100
MAX_LISTED = 10_000  # Of more clients, reports hold counts and not a row for each.
_BINS = 100


class Evaluator:
  """Evaluates weights of one architecture on the driver; keeps the traced function between calls.

  Attributes:
    model: The Keras model; it holds the weights that were evaluated last.
  """

  def __init__(self, model: tf.keras.Model, *, preprocessing: images.Preprocessing,
               objective: objectives.Objective | None = None, moves: images.Preprocessing | None = None,
               devices: Sequence[str] = ()):
    """Prepares an evaluation.

    Args:
      model: The model.
      preprocessing: Turns stored images into its input.
      objective: None: classification with the kind of labels that the data have.
      moves: The preprocessing whose crop and size masks follow; None: `preprocessing`. A model that contains its
        preprocessing needs it.
      devices: The devices that compute one batch each in turn, as TensorFlow names them; empty: TensorFlow's choice.
    """
    self.model = model
    self._objective, self._moves = objective, moves or preprocessing
    self._devices = tuple(devices) or (None,)
    # Each core evaluates its own batch. If cores shared a batch, they would wait for each other after every kernel. A
    # GPU is busy with one batch while the next is prepared.
    on_gpu = any(device and device.startswith('GPU') for device in self._devices)
    self._at_once = 2 * len(self._devices) if on_gpu else os.cpu_count()
    self._forward = tf.function(lambda x: model(preprocess.evaluation_fn(preprocessing, x), training=False))

  def logits(self, x: np.ndarray) -> np.ndarray:
    """Returns the model's outputs, [n, outputs] float32, for stored images [n, height, width, channels]."""
    forward = self._forward.get_concrete_function(tf.TensorSpec((None, *x.shape[1:]), x.dtype))  # Traced once.

    def batch(first):
      with tf.device(self._devices[first // _BATCH % len(self._devices)]):
        return forward(tf.constant(x[first:first + _BATCH])).numpy()

    with concurrent.futures.ThreadPoolExecutor(self._at_once) as pool:
      return np.concatenate(list(pool.map(batch, range(0, max(1, len(x)), _BATCH))))

  def labels(self, examples: images.Examples) -> np.ndarray:
    """Returns the labels of stored images for the model's outputs: masks and boxes follow crop and size."""
    return np.asarray(preprocess.evaluation_labels(self._moves, examples, examples.y))

  def counted(self, examples: images.Examples) -> np.ndarray:
    """Returns what the objective counts in the outputs of each image, [n, k]; a few images' outputs are held at a time.

    The objective must have the method `counted`.
    """
    parts = (examples.take(np.arange(first, min(first + _BATCH, len(examples))))
             for first in range(0, len(examples), _BATCH))
    return np.concatenate([self._objective.counted(self.logits(part.x), self.labels(part)) for part in parts])

  def evaluate(self, held_out: images.HeldOut) -> dict[str, Any]:
    """Returns {'evaluation': metrics of all examples, 'per_client': the spread of the objective's metric over clients}.

    The result also has `roc` if the objective has a ROC curve. Without examples there are no metrics.
    """
    y = held_out.examples.y
    if not len(y):
      metric = {} if self._objective is None else {'metric': self._objective.metric}
      asked, others = _asked(held_out.clients)
      return {'evaluation': {}, 'per_client': {**metric, **summary([None] * len(asked), others=others)}}
    counts = hasattr(self._objective, 'counted')
    outputs = self.counted(held_out.examples) if counts else self.logits(held_out.examples.x)
    objective = self._objective or classification.Classification(num_outputs=outputs.shape[1], multi_label=y.ndim == 2)
    y = self.labels(held_out.examples)
    asked, others = _asked(held_out.clients)
    values = objective.client_values(outputs, y, asked)
    spread = summary(values, higher_is_better=metric_lib.is_better_higher(objective), others=others)
    return {**objective.measure(outputs, y), 'per_client': {'metric': objective.metric, **spread}}

  @property
  def higher_is_better(self) -> bool:
    """Whether a higher number of a client is the better one."""
    return self._objective is None or metric_lib.is_better_higher(self._objective)

  def mistakes(self, held_out: images.HeldOut) -> Mapping[str, Any] | None:
    """Returns where the model is wrong on these examples, as data; None if the objective or the examples tell nothing.

    An objective tells it by a method `mistakes` of (outputs, labels), which is optional.
    """
    tell = getattr(self._objective, 'mistakes', None)
    if tell is None or not len(held_out.examples):
      return None
    return tell(self.logits(held_out.examples.x), held_out.examples.y)


def per_client(correct: np.ndarray, clients: Sequence[np.ndarray]) -> dict[str, Any]:
  """Summarises accuracy over clients.

  Args:
    correct: [n] in 0..1, one value per example.
    clients: For each client, the positions of its examples.
  """
  return summary([float(correct[positions].mean()) if len(positions) else None for positions in clients])


def _asked(clients):
  """Returns the clients whose values are asked for, and how many others there are; all, unless there are too many."""
  if len(clients) <= MAX_LISTED:
    return clients, 0
  clients = pieces.Pieces.of(clients)
  asked = clients.take(np.flatnonzero(clients.sizes))
  return asked, len(clients) - len(asked)


def summary(values: Sequence[float | None], *, higher_is_better: bool = True, others: int = 0) -> dict[str, Any]:
  """Summarises one number per client; clients without a number are counted and not estimated.

  Args:
    values: One number for each client, or None.
    higher_is_better: If not, the worst client has the largest number, and `percentile_10` is counted from there.
    others: The number of further clients, all without a number.

  Returns:
    mean, percentile_10, worst, count, without_examples and `accuracies`, which holds the values of any metric. Of more
    than `MAX_LISTED` clients, `histogram` in its place: `edges`, and `counts` of clients between them.
  """
  known = [value for value in values if value is not None]
  counts = {'count': len(known), 'without_examples': len(values) + others - len(known)}
  if len(values) + others <= MAX_LISTED:
    counts['accuracies'] = list(values)
  elif len(finite := [value for value in known if np.isfinite(value)]):
    numbers, edges = np.histogram(finite, _BINS)
    counts['histogram'] = {'edges': edges.tolist(), 'counts': numbers.tolist()}
  if not known:
    return counts
  return {'mean': float(np.mean(known)), 'percentile_10': float(np.percentile(known, 10 if higher_is_better else 90)),
          'worst': min(known) if higher_is_better else max(known), **counts}
