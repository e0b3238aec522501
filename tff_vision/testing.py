"""Contract tests for your own algorithms, models, losses, aggregators and data: run them before a long training.

Each check builds a tiny experiment around the object, trains it for two rounds on an executor like that of a real run,
and raises `AssertionError` with one sentence where the object does not keep the contract.
"""

import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import api, configs, values
from tff_vision.data import given, images
from tff_vision.learning import algorithm as algorithm_lib

_SHAPE, _CLASSES = (8, 8, 1), 3


def check_algorithm(algorithm: algorithm_lib.Algorithm, *, model: Any = None) -> None:
  """Checks that an algorithm trains, and that interruptions do not change its result.

  Checked: two runs give the same weights to the bit; a run that is stopped after a round and goes on gives them too;
  every weight is finite; a client without examples sends nothing that is not finite.

  Args:
    algorithm: An object; also one whose clients keep state.
    model: As of `Task`; None: a layer of 8 units and one of logits.

  Raises:
    AssertionError: With what does not hold.
  """
  assert isinstance(algorithm, algorithm_lib.Algorithm), (
      f'{type(algorithm).__name__} is no tff_vision.Algorithm: derive from it.')
  made = _experiment(values.Task(tiny_images(), model=model or _two_layers), algorithm=algorithm)
  with tempfile.TemporaryDirectory() as folder:
    whole = _weights(made, pathlib.Path(folder) / 'whole')
    assert all(np.isfinite(w).all() for w in whole), 'the weights after two rounds are not finite.'
    parts = made.iterate(pathlib.Path(folder) / 'parts')
    next(parts)
    parts.close()
    again = _weights(made, pathlib.Path(folder) / 'parts')
  for one, other in zip(whole, again, strict=True):
    assert np.array_equal(one, other), ('a run that was stopped and went on has other weights: `work` or `step` reads '
                                        'something beside its arguments, or draws random numbers.')


def check_model(build: Callable[[tuple[int, int, int], int], tf.keras.Model],
                input_shape: tuple[int, int, int] = (32, 32, 3), num_classes: int = 10) -> None:
  """Checks that a model function gives a model that can be trained over clients.

  Held: the shapes; float32; no trainable BatchNorm; the same structure on each call; outputs are not probabilities.

  Raises:
    AssertionError: With what does not hold.
  """
  from tff_vision.models import check
  first, second = build(input_shape, num_classes), build(input_shape, num_classes)
  try:
    check.check(first, input_shape=input_shape, num_outputs=num_classes)
  except ValueError as error:
    raise AssertionError(str(error)) from None
  shapes = [[tuple(w.shape) for w in model.weights] for model in (first, second)]
  assert shapes[0] == shapes[1], 'two calls give models of different weights.'
  x = np.random.default_rng(0).normal(size=(16, *input_shape)).astype(np.float32)
  sums = first(x, training=False).numpy().sum(axis=1)
  assert not np.allclose(sums, 1, atol=1e-4), 'outputs sum to one: return logits, without a last softmax.'


def check_loss(loss: Any) -> None:
  """Checks a loss of classification: finite, and one number for each example that does not depend on the others.

  Raises:
    AssertionError: With what does not hold.
  """
  from tff_vision.objectives import base, classification
  found = classification.build(configs.TaskConfig(loss=loss), ('a', 'b', 'c'), False, None).loss_fn
  y, logits = np.array([0, 1, 2, 1], np.int32), np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
  each = base.per_example(found)(y, logits).numpy()
  assert each.shape == (4,), f'the loss of 4 examples has the shape {each.shape}; it must be one number an example.'
  alone = [base.per_example(found)(y[i:i + 1], logits[i:i + 1]).numpy()[0] for i in range(4)]
  assert np.allclose(each, alone, rtol=1e-5), 'the loss of an example depends on the others of its batch.'
  assert np.isfinite(base.per_example(found)(y, logits * 100).numpy()).all(), 'the loss of large logits is not finite.'


def check_aggregator(factory: Any) -> None:
  """Checks that a `tff.aggregators` factory aggregates a model's updates in a run, also of an empty cohort.

  Raises:
    AssertionError: With what does not hold.
  """
  kinds = (tff.aggregators.UnweightedAggregationFactory, tff.aggregators.WeightedAggregationFactory)
  assert isinstance(factory, kinds), f'{type(factory).__name__} is no tff.aggregators factory.'
  made = _experiment(values.Task(tiny_images(), model=_two_layers), aggregator=factory)
  with tempfile.TemporaryDirectory() as folder:
    weights = _weights(made, pathlib.Path(folder) / 'run')
  assert all(np.isfinite(w).all() for w in weights), 'the weights after two rounds are not finite.'


def check_dataset(dataset: Any) -> None:
  """Checks your own images, or the function that returns them for a data section.

  Raises:
    AssertionError: With what does not hold.
  """
  from tff_vision.data import build
  try:
    found = build.build(configs.DataConfig(dataset=dataset), seed=0)
  except ValueError as error:
    raise AssertionError(str(error)) from None
  ids = list(found.train.client_ids)
  assert ids and len(set(ids)) == len(ids), 'client ids are missing or not unique.'
  for client, name in enumerate(ids):
    examples = found.train.examples(client)
    assert len(examples) == found.train.num_examples(client), (
        f'client {name} has another number of examples than it says.')
    assert examples.shape == found.test.examples.shape, f'images of client {name} have another shape than the test set.'
    if examples.y.ndim == 1 and len(examples):
      assert 0 <= examples.y.min() and examples.y.max() < len(found.class_names), (
          f'client {name} has a label outside 0..{len(found.class_names) - 1}.')


def tiny_images() -> images.FederatedImages:
  """Returns four clients of 5 to 14 separable images of 8x8 in three classes, and a test set."""
  rng = np.random.default_rng(0)

  def part(count):
    y = np.arange(count) % _CLASSES
    return np.clip(rng.normal(60 + 70 * y[:, None, None, None], 30, (count, *_SHAPE)), 0, 255).astype(np.uint8), y

  return given.from_arrays({f'c{i}': part(count) for i, count in enumerate((12, 5, 14, 9))}, test=part(30), name='tiny')


def _two_layers(input_shape, num_classes):
  layers = tf.keras.layers
  return tf.keras.Sequential([layers.Input(input_shape), layers.Flatten(), layers.Dense(8, 'relu'),
                              layers.Dense(num_classes)])


def _experiment(task, **parts):
  return api.Experiment(task, client=values.Client(values.sgd(0.05), epochs=2, batch_size=4),
                        participation=values.Fixed(3), rounds=2, rounds_per_evaluation=2, **parts)


def _weights(made, folder):
  return made.run(folder).model.get_weights()
