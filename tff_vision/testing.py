"""Contract tests for one's own algorithms, models, losses, objectives, aggregators and data, to run before a training.

Each check builds a tiny experiment around the object, trains it on an executor like that of a real run, and raises
`AssertionError` with one sentence if the object breaks the contract.
"""

import contextlib
import dataclasses
import json
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import configs, experiment, labels, models, plugins, values
from tff_vision.data import given, images
from tff_vision.learning import algorithm as algorithm_lib
from tff_vision.objectives import base, classification
from tff_vision.objectives import metric as metric_lib
from tff_vision.runtime.driver import runtimes

_SHAPE, _CLASSES = (8, 8, 1), 3
_EMPTY = 4  # The index after the clients of `tiny_images`: a client without examples.


def check_algorithm(algorithm: algorithm_lib.Algorithm, *, model: Any = None) -> None:
  """Checks that an algorithm trains, and that interruptions do not change its result.

  Checked: two runs give the same weights, bit by bit; a run that is stopped after a round and resumed gives them too;
  every weight is finite; rounds with a client without examples, or with no clients, do no harm.

  Args:
    algorithm: An object; its clients may keep state.
    model: As in `Task`; None: a layer of 8 units and one of logits.

  Raises:
    AssertionError: The message says what does not hold.
  """
  assert isinstance(algorithm, algorithm_lib.Algorithm), (
      f'{type(algorithm).__name__} is no tff_vision.Algorithm: derive from it.')
  made = _experiment(values.Task(tiny_images(), model=model or _two_layers), algorithm=algorithm)
  with _sentence(), tempfile.TemporaryDirectory() as folder:
    whole = _weights(made, pathlib.Path(folder) / 'whole')
    assert all(np.isfinite(w).all() for w in whole), 'the weights after two rounds are not finite.'
    parts = made.iterate(pathlib.Path(folder) / 'parts')
    next(parts)
    parts.close()
    again = _weights(made, pathlib.Path(folder) / 'parts')
  for one, other in zip(whole, again, strict=True):
    assert np.array_equal(one, other), ('a run that was stopped and went on has other weights: `work` or `step` reads '
                                        'something beside its arguments, or draws random numbers.')
  _check_small_rounds(made)


def check_model(build: Callable[[tuple[int, int, int], int], tf.keras.Model],
                input_shape: tuple[int, int, int] = (32, 32, 3), num_classes: int = 10) -> None:
  """Checks that a model function gives a model that can be trained over clients.

  Checked: the shapes; float32; no trainable BatchNorm; that a Keras file can hold it; the same structure on each call;
  outputs are finite and are not probabilities.

  Raises:
    AssertionError: The message says what does not hold.
  """
  from tff_vision.models import check
  first, second = build(input_shape, num_classes), build(input_shape, num_classes)
  assert isinstance(first, tf.keras.Model), f'it returns {type(first).__name__}, and no tf.keras.Model.'
  with _sentence():
    check.check(first, input_shape=input_shape, output_shape=(num_classes,))
    check.check_file(first, f'model={plugins.name_of(build)}')
  shapes = [[tuple(w.shape) for w in model.weights] for model in (first, second)]
  assert shapes[0] == shapes[1], 'two calls give models of different weights.'
  x = np.random.default_rng(0).normal(size=(16, *input_shape)).astype(np.float32)
  outputs = first(x, training=False).numpy()
  assert np.isfinite(outputs).all(), 'outputs of a fresh model are not finite.'
  assert not np.allclose(outputs.sum(axis=1), 1, atol=1e-4), (
      'outputs sum to one: return logits, without a last softmax.')


def check_loss(loss: Any) -> None:
  """Checks a loss of classification: finite, and one number per example that depends on that example alone.

  Raises:
    AssertionError: The message says what does not hold.
  """
  found = classification.build(configs.TaskConfig(loss=loss), ('a', 'b', 'c'), labels.Kind.CLASS, None).loss_fn
  y, logits = np.array([0, 1, 2, 1], np.int32), np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
  _check_losses(found, y, logits, separable=True)
  assert np.isfinite(base.per_example(found)(y, logits * 100).numpy()).all(), 'the loss of large logits is not finite.'


def check_objective(objective: base.Objective, *, model: Any = None) -> None:
  """Checks an objective on images of three classes: its training, its measurements, its declarations, and a whole run.

  Checked: the model's outputs; one loss per example, which depends on that example alone if the objective declares so;
  the count of right answers lies between 0 and the number of examples; metrics are numbers, shares lie within 0..1, and
  the first metric is declared and measured; one value per client, None for a client without examples; results can be
  written as JSON; a run has finite weights, and its report has the declared metrics.

  Args:
    objective: An object with the methods of `objectives.Objective`.
    model: As in `Task`; None: a layer of 8 units and one of outputs.

  Raises:
    AssertionError: The message says what does not hold.
  """
  built = model or _two_layers
  with _sentence():
    declared = metric_lib.of(objective)
    network = objective.keras_model(models.builder(configs.ModelConfig(model=built)), _SHAPE)
  data = tiny_images()
  x, y = data.test.examples.x.astype(np.float32) / 255, data.test.examples.y
  outputs = network(x, training=False).numpy()
  assert outputs.shape == (len(y), objective.num_outputs), (
      f'the model returns {outputs.shape} for {len(y)} images, and num_outputs is {objective.num_outputs}.')
  _check_losses(objective.loss_fn, y, outputs, separable=bool(getattr(objective, 'separable', False)))
  for rows in (slice(None), slice(0)):
    right = float(objective.right(tf.constant(outputs[rows]), tf.constant(y[rows])))
    assert 0 <= right <= len(y[rows]), f'`right` says that {right:g} of {len(y[rows])} answers are right.'
  _check_measured(objective, declared, outputs, y)
  clients = [np.arange(len(y)), np.zeros(0, np.int64)]
  spread = objective.client_values(outputs, y, clients)
  assert len(spread) == 2 and spread[1] is None, (
      'client_values must return one number for each client, and None for a client without examples.')
  assert all(isinstance(one, tf.keras.metrics.Metric) for one in objective.metrics()), (
      '`metrics` must return fresh tf.keras.metrics.')
  with _sentence(), tempfile.TemporaryDirectory() as folder:
    run = _experiment(values.Task(data, model=built, objective=objective)).run(pathlib.Path(folder) / 'run')
    assert all(np.isfinite(w).all() for w in run.model.get_weights()), 'the weights after two rounds are not finite.'
    assert run.report is not None and objective.metric in run.report['evaluation'], (
        f'the report of a run lacks {objective.metric}.')


def check_aggregator(factory: Any) -> None:
  """Checks that a `tff.aggregators` factory aggregates a model's updates, also of one client and of an empty cohort.

  Raises:
    AssertionError: The message says what does not hold.
  """
  kinds = (tff.aggregators.UnweightedAggregationFactory, tff.aggregators.WeightedAggregationFactory)
  assert isinstance(factory, kinds), f'{type(factory).__name__} is no tff.aggregators factory.'
  made = _experiment(values.Task(tiny_images(), model=_two_layers), aggregator=factory)
  with _sentence(), tempfile.TemporaryDirectory() as folder:
    weights = _weights(made, pathlib.Path(folder) / 'run')
  assert all(np.isfinite(w).all() for w in weights), 'the weights after two rounds are not finite.'
  _check_small_rounds(made)


def check_dataset(dataset: Any) -> None:
  """Checks your own images, or the function that returns them for a data section; see `check_images`.

  Raises:
    AssertionError: The message says what does not hold.
  """
  from tff_vision.data import build
  with _sentence():
    found = build.build(configs.DataConfig(dataset=dataset), seed=0)
  check_images(found)


def check_images(found: images.FederatedImages) -> None:
  """Checks that images match their `spec`; reads every client twice.

  Checked: clients' ids are unique, and each client has the number of examples that it declares; every training and test
  example has the spec's shape, type and labels; pixels are finite; a client gives the same examples when read again;
  each test example belongs to at most one client.

  Raises:
    AssertionError: The message says what does not hold, and for which client.
  """
  ids = list(found.train.client_ids)
  assert ids and len(set(ids)) == len(ids), 'client ids are missing or not unique.'
  for client, name in enumerate(ids):
    examples, again = found.train.examples(client), found.train.examples(client)
    assert len(examples) == found.train.num_examples(client), (
        f'client {name} has another number of examples than it says.')
    _check_examples(found.spec, examples, f'client {name}')
    assert np.array_equal(examples.x, again.x) and np.array_equal(examples.y, again.y), (
        f'client {name} has other examples when it is read again.')
  for what, held_out in (('test', found.test), ('unseen', found.unseen)):
    if held_out is None:
      continue
    _check_examples(found.spec, held_out.examples, f'the {what} set')
    owned = np.concatenate([np.zeros(0, np.int64), *held_out.clients])
    assert len(np.unique(owned)) == len(owned) and (not len(owned) or 0 <= owned.min() <= owned.max() < len(
        held_out.examples)), f'the {what} set gives an example to two clients, or one that it does not have.'
  assert len(found.test.clients) in (0, len(ids)), (
      f'the test set is divided over {len(found.test.clients)} clients, and {len(ids)} train.')


def tiny_images() -> images.FederatedImages:
  """Returns four clients of 5 to 14 separable images of 8x8 in three classes, and a test set."""
  rng = np.random.default_rng(0)

  def part(count):
    y = np.arange(count) % _CLASSES
    return np.clip(rng.normal(60 + 70 * y[:, None, None, None], 30, (count, *_SHAPE)), 0, 255).astype(np.uint8), y

  return given.from_arrays({f'c{i}': part(count) for i, count in enumerate((12, 5, 14, 9))}, test=part(30), name='tiny')


@contextlib.contextmanager
def _sentence() -> Iterator[None]:
  """Reports an error that the library raises as a broken contract."""
  try:
    yield
  except ValueError as error:
    raise AssertionError(str(error)) from None


def _check_losses(loss, y, outputs, *, separable):
  each = base.per_example(loss)(y, outputs).numpy()
  assert each.shape == (len(y),), (
      f'the loss of {len(y)} examples has the shape {each.shape}; it must be one number an example.')
  assert np.isfinite(each).all(), 'the loss is not finite.'
  if separable:
    alone = [base.per_example(loss)(y[i:i + 1], outputs[i:i + 1]).numpy()[0] for i in range(len(y))]
    assert np.allclose(each, alone, rtol=1e-4, atol=1e-6), 'the loss of an example depends on the others of its batch.'


def _check_measured(objective, declared, outputs, y):
  found = objective.measure(outputs, y)
  assert 'evaluation' in found, '`measure` must return {\'evaluation\': numbers}.'
  json.dumps([found, objective.yardstick(outputs, y)])  # A TypeError names the value that JSON cannot hold.
  measured = found['evaluation']
  assert measured.get(objective.metric) is not None, (
      f'`measure` lacks {objective.metric!r}, the metric that stands first.')
  for one in declared:
    value = measured.get(one.name)
    assert value is None or np.isfinite(value), f'{one.name} is not a finite number: {value!r}.'
    assert value is None or not one.percent or 0 <= value <= 1, f'{one.name} is declared a share, and is {value!r}.'


def _check_examples(spec, examples, whose):
  assert not (found := spec.difference(examples)), f'{whose} has {found} as the spec says.'
  assert np.isfinite(examples.x).all(), f'{whose} has pixels that are not finite.'
  if spec.labels is labels.Kind.FINDINGS:
    assert np.isin(examples.y, (0, 1)).all(), f'{whose} has findings other than 0 and 1.'


def _check_small_rounds(made):
  """Checks a round with a client without examples, one with no clients, and one with a single client after them."""
  data = made.images
  pool = images.ArrayClients(
      data.train.pool, [*data.train.indices, np.zeros(0, np.int64)], [*data.train.client_ids, 'empty'])
  test = dataclasses.replace(data.test, clients=[*data.test.clients, np.zeros(0, np.int64)])
  wider = dataclasses.replace(made, task=dataclasses.replace(
      made.task, images=dataclasses.replace(data, train=pool, test=test)))
  with _sentence(), runtimes.open_runtime() as place:
    trainer = wider.prepare(place)
    state = trainer.begin()
    for round_num, (cohort, whose) in enumerate((
        ([_EMPTY], 'a client without examples'), ([], 'nobody'), ([0], 'one client')), start=1):
      try:
        state = trainer.next(state, round_num, cohort).state
      except Exception as error:  # An executor may raise any type.
        raise AssertionError(f'a round of {whose} fails: {str(error).splitlines()[0]}') from error
      assert all(np.isfinite(w).all() for w in trainer.weights(state).trainable), (
          f'the weights after a round of {whose} are not finite.')


def _two_layers(input_shape, num_classes):
  layers = tf.keras.layers
  return tf.keras.Sequential([layers.Input(input_shape), layers.Flatten(), layers.Dense(8, 'relu'),
                              layers.Dense(num_classes)])


def _experiment(task, **parts):
  return experiment.Experiment(task, client=values.Client(values.sgd(0.05), epochs=2, batch_size=4),
                               participation=values.Fixed(3), rounds=2, rounds_per_evaluation=2, **parts)


def _weights(made, folder):
  return made.run(folder).model.get_weights()
