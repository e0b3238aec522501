"""Products in types of 16 bits: which they are, what stays in float32, and what loss scaling is for."""

import collections
import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

import tff_vision as tv
from tests import tiny
from tests.learning import tiny_experiments
from tests.runtime import graphs
from tests.runtime.device import test_leaf
from tff_vision import configs, passes
from tff_vision.configs import runtime_config
from tff_vision.learning import local_steps, optimizers
from tff_vision.privacy.ghost import clipped
from tff_vision.runtime.device import copies, low_types, values
from tff_vision.runtime.device import program as program_lib
from tff_vision.runtime.driver import device

L = tf.keras.layers


def convolutions(input_shape, num_classes):
  return tf.keras.Sequential([
      L.Input(input_shape), L.Conv2D(4, 2, activation='relu'), L.DepthwiseConv2D(2), L.Reshape((2, 2, 2, 2)),
      L.Conv3D(3, 2), L.Flatten(), L.Dense(5, 'relu'), L.Dense(num_classes)])


def low(kind, lacking=None):
  return low_types.LowType(tf.as_dtype(kind), frozenset(('CPU',)), [].append if lacking is None else lacking)


def run(computation, *arguments, kind=None, more=()):
  """Returns the result in this process, with marked products of a type (None: float32) and further rewritings."""
  parameter = computation.type_signature.parameter
  argument = values.embed(arguments if len(arguments) > 1 else arguments[0], parameter)
  called = copies.Copies(rewritings=[*([] if kind is None else [low(kind).rewrite]), *more])
  found = called.call(test_leaf.message(computation), argument, test_leaf.HERE)
  return values.fetch(found, computation.type_signature.result)


def trained_beside_products(task):
  """Returns a computation of (weights, data set): the weights after training, and products that are not marked."""
  @tff.tensorflow.computation(task.weights_type, tff.SequenceType(
      tff.types.tensorflow_to_type(task.batch_reader.element_spec)))
  def train(weights, dataset):
    found = local_steps.descend(task, optimizers.PlainSgd(0.1), weights, dataset)
    unmarked = [tf.matmul(weight, weight, transpose_a=True) for weight in found.weights if len(weight.shape) == 2]
    return found.weights, unmarked
  return train


@pytest.mark.parametrize('kind', ['bfloat16', 'float16'])
def test_every_product_of_training_is_low_and_nothing_else(kind):
  task = tiny.task(convolutions)
  train = trained_beside_products(task)
  graph = program_lib.Program(test_leaf.message(train), [low(kind).rewrite])._graph
  factor = tf.as_dtype(kind).as_datatype_enum
  found = collections.Counter((node.op, node.attr['T'].type) for node in graphs.nodes(graph)
                              if node.op in low_types.PRODUCTS)
  expected = {'Conv2D': 1, 'Conv2DBackpropFilter': 1, 'DepthwiseConv2dNative': 1,
              'DepthwiseConv2dNativeBackpropInput': 1, 'DepthwiseConv2dNativeBackpropFilter': 1, 'Conv3D': 1,
              'Conv3DBackpropFilterV2': 1, 'Conv3DBackpropInputV2': 1, 'MatMul': 6}
  assert found == {**{(op, factor): count for op, count in expected.items()},
                   ('MatMul', tf.float32.as_datatype_enum): 2}
  others = {node.op for node in graphs.nodes(graph) if node.op not in low_types.PRODUCTS
            and factor in (node.attr['T'].type, node.attr['dtype'].type)}
  assert not others

  element = task.batch_reader.element(*(getattr(task.images.train.examples(1), part) for part in 'xy'), seed=1)
  start = task.initial_weights()
  exact, cut = (run(train, start, element, kind=one)[0] for one in (None, kind))
  assert all(weight.dtype == np.float32 for weight in cut)
  moved = tiny_experiments.flat(exact) - tiny_experiments.flat(start.trainable)
  error = tiny_experiments.flat(cut) - tiny_experiments.flat(exact)
  assert 0 < np.linalg.norm(error) < (0.1 if kind == 'bfloat16' else 0.02) * np.linalg.norm(moved)


def test_the_product_is_that_of_cast_factors_also_in_functions_that_marked_nodes_call():
  @tf.function(autograph=False)
  def product(x):
    return tf.matmul(x, x)

  @tff.tensorflow.computation(tff.TensorType(np.float32, [3, 3]))
  def both(x):
    with passes.training_pass():
      cond = tf.cond(x[0, 0] > 100, lambda: x, lambda: tf.matmul(x, x, transpose_b=True))
      einsum = tf.einsum('ab,bc,cd->ad', x, x, x)
      marked = product(x)
    return marked, product(2 * x), cond, einsum, tf.matmul(x, 3 * x)

  x = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
  cast = tf.cast(x, tf.bfloat16)
  low_product = tf.cast(tf.matmul(cast, cast), tf.float32).numpy()
  assert not np.array_equal(low_product, tf.matmul(x, x))
  for compiled in (True, False):
    argument = values.embed(x, both.type_signature.parameter)
    marked, unmarked, cond, einsum, plain = copies.Copies(rewritings=[low('bfloat16').rewrite]).call(
        test_leaf.message(both, compiled=compiled), argument, test_leaf.HERE)
    np.testing.assert_array_equal(marked, low_product)
    np.testing.assert_array_equal(unmarked, tf.matmul(2 * x, 2 * x))
    np.testing.assert_array_equal(plain, tf.matmul(x, 3 * x))
    np.testing.assert_array_equal(cond, tf.cast(tf.matmul(cast, cast, transpose_b=True), tf.float32))
    np.testing.assert_allclose(einsum, x @ x @ x, rtol=0.1, atol=0.1)
    assert not np.allclose(einsum, x @ x @ x, rtol=1e-5, atol=1e-6)


def test_a_product_without_a_kernel_stays_and_is_named(monkeypatch):
  @tff.tensorflow.computation(tff.TensorType(np.float32, [2, 2]))
  def square(x):
    with passes.training_pass():
      return tf.matmul(x, x)

  monkeypatch.setattr(low_types, '_has_kernel', lambda operation, kind, low: kind == 'CPU')
  lacking = []
  graph = program_lib.Program(test_leaf.message(square), [low_types.LowType(
      tf.float16, frozenset(('CPU', 'GPU')), lacking.append).rewrite])._graph
  assert lacking == ['MatMul'] and all(node.op != 'Cast' for node in graphs.nodes(graph))
  with device.device_place(runtime_config.RuntimeConfig(runtime='device', devices=('CPU',), math='float16')) as place:
    monkeypatch.setattr(low_types, '_has_kernel', lambda *_: False)
    for _ in range(2):
      square(np.eye(2, dtype=np.float32))
    faults = [(fault.worker, fault.reason) for fault in place.take_faults()]
  assert faults == [('CPU:0', 'TensorFlow has no kernel of MatMul in float16 for CPU:0: it runs in float32.')]


def test_real_kernels_are_looked_up():
  half, brain, string = (kind.as_datatype_enum for kind in (tf.float16, tf.bfloat16, tf.string))
  for operation in low_types.PRODUCTS - {'BatchMatMul'}:
    assert low_types._has_kernel(operation, 'CPU', half) and low_types._has_kernel(operation, 'CPU', brain), operation
    assert not low_types._has_kernel(operation, 'CPU', string)
    assert not low_types._has_kernel(operation, 'TPU', half)


def step_of(scale):
  """Returns a computation of (model, examples, size): one step along a loss that is multiplied by `size`."""
  task = tiny.task(sizes=(4,), client_epochs=1, loss_scale=scale)

  @tff.tensorflow.computation(task.weights_type, tff.SequenceType(
      tff.types.tensorflow_to_type(task.batch_reader.element_spec)), np.float32)
  def train(weights, dataset, size):
    found = local_steps.descend(task, optimizers.PlainSgd(1 / size), weights, dataset,
                                loss=lambda model, x, y, outputs: size * task.loss_fn(y, outputs))
    return found.update()[0], found.metrics['skipped']

  examples = task.images.train.examples(0)
  element = task.batch_reader.element(examples.x, examples.y, seed=0)
  return lambda kind, size: run(train, task.initial_weights(), element, np.float32(size), kind=kind)


def test_small_gradients_vanish_in_float16_unless_the_loss_is_scaled():
  unscaled, dynamic, large = (step_of(scale) for scale in (None, 'dynamic', '16777216'))
  exact = unscaled(None, 1e-9)[0]
  assert np.abs(exact).max() > 0.01
  assert not unscaled('float16', 1e-9)[0].any()
  found, skipped = dynamic('float16', 1e-9)
  np.testing.assert_allclose(found, exact, atol=0.03 * np.abs(exact).max())
  assert skipped == 0
  # Beyond the range of float16 nothing is trained, and it is counted.
  found, skipped = large('float16', 1.0)
  assert not found.any() and skipped == 1
  found, skipped = large('float16', 1e-9)
  assert found.any() and skipped == 0


def clipped_total(clip, *, ghost):
  """Returns a computation of one image: the clipped gradient of its loss, which is far longer than the clip."""
  loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction='none')

  @tff.tensorflow.computation(tff.TensorType(np.float32, [1, 4, 4, 1]))
  def total(x):
    tf.random.set_seed(0)
    model = tf.keras.Sequential([L.Input((4, 4, 1)), L.Conv2D(4, 2), L.Flatten(), L.Dense(3)])
    for place, weight in enumerate(model.trainable_variables):
      weight.assign(tf.random.stateless_normal(weight.shape, (place, 0)))

    @tf.function
    def clipped_sum():
      found = clipped.clipped_sum(model, loss, x, tf.constant([1]), tf.constant(clip, tf.float64),
                                  tf.ones([1], tf.float64), ghost=ghost, copies=1)
      return found.gradients
    return clipped_sum()
  return total


def norms_of_clipped(of, total):
  """Returns the norms of `of(total, image)` for some images."""
  images = (np.random.default_rng(seed).normal(size=(1, 4, 4, 1)).astype(np.float32) for seed in range(5))
  return np.array([np.linalg.norm(tiny_experiments.flat(of(total, x)).astype(np.float64)) for x in images])


@pytest.mark.parametrize('ghost', [True, False])
def test_private_sgd_keeps_its_clip_in_bfloat16(ghost):
  clip = 1e-3
  total = clipped_total(clip, ghost=ghost)
  graph = program_lib.Program(test_leaf.message(total), [low('bfloat16').rewrite])._graph
  assert any(node.attr['T'].type == tf.bfloat16.as_datatype_enum for node in graphs.nodes(graph))
  norms = norms_of_clipped(functools.partial(run, kind='bfloat16'), total)
  assert (0.99 * clip < norms).all() and (norms <= clip).all()


@pytest.mark.ci
@pytest.mark.parametrize('algorithm', ['scaffold', 'fedrep'])
def test_algorithms_train_in_float16_as_in_float32(algorithm):
  found = {}
  for math in ('float32', 'float16'):
    place = runtime_config.RuntimeConfig(runtime='device', devices=('CPU',), math=math)
    with device.device_place(place):
      made = tiny_experiments.experiment(algorithm, builder=tiny.two_layers, client={'loss_scale': 'dynamic'})
      model, _, measured = tiny_experiments.train(made.prepare())
      found[math] = model
      assert measured['skipped_steps'] == 0
  assert 0 < np.abs(found['float16'] - found['float32']).max() < 0.01


@pytest.mark.ci
def test_digits_are_learned_as_well(tmp_path):
  accuracy = {}
  for math in runtime_config.MATHS:
    config = configs.ExperimentConfig(
        data=configs.DataConfig(dataset='digits', num_clients=10),
        client=configs.ClientConfig(loss_scale='dynamic' if math == 'float16' else None),
        program=configs.ProgramConfig(rounds=8, rounds_per_evaluation=8), cohort=configs.CohortConfig(cohort_size=10))
    result = tv.Experiment.from_config(config, runtime=runtime_config.RuntimeConfig(
        runtime='device', devices=('CPU',), math=math)).run(tmp_path / math)
    accuracy[math] = result.report['evaluation']['accuracy']
  assert accuracy['float32'] > 0.9
  assert max(accuracy.values()) - min(accuracy.values()) <= 0.01, accuracy
