"""Several clients in one call: each operation, loop and condition gives each client what it gives alone."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
from tensorflow.python.framework import op_def_registry

from tests.learning import tiny_experiments
from tests.runtime.device import test_catalogue_rounds, test_leaf, test_low_types
from tff_vision import experiment
from tff_vision.configs import runtime_config
from tff_vision.data import one_element
from tff_vision.runtime.device import copies, lanes, leaf, stacked_leaf, stacking, stacking_rules, values
from tff_vision.runtime.device import program as program_lib
from tff_vision.runtime.driver import device

HERE = lanes.Lane('CPU:0', 0)
COUNT = 3
RNG = np.random.default_rng(4)
A, B, V = (np.float32(RNG.normal(size=(COUNT, *shape))) for shape in ((4, 5), (5, 2), (5,)))
IMAGES = np.float32(RNG.normal(size=(COUNT, 2, 6, 6, 3)))
NUMBERS = np.int32(RNG.integers(0, 4, (COUNT, 4)))
FIXED, KERNEL = np.float32(RNG.normal(size=(4, 5))), np.float32(RNG.normal(size=(3, 3, 3, 2)))
raw = tf.raw_ops


def program_of(of, given, *, compiled=False):
  """Returns a program of one client's tensors, as TFF's compiler optimises it or as it was written."""
  @tff.tensorflow.computation([tff.TensorType(one.dtype.type, one.shape[1:]) for one in given])
  def computation(client):
    return tuple(tf.nest.flatten(of(*client)))
  return program_lib.Program(test_leaf.message(computation, compiled=compiled))


def assert_same(of, given, **more):
  """Checks that each client gets in one call what it gets alone."""
  program = program_of(of, given, **more)
  arguments = [[tf.constant(one) for one in client] for client in zip(*given, strict=True)]
  alone = [leaf.Leaf(program, 'CPU:0')(client) for client in arguments]
  together = stacked_leaf.StackedLeaf(program, 'CPU:0', [False] * len(given), COUNT).of_clients(arguments)
  assert len(alone) == len(together) == COUNT and len(alone[0]) > 0
  for expected, found in zip(alone, together, strict=True):
    for one, other in zip(expected, found, strict=True):
      assert one.dtype == other.dtype
      np.testing.assert_allclose(other, one, rtol=2e-5, atol=2e-6)


def operations(of, given, **more):
  """Returns the operations of the graph for all clients, and whether each of its results differs between clients."""
  program = program_of(of, given, **more)
  graph = program.part(program.results, '')
  made = stacking.stack(graph, [name.partition(':')[0] for name in program.parameters], program.results, COUNT)
  return collections.Counter(node.op for node in made.graph.node), made.is_stacked


# Operation -> (function of one client, the clients' tensors). The last ones have no rule.
RULED = {
    'Softmax': (tf.nn.softmax, (A,)), 'AddN': (lambda a: tf.add_n([a, FIXED, a * a]), (A,)),
    'ReluGrad': (lambda a: raw.ReluGrad(gradients=a, features=FIXED), (A,)),
    'Mul of other ranks': (lambda a, v: a * v + FIXED - v[:, None, None], (A, V)),
    'Mul with a number': (lambda a, v: a * v[0], (A, V)), 'SelectV2': (lambda a, v: tf.where(v > 0, a, FIXED), (A, V)),
    'BatchMatMulV2': (lambda a, b: tf.matmul(a[None], b[None]), (A, B)),
    'Sum': (lambda a: [tf.reduce_sum(a, 0), tf.reduce_sum(a, -1, keepdims=True), tf.reduce_sum(a)], (A,)),
    'Any': (lambda a: [tf.reduce_any(a > 1, 1), tf.reduce_max(a, [0, 1]), tf.reduce_mean(a, []),
                       tf.reduce_all(a < 1, 0), tf.reduce_min(a, -1), tf.reduce_prod(a, [0, -1])], (A,)),
    'MaxPool': (lambda x: tf.nn.max_pool2d(x, 2, 2, 'VALID'), (IMAGES,)),
    'MaxPoolGrad': (lambda x: tf.gradients(tf.nn.max_pool2d(x, 2, 2, 'VALID') ** 2, x), (IMAGES,)),
    'ResizeBilinear': (lambda x: tf.image.resize(x, [4, 9]), (IMAGES,)),
    'Conv2D, one kernel': (lambda x: tf.nn.conv2d(x, KERNEL, 1, 'SAME'), (IMAGES,)),
    'SparseSoftmaxCrossEntropyWithLogits': (
        lambda a, y: tf.nn.sparse_softmax_cross_entropy_with_logits(y, a), (A, NUMBERS)),
    'SoftmaxCrossEntropyWithLogits': (
        lambda a: [tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(FIXED[:rows]), a) for rows in (4, 1)], (A,)),
    'MatMul': (lambda a, b: [a @ b, tf.matmul(b, a, transpose_a=True, transpose_b=True)], (A, B)),
    'MatMul, one factor': (lambda a: [a @ FIXED[:2].T, tf.matmul(FIXED, a, transpose_b=True)], (A,)),
    'BiasAdd': (lambda a, v: [tf.nn.bias_add(a, v), tf.nn.bias_add(tf.constant(FIXED), v),
                              tf.nn.bias_add(a, FIXED[0])], (A, V)),
    'BiasAddGrad': (lambda x: raw.BiasAddGrad(out_backprop=x), (IMAGES,)), 'L2Loss': (tf.nn.l2_loss, (IMAGES,)),
    'ArgMax': (lambda a: [tf.argmax(a, 1), tf.argmax(a, 0), tf.argmin(a, -1)], (A,)),
    'TopKV2': (lambda a: tuple(tf.math.top_k(a, 2)), (A,)),
    'Reshape': (lambda a: [tf.reshape(a, [-1, 2]), tf.reshape(a, [tf.size(a)])], (A,)),
    'ExpandDims': (lambda a: [a[None], tf.expand_dims(a, -1)], (A,)),
    'Transpose': (lambda a: tf.transpose(a, [1, 0]), (A,)), 'Tile': (lambda a: tf.tile(a, [2, 3]), (A,)),
    'Pad': (lambda a: [tf.pad(a, [[1, 0], [2, 3]]), tf.pad(a, [[1, 1], [1, 1]], constant_values=7.0),
                       tf.pad(a, [[1, 1], [1, 1]], 'REFLECT')], (A,)),
    'ConcatV2': (lambda a: [tf.concat([a, FIXED], 0), tf.concat([FIXED, a], -1)], (A,)),
    'Pack': (lambda a: [tf.stack([a, FIXED]), tf.stack([a, FIXED], -1)], (A,)),
    'Unpack': (lambda a: [*tf.unstack(a), *tf.unstack(a, axis=-1)], (A,)),
    'StridedSlice': (lambda a: [a[1], a[:, 1:4:2], a[..., -1], a[::-1, None]], (A,)),
    'Slice': (lambda a: [tf.slice(a, [1, 2], [-1, 2]), tf.slice(a, [0, 0], [2, 5])], (A,)),
    'GatherV2': (lambda a, y: [tf.gather(a, y), tf.gather(a, y, axis=1), tf.gather(FIXED, y), tf.gather(a, [2, 0])],
                 (A, NUMBERS)),
    'OneHot': (lambda y: tf.one_hot(y, 4), (NUMBERS,)),
    'Cumsum': (lambda a: [tf.cumsum(a, 0), tf.cumsum(a, -1, reverse=True), tf.math.cumprod(a, 1)], (A,)),
    'EnsureShape': (lambda a: tf.ensure_shape(a, [4, None]), (A,)),
    'Shape': (lambda a: [raw.Shape(input=a), raw.Size(input=a), raw.Rank(input=a),
                         raw.Shape(input=a, out_type=tf.int64), raw.Size(input=a, out_type=tf.int64),
                         *raw.ShapeN(input=[a, FIXED[0]])], (A,)),
    'StridedSliceGrad': (lambda a: tf.gradients(a[1:, :3] ** 2, a), (A,)),
    'Conv2D': (lambda x: tf.nn.conv2d(x, x[0, :3, :3, :, None] * [1.0, 2], 1, 'SAME'), (IMAGES,)),
    'Conv2DBackpropFilter': (
        lambda x, a: tf.gradients(tf.nn.conv2d(x, KERNEL * a[0, 0], 1, 'SAME') ** 2, a), (IMAGES, A)),
    'OneHot, first axis': (lambda y: tf.one_hot(y, 4, axis=0), (NUMBERS,)),
    'GatherV2, batches': (lambda a, y: tf.gather(a, y[:, None], batch_dims=1), (A, NUMBERS)),
    'Einsum': (lambda a, b: tf.einsum('ij,jk->ki', a, b), (A, B)),
    'stateless numbers': (lambda y: tf.random.stateless_normal([3], y[:2]), (NUMBERS,)),
    'StridedSlice at places of its own': (lambda a, y: a[y[0]], (A, NUMBERS)),
}


@pytest.mark.parametrize('name', RULED)
def test_an_operation_gives_each_client_its_own_result(name):
  assert_same(*RULED[name])


def numbers_by_number(operation):
  """Yields cases of an operation whose operands are numbers, or else whole numbers or truth values, of one shape."""
  names = [one.name for one in op_def_registry.get(operation).input_arg]
  more = {'DstT': tf.int32} if operation == 'Cast' else {}
  of = lambda *one: getattr(raw, operation)(**dict(zip(names, one, strict=True)), **more)
  for kind in (np.abs(A) + 0.5, np.int32(10 * np.abs(A)) + 1, A > 0):
    own, fixed = [kind, kind[::-1]][:len(names)], kind[0]
    try:
      program_of(of, own)
    except (TypeError, ValueError):
      continue
    yield of, own
    if len(names) == 2:
      yield lambda one, fixed=fixed: [of(one, fixed), of(fixed, one)], own[:1]
    return


NUMBERS_BY_NUMBER = {*stacking_rules.OF_ONE, *stacking_rules.ALIKE, *stacking_rules.BROADCAST} - {*RULED, 'AddN'}


@pytest.mark.parametrize('operation', sorted(NUMBERS_BY_NUMBER))
def test_an_operation_on_numbers_gives_each_client_its_own(operation):
  cases = list(numbers_by_number(operation))
  assert cases
  for of, given in cases:
    assert_same(of, given)


def test_every_rule_is_in_a_case():
  found = set(NUMBERS_BY_NUMBER)
  for of, given in RULED.values():
    program = program_of(of, given)
    found |= {node.op for node in program.part(program.results, '').node}
  alike = {'AvgPool', 'LRN', 'ResizeNearestNeighbor', 'DepthwiseConv2dNative'}  # As MaxPool, ResizeBilinear, Conv2D.
  assert {*stacking_rules.RULES} - alike <= found


def test_operations_with_a_rule_run_once_for_all():
  found, is_stacked = operations(lambda a, b: [tf.nn.relu(a @ b) + 1, raw.Shape(input=a)], (A, B))
  assert found['BatchMatMulV2'] == 1 and not {'MatMul', 'Unpack', 'Pack'} & set(found)
  assert is_stacked == [True, False]


def steps(count):
  """Returns a function with a loop whose body mixes what clients share with what they do not."""
  def of(x):
    own = tf.Variable(tf.zeros([5]))

    @tf.function
    def run(x):
      shared, grows = tf.constant(1.0), tf.constant(2.0)
      for step in tf.range(count(x)):
        own.assign_add(x[step % 4] * shared)
        shared *= 2.0
        grows += tf.reduce_sum(own)  # The same for all before the first step only.
      return own.read_value(), shared, grows
    return run(x)
  return of


def test_clients_share_a_loop_and_have_variables_of_their_own_in_it():
  of = steps(lambda x: tf.shape(x)[0] + 2)
  assert_same(of, (A,), compiled=True)
  found, is_stacked = operations(of, (A,), compiled=True)
  assert found['LoopCond'] == 1 and is_stacked == [True, False, True]


def test_a_loop_with_other_numbers_of_steps_is_not_shared():
  with pytest.raises(stacking.CannotStack, match='numbers of steps'):
    operations(steps(lambda x: tf.cast(4 + x[0, 0], tf.int32)), (A,), compiled=True)


@pytest.mark.parametrize('bound', [-2.0, 99.0, -99.0])
def test_each_client_goes_its_own_way_at_a_condition(bound):
  ways = list(zip(A.sum((1, 2)) > -2, A[:, 0, 0] > 0, strict=True))
  assert ways == [(True, False), (False, False), (True, True)]

  @tf.function
  def chosen(a):
    found, count = tf.zeros_like(a), 1.0
    if tf.reduce_sum(a) > bound:
      found = a if a[0, 0] > 0 else -a
      count = 2.0
    return found, count
  assert_same(chosen, (A,), compiled=True)
  assert 'Switch' not in operations(chosen, (A,), compiled=True)[0]


def test_a_condition_that_all_share_stays_one():
  @tf.function
  def chosen(a):
    return tf.exp(a) if tf.size(a) > 3 else tf.zeros([4, 5])

  of = lambda a: chosen(tf.reshape(a, [tf.shape(a)[0], -1]))
  assert_same(of, (A,), compiled=True)


def written_by_some(a):
  kept = tf.Variable(1.0)

  @tf.function
  def run(a):
    if a[0, 0] > 0:
      kept.assign(a[0, 1])
    return kept.read_value()
  return run(a)


def rate_of_its_own(a):
  kept = tf.Variable(tf.zeros([4, 5]))

  @tf.function
  def run(a):
    tf.raw_ops.ResourceApplyGradientDescent(var=kept.handle, alpha=a[0, 0], delta=a)
    return kept.read_value()
  return run(a)


@pytest.mark.parametrize(('of', 'reason'), [
    (lambda a: a + tf.random.normal([5]), 'has a state'), (lambda a: a + tf.random.normal([5], seed=3), 'has a state'),
    (written_by_some, 'for some clients only'), (rate_of_its_own, 'for each client')])
def test_what_a_call_cannot_give_to_each_client_is_refused(of, reason):
  with pytest.raises(stacking.CannotStack, match=reason):
    operations(of, (A,), compiled=True)


def test_ways_that_no_single_condition_tells_apart_are_refused():
  def of(a):
    other = tf.raw_ops.Switch(data=a + 1, pred=a[0, 1] > 0)
    return tf.raw_ops.Merge(inputs=[tf.raw_ops.Switch(data=a, pred=a[0, 0] > 0).output_true, other.output_false]).output
  with pytest.raises(stacking.CannotStack, match='different ones'):
    operations(of, (A,))


def test_a_choice_between_several_functions_is_refused():
  chosen = tf.function(lambda a, y: tf.switch_case(y[0] % 3, [lambda: a, lambda: a * 2, lambda: a + 7]),
                       autograph=False)
  with pytest.raises(stacking.CannotStack, match='different ones'):
    operations(chosen, (A, NUMBERS), compiled=True)


@pytest.mark.parametrize('ways', [
    lambda a: (a, tf.reduce_mean(a, 0, keepdims=True)), lambda a: (a[0, :1], a[0, :3]), lambda a: (a[0, 0], a[0, :3])])
def test_ways_of_different_shapes_are_not_broadcast(ways):
  assert sorted(set(A[:, 0, 0] > 0)) == [False, True]
  of = tf.function(lambda a: tf.reduce_sum(tf.cond(
      a[0, 0] > 0, lambda: ways(a)[0], lambda: ways(a)[1])), autograph=False)
  with pytest.raises((stacking.CannotStack, ValueError, tf.errors.InvalidArgumentError)):
    assert_same(of, (A,), compiled=True)


@pytest.mark.parametrize('error', [ValueError('no'), TypeError('no'), NotImplementedError('no')])
def test_an_operation_that_its_rule_cannot_build_is_refused(error, monkeypatch):
  def fails(*arguments):
    raise error
  monkeypatch.setitem(stacking_rules.RULES, 'Transpose', fails)
  with pytest.raises(stacking.CannotStack, match='no'):
    operations(lambda a: tf.transpose(a), (A,))


# Calls: who shares them.

ELEMENT = {'x': tf.TensorSpec([None, 2], tf.float32)}


@tff.tensorflow.computation(tff.TensorType(np.float32, [2]), tff.SequenceType(tff.types.tensorflow_to_type(ELEMENT)))
def weighed(shared, data):
  total = tf.Variable(tf.zeros([2]))

  @tf.function
  def run(x):
    total.assign_add(shared * tf.reduce_sum(x, 0))
    return total.read_value(), tf.shape(x)[0]
  return run(tf.data.Dataset.get_single_element(data)['x'])


@pytest.fixture
def sizes_of_calls(monkeypatch):
  """Returns the numbers of clients of all calls that several share."""
  found, of_clients = [], stacked_leaf.StackedLeaf.of_clients

  def noted(self, arguments):
    result = of_clients(self, arguments)
    found.append(len(arguments))
    return result

  monkeypatch.setattr(stacked_leaf.StackedLeaf, 'of_clients', noted)
  return found


def called(program, sizes, told=None, shared=(1.0, 2.0), computation=weighed):
  kind, shared = computation.type_signature.parameter, np.float32(shared)
  first = values.embed((shared, element(2)), kind)
  data = [element(size, seed) for seed, size in enumerate(sizes)]
  arguments = [tff.structure.Struct.unnamed(first[0], one) for one in data]
  found = program.call_several(test_leaf.message(computation), arguments, HERE)
  for (total, count), one, size in zip(found, data, sizes, strict=True):
    np.testing.assert_allclose(total, shared * one.values['x'].sum(0), rtol=1e-5)
    assert count == size


def element(size, seed=0):
  return one_element.OneElement({'x': np.float32(np.random.default_rng(seed).normal(size=(size, 2)))}, ELEMENT)


def test_clients_with_tensors_of_the_same_shapes_share_a_call(sizes_of_calls):
  program = copies.Copies(most_clients=8)
  called(program, [3, 4, 3, 5, 3, 4])
  assert sorted(sizes_of_calls) == [2, 3]
  called(program, [3, 4, 3, 5, 3, 4])  # The variables begin anew.
  program.close()


@pytest.mark.parametrize('error', [
    stacking.CannotStack('no reason'), tf.errors.ResourceExhaustedError(None, None, 'OOM when allocating'),
    tf.errors.InvalidArgumentError(None, None, 'Shapes of all inputs must match')])
def test_where_a_call_fails_clients_are_computed_one_after_the_other(error, monkeypatch):
  said, tries = [], []

  def failing(self, arguments):
    tries.append(len(arguments))
    raise error

  monkeypatch.setattr(stacked_leaf.StackedLeaf, 'of_clients', failing)
  program = copies.Copies(most_clients=8, told=said.append)
  for _ in range(2):
    called(program, [3, 3, 3])
  assert said == [str(getattr(error, 'message', error))] and tries == [3]
  assert not [copy for copy in program.leaves() if isinstance(copy, stacked_leaf.StackedLeaf)]  # Its memory is free.


# Rounds.

def flat(trainer, state):
  return tiny_experiments.flat(trainer.weights(state).trainable)


def place_of(**fields):
  return device.device_place(runtime_config.RuntimeConfig(runtime='device', devices=('CPU',), **fields))


@pytest.mark.parametrize(('fields', 'allowed'), [({}, 1e-6), *(pytest.param(*one, marks=pytest.mark.ci) for one in (
    ({'clients_per_device': 1}, 1e-6), ({'jit': True}, 1e-5), ({'math': 'bfloat16'}, 1e-2),
    ({'math': 'bfloat16', 'jit': True}, 1e-2)))])
def test_rounds_train_the_same_model_whoever_shares_a_call(fields, allowed, sizes_of_calls):
  found = []
  for stacked in (1, 8):
    with place_of(**fields, stacked_clients=stacked) as place:
      trainer = tiny_experiments.experiment(
          'fedavg', builder=test_low_types.convolutions, sizes=(8, 8, 8, 12, 12, 7, 8)).prepare(place)
      state = trainer.begin()
      before = flat(trainer, state)
      for round_num in (1, 2):
        state = trainer.next(state, round_num, range(7)).state
      found.append(flat(trainer, state))
      assert not place.take_faults()
  assert sorted(sizes_of_calls) == [2, 2, 4, 4]
  assert np.abs(found[0] - before).max() > 5 * allowed
  np.testing.assert_allclose(found[1], found[0], rtol=0, atol=allowed)


@pytest.mark.parametrize('name', [pytest.param(name, marks=() if name == 'scaffold' else pytest.mark.ci)
                                  for name in sorted(test_catalogue_rounds.CASES)])
def test_the_model_is_the_same_for_every_row_of_the_catalogue(name, tmp_path, known_keys, sizes_of_calls):
  config, found, faults = config_of(name, tmp_path), [], []
  made = experiment.from_config(config)
  for stacked in (1, 4):
    before, after = trained(made, config, stacked, faults)
    found.append(after)
  assert sizes_of_calls and not faults
  allowed = 3e-3 if config.privacy.privacy != 'none' else test_catalogue_rounds.allowed(config)
  assert np.abs(found[0] - before).max() > 2 * allowed
  np.testing.assert_allclose(found[1], found[0], rtol=0, atol=allowed)


@pytest.mark.ci
@pytest.mark.parametrize('name', ['example_dp_sgd', 'example_distributed', 'local_dp'])
def test_clients_that_draw_noise_from_the_kernels_numbers_share_no_call(name, tmp_path, sizes_of_calls):
  config, faults = config_of(name, tmp_path), []
  trained(experiment.from_config(config), config, 4, faults)
  assert [fault.reason[:17] for fault in faults] == ['--stacked_clients'] and not sizes_of_calls


def config_of(name, folder):
  # With this seed, clients of ifca train the model that is looked at.
  return test_catalogue_rounds.config_of({**test_catalogue_rounds.CASES[name], 'partition': 'iid', 'seed': 1}, folder)


def trained(made, config, stacked, faults):
  """Returns the weights before and after some rounds."""
  with place_of(clients_per_device=1, stacked_clients=stacked) as place:
    found = test_catalogue_rounds.trained(made.prepare(place), config.algorithm.algorithm)
    faults.extend(place.take_faults())
  return found
