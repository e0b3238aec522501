"""Passes of training that XLA compiles: what is compiled, and that models and promises are the same."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
from tensorflow.python.eager import context

from tests import forked, tiny
from tests.learning import tiny_experiments
from tests.runtime import graphs
from tests.runtime.device import test_catalogue_rounds, test_leaf, test_low_types
from tff_vision import experiment, passes
from tff_vision.configs import runtime_config
from tff_vision.runtime.device import compiling
from tff_vision.runtime.device import program as program_lib
from tff_vision.runtime.driver import device


@pytest.fixture
def executed():
  """Returns a function that counts the operations that TensorFlow has run since the last call, after its passes."""
  eager = context.context()
  eager.enable_run_metadata()
  yield lambda: collections.Counter(
      node.op for graph in eager.export_run_metadata().partition_graphs for node in graph.node)
  eager.disable_run_metadata()


def compiled(computation, *arguments, kind=None):
  return test_low_types.run(computation, *arguments, kind=kind, more=[compiling.compile_passes])


@pytest.mark.parametrize('kind', [None, 'float16'])
def test_a_step_of_training_is_one_compiled_cluster_and_the_step_itself_is_not_in_it(executed, kind):
  task = tiny.task(test_low_types.convolutions)
  train = test_low_types.trained_beside_products(task)
  element = task.batch_reader.element(*(getattr(task.images.train.examples(1), part) for part in 'xy'), seed=1)
  start = task.initial_weights()
  expected, other = test_low_types.run(train, start, element, kind=kind)
  assert not executed()['_XlaCompile']
  found, products = compiled(train, start, element, kind=kind)
  ran = executed()
  assert ran['_XlaCompile'] == ran['_XlaRun'] == 1
  # The two products outside; those of the pass are within the cluster.
  assert sum(count for op, count in ran.items() if 'MatMul' in op or 'Conv' in op) == 2
  assert ran['ResourceApplyGradientDescent'] == len(start.trainable)
  allowed = 1e-6 if kind is None else 2e-3
  np.testing.assert_allclose(tiny_experiments.flat(found), tiny_experiments.flat(expected), rtol=0, atol=allowed)
  np.testing.assert_allclose(tiny_experiments.flat(products), tiny_experiments.flat(other), rtol=0, atol=allowed * 10)


def test_functions_that_marked_nodes_call_are_compiled_with_them(executed):
  @tf.function(autograph=False)
  def product(x):
    return tf.matmul(x, x)

  @tff.tensorflow.computation(tff.TensorType(np.float32, [3, 3]))
  def both(x):
    with passes.training_pass():
      marked = product(x)
    return marked, product(2 * x)

  x = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
  marked, unmarked = compiled(both, x)
  assert executed()['_XlaCompile'] == 1
  np.testing.assert_allclose(marked, x @ x, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(unmarked, 4 * x @ x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('ghost', [True, False])
def test_the_clip_of_private_sgd_holds_whatever_the_compiler_rounds(executed, ghost):
  clip = 1e-3
  norms = test_low_types.norms_of_clipped(compiled, test_low_types.clipped_total(clip, ghost=ghost))
  assert executed()['_XlaCompile']
  assert (0.99 * clip < norms).all() and (norms <= clip).all()


def in_pass(of, *arguments):
  """Returns what `of` returns in a pass, without and with XLA."""
  @tff.tensorflow.computation(*(tff.TensorType(one.dtype.type, one.shape) for one in arguments))
  def computation(x):
    @tf.function(autograph=False)
    def run(x):
      with passes.training_pass():
        return of(x)
    return run(x)

  return test_low_types.run(computation, *arguments), compiled(computation, *arguments)


def test_what_is_not_a_number_stays_it(executed):
  x = np.array([np.nan, np.inf, -1, 7], np.float32)
  expected, found = in_pass(
      lambda x: [tf.nn.relu6(x), tf.reduce_max(x), tf.clip_by_value(x, 0, 1), tf.reduce_min(x)], x)
  assert executed()['_XlaCompile']
  for before, after in zip(expected, found, strict=True):
    np.testing.assert_array_equal(after, before)
  assert np.isnan(found[0][0]) and np.isnan(found[1])


_OPENS = """
import os
os.environ.pop('XLA_FLAGS', None)
import tensorflow as tf
import tff_vision as tv
BEFORE
try:
  with tv.open_runtime(tv.RuntimeConfig(runtime='device', devices=('CPU',), jit=True)):
    print(tf.function(tf.nn.relu6, jit_compile=True)(tf.constant([float('nan'), 7.0])).numpy())
except ValueError as error:
  print(error)
"""


@pytest.mark.parametrize(('before', 'said'), [
    ('', '[nan  6.]'),
    ('tf.function(tf.nn.relu, jit_compile=True)(1.0)', 'before the program begins'),
    ("os.environ['XLA_FLAGS'] = '--xla_cpu_enable_fast_min_max=true'", 'before the program begins')])
def test_a_program_in_which_xla_drops_nan_is_refused(before, said):
  done = forked.run(['-c', _OPENS.replace('BEFORE', before)], timeout=100)
  assert said in done.stdout, done


def test_random_numbers_are_not_those_of_xla(executed):
  def draws(seed):
    @tf.function(autograph=False, experimental_attributes={'_noinline': True})
    def called(seed):
      return 2 * tf.random.stateless_normal([5], seed)
    either = tf.cond(seed[0] > 0, lambda: tf.random.stateless_uniform([5], seed), lambda: tf.zeros([5]))
    looped = tf.while_loop(
        lambda i, _: i < 2, lambda i, total: (i + 1, total + tf.random.stateless_uniform([5], seed + i)),
        (0, tf.zeros([5])))[1]
    return [tf.sqrt(tf.random.stateless_uniform([5], seed)), called(seed), either, looped,
            tf.random.stateless_truncated_normal([5], seed),
            tf.random.experimental.stateless_shuffle(tf.range(9), seed)]

  expected, found = in_pass(draws, np.array([3, 7], np.int32))
  assert executed()['_XlaCompile']
  for before, after in zip(expected, found, strict=True):
    np.testing.assert_allclose(after, before, rtol=1e-6)


def test_what_is_not_marked_is_kept_from_the_compiler():
  """Also if a user has told TensorFlow to compile what it likes, for example by TF_XLA_FLAGS."""
  @tff.tensorflow.computation(tff.TensorType(np.float32, [3]))
  def both(x):
    @tf.function(autograph=False)
    def run(x):
      with passes.training_pass():
        marked = tf.tanh(x)
      return marked / tf.maximum(tf.norm(marked), 1e-3) + tf.random.stateless_normal([3], [1, 2])
    return run(x)

  graph = program_lib.Program(test_leaf.message(both, compiled=False), [compiling.compile_passes])._graph
  asked = {node.op: node.attr['_XlaCompile'] for node in graphs.nodes(graph)}
  assert all(value.HasField('b') for value in asked.values())
  assert {op for op, value in asked.items() if value.b} == {'Tanh'}


def test_a_pass_that_xla_cannot_compile_is_one_sentence(monkeypatch):
  # The number of rows is not known when XLA compiles.
  with pytest.raises(ValueError, match=r'^--jit: XLA cannot compile .*compile-time constant.*Train without --jit'):
    in_pass(lambda x: tf.tile(x, tf.stack([tf.size(tf.where(x > 0)) // 2, 1])), np.ones([4, 3], np.float32))
  with pytest.raises(tf.errors.InvalidArgumentError):  # It is not XLA that fails.
    in_pass(lambda x: tf.debugging.check_numerics(x, 'no number'), np.array([np.nan], np.float32))
  for error in (tf.errors.InternalError, tf.errors.UnimplementedError, tf.errors.InvalidArgumentError):
    said = ('Graph execution error:\n\nlibdevice not found at ./libdevice.10.bc\n\t '
            '[[{{node cluster_0_1/xla_compile}}]]')
    with pytest.raises(compiling.CannotCompile, match='libdevice not found') as raised, compiling.explained():
      raise error(None, None, said)
    assert '\n' not in str(raised.value)
  with pytest.raises(tf.errors.ResourceExhaustedError), compiling.explained():  # A lane ends, and the run goes on.
    raise tf.errors.ResourceExhaustedError(None, None, '[[{{node cluster_0_1/xla_run}}]]')
  monkeypatch.setattr(device.visible, 'choose', lambda *_: ['GPU:0'])
  monkeypatch.setattr(compiling.cuda_compiler, 'files', lambda *_: {'ptxas': None, 'libdevice.10.bc': None})
  with (pytest.raises(ValueError, match='jit=True needs ptxas and libdevice.10.bc of CUDA 11.8 on a GPU'),
        device.device_place(runtime_config.RuntimeConfig(runtime='device', jit=True))):
    pass


@pytest.mark.ci
@pytest.mark.parametrize('name', ['example_dp_sgd', 'fedbn', 'masks', 'scaffold'])
def test_the_model_is_the_same(name, tff_runtime, tmp_path, known_keys):
  config = test_catalogue_rounds.config_of(test_catalogue_rounds.CASES[name], tmp_path)
  made = experiment.from_config(config)
  before, expected = test_catalogue_rounds.trained(made.prepare(tff_runtime), config.algorithm.algorithm)
  with device.device_place(runtime_config.RuntimeConfig(runtime='device', devices=('CPU',), jit=True)) as place:
    _, found = test_catalogue_rounds.trained(made.prepare(place), config.algorithm.algorithm)
  allowed = 10 * test_catalogue_rounds.allowed(config)
  assert np.abs(expected - before).max() > 2 * allowed
  np.testing.assert_allclose(found, expected, rtol=0, atol=allowed)
