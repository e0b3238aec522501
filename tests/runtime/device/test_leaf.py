"""TensorFlow computations of TFF in this process: what they return, what they remember, and who shares it."""

import collections
import concurrent.futures

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.data import one_element
from tff_vision.runtime.device import copies, lanes, values
from tff_vision.runtime.device import program as program_lib
from tff_vision.runtime.tff_internals import compilation

HERE, THERE = lanes.Lane('CPU:0', 0), lanes.Lane('CPU:0', 1)
ELEMENT = {'x': tf.TensorSpec([None, 2], tf.uint8), 'seed': tf.TensorSpec([], tf.int64)}


def message(computation, *, compiled=True):
  """Returns the serialized graph, as TFF's compiler optimises it or as it was written."""
  block = (compilation.native_form(computation) if compiled else computation).to_building_block()
  return block.proto.tensorflow


def call(computation, *arguments, compiled=True):
  kind = computation.type_signature.parameter
  argument = None if kind is None else values.embed(arguments if len(arguments) > 1 else arguments[0], kind)
  found = copies.Copies().call(message(computation, compiled=compiled), argument, HERE)
  return values.fetch(found, computation.type_signature.result)


@pytest.fixture(params=(True, False), ids=('compiled', 'as_written'))
def compiled(request):
  return request.param


def test_results_have_the_structure_and_the_values_of_the_computation(compiled):
  @tff.tensorflow.computation([('a', np.float32), ('b', (np.int32, (np.str_, [2])))], np.bool_)
  def mixed(pair, unused):
    del unused
    return collections.OrderedDict(same=pair['b'][1], sum=pair['a'] + tf.cast(pair['b'][0], tf.float32), twice=(
        pair['b'][0], pair['b'][0]))
  found = call(mixed, collections.OrderedDict(a=1.5, b=(2, ['x', 'y'])), True, compiled=compiled)
  assert list(found.same) == [b'x', b'y'] and found.sum == 3.5 and list(found.twice) == [2, 2]
  assert found.sum.dtype == np.float32


def test_variables_begin_each_call_with_their_initial_values(compiled):
  @tff.tensorflow.computation(np.float32)
  def counted(x):
    total, start = tf.Variable(5.0), tf.Variable(x)

    @tf.function
    def run():
      total.assign_add(x)
      return total.read_value(), start.read_value()
    return run()
  program = copies.Copies()
  graph, kind = message(counted, compiled=compiled), counted.type_signature
  for x in (1.0, 2.0):
    found = values.fetch(program.call(graph, values.embed(x, kind.parameter), HERE), kind.result)
    assert list(found) == [5 + x, x]


def program_of(computation):
  return program_lib.Program(message(computation))


def test_only_initial_values_that_nobody_reads_are_left_out():
  @tff.tensorflow.computation(np.float32)
  def written_first(x):
    weight = tf.Variable(0.0)

    @tf.function
    def run():
      weight.assign(x)
      for _ in tf.range(3):
        weight.assign_sub(1.0)
      return weight.read_value()
    return run()

  @tff.tensorflow.computation(np.float32)
  def read_first(x):
    weight = tf.Variable(7.0)

    @tf.function
    def run():
      before = weight.read_value()
      weight.assign(x)
      return before + weight
    return run()

  @tff.tensorflow.computation(np.float32)
  def written_sometimes(x):
    weight = tf.Variable(7.0)

    @tf.function
    def run():
      if x > 1.0:
        weight.assign(x)
      return weight.read_value()
    return run()

  assert not program_of(written_first).initializers and call(written_first, 5.0) == 2.0
  assert program_of(read_first).initializers and call(read_first, 1.0) == 8.0
  assert program_of(written_sometimes).initializers
  assert [call(written_sometimes, x) for x in (0.5, 3.0)] == [7.0, 3.0]


def sums(request_type):
  @tff.tensorflow.computation(request_type)
  def total(dataset):
    return dataset.reduce(np.int64(0), lambda found, one: (
        found + one['seed'] + tf.reduce_sum(tf.cast(one['x'], tf.int64))))
  return total


def test_a_sequence_is_one_element_or_any_data_set():
  kind = tff.SequenceType(tff.types.tensorflow_to_type(collections.OrderedDict(ELEMENT)))
  x = np.arange(6, dtype=np.uint8).reshape(3, 2)
  given = one_element.OneElement({'x': x, 'seed': np.int64(100)}, ELEMENT)
  both = tf.data.Dataset.from_tensors(collections.OrderedDict(x=x, seed=np.int64(100))).repeat(2)
  assert call(sums(kind), given) == 115 and call(sums(kind), both) == 230

  @tff.tensorflow.computation(kind)
  def taken(dataset):
    element = dataset.get_single_element()
    return element['x'], element['seed'] - 1
  assert program_of(taken).elements == {0: program_of(taken).elements[0]}, 'the element is given without a data set'
  found = call(taken, given)
  np.testing.assert_array_equal(found[0], x)
  assert found[1] == 99
  with pytest.raises(tf.errors.InvalidArgumentError, match='more than one'):
    call(taken, both)


def test_copies_that_run_at_the_same_time_do_not_share_variables():
  @tff.tensorflow.computation(np.float32)
  def slow(x):
    weight = tf.Variable(0.0)

    @tf.function
    def run():
      weight.assign(x)
      for _ in tf.range(20_000):
        weight.assign_add(1.0)
      return weight.read_value()
    return run()
  program, graph, kind = copies.Copies(), message(slow), slow.type_signature.parameter
  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    found = list(pool.map(lambda x, lane: float(program.call(graph, values.embed(x, kind), lane)),
                          [0.0, 1e6] * 4, [HERE, THERE] * 4))
  assert found == [20_000, 1_020_000] * 4
  assert len(program.leaves()) == 2
  program.close()
  assert not program.leaves()


def test_arrays_are_returned_without_a_copy_and_shapes_are_checked():
  kind, tensor = tff.TensorType(np.float32, [2, 3]), tf.reshape(tf.range(6.0), (2, 3))
  array = values.fetch(tensor, kind)
  assert not array.flags.writeable and np.shares_memory(array, values.fetch(tensor, kind))
  np.testing.assert_array_equal(values.embed(array, kind), tensor)
  with pytest.raises(TypeError, match='shape'):
    values.embed(array, tff.TensorType(np.float32, [3, 2]))


def test_two_computations_under_one_number_are_two():
  one = tff.tensorflow.computation(lambda x: x + 1.0, np.float32)
  other = tff.tensorflow.computation(lambda x: x - 1.0, np.float32)
  first, second = message(one), message(other)
  second.cache_key.id = first.cache_key.id
  program = copies.Copies()
  found = [float(program.call(graph, values.embed(5.0, tff.TensorType(np.float32)), HERE))
           for graph in (first, second, first)]
  assert first.cache_key.id and found == [6.0, 4.0, 6.0]
