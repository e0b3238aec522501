"""Rounds in this process: the same models as TFF's executor, whatever the number of lanes."""

import collections
import contextlib
import threading

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests import tiny
from tests.learning import tiny_experiments
from tff_vision.configs import runtime_config
from tff_vision.runtime.device import clients_values, lanes, leaf, program, sums, visible
from tff_vision.runtime.driver import device
from tff_vision.runtime.tff_internals import compilation, references
from tff_vision.secure import os_keys

NUMBERS = tff.FederatedType(np.float32, tff.CLIENTS)
STATE = tff.FederatedType(np.float32, tff.SERVER)


@pytest.fixture(scope='module')
def in_process(tff_runtime):
  """A context with three lanes; the session's context is the default one again afterwards."""
  with device.device_place(runtime_config.RuntimeConfig(runtime='device', devices=('CPU',), clients_per_device=3)
                           ) as place:
    tff.framework.set_default_context(tff_runtime)
    yield place


def in_both(in_process, computation, *arguments):
  """Returns the result of TFF's executor after a check that this process returns the same."""
  with tff.framework.get_context_stack().install(in_process):
    found = computation(*arguments)
  expected = computation(*arguments)
  tf.nest.map_structure(lambda one, other: np.testing.assert_array_equal(one, other), found, expected)
  tf.nest.assert_same_structure(found, expected)
  return expected


@tff.tensorflow.computation(np.float32, np.float32)
def product(x, y):
  return x * y


@tff.tensorflow.computation(np.float32)
def negative(x):
  return -x


@tff.federated_computation(STATE, NUMBERS)
def scaled(state, x):
  both = tff.federated_map(product, (x, tff.federated_broadcast(state)))
  return collections.OrderedDict(
      state=tff.federated_map(negative, state), own=both, mean=tff.federated_mean(both, x),
      total=tff.federated_sum(x), pair=tff.federated_zip((both, tff.federated_map(negative, both))))


@tff.federated_computation(STATE, NUMBERS)
def depending(state, x):
  first = tff.federated_broadcast(tff.federated_sum(x))
  return tff.federated_sum(tff.federated_map(product, (x, first))), state, tff.federated_eval(
      tff.tensorflow.computation(lambda: 5), tff.CLIENTS), tff.federated_value(3.0, tff.SERVER)


def test_federated_operators_return_the_same(in_process):
  found = in_both(in_process, scaled, 2.0, [1.0, 2.5, -3.0])
  assert found['own'] == [2.0, 5.0, -6.0] and found['total'] == 0.5 and found['pair'][1] == (5.0, -5.0)
  assert in_both(in_process, depending, 7.0, [1.0, 2.0]) == (9.0, 7.0, [5, 5], 3.0)
  in_both(in_process, depending, 7.0, [4.0])
  total = tff.federated_computation(lambda x: tff.federated_sum(x), NUMBERS)
  assert in_both(in_process, total, []) == 0.0
  with in_process.limited(3):
    assert in_both(in_process, total, [float(i) for i in range(20)]) == 190.0


@tff.federated_computation(STATE, NUMBERS)
def shown(state, x):
  one = tff.federated_broadcast(state)
  both = tff.federated_zip((one, tff.federated_value(2.0, tff.CLIENTS)))
  return both, tff.federated_map(negative, one), tff.federated_map(product, both), tff.federated_sum(x), one


def test_what_all_clients_have_is_returned_once(in_process):
  found = in_both(in_process, shown, 3.0, [1.0, 1.0])
  assert found[0] == [(3.0, 2.0)] * 2 and found[3] == 2.0


@tff.tensorflow.computation(np.float32, np.float32)
def plus(x, y):
  return x + y


@tff.tensorflow.computation(np.float32, np.float32)
def plus_and_more(x, y):
  return x + y + 1.0


@tff.tensorflow.computation(np.float32)
def same(x):
  return x


@tff.tensorflow.computation(np.float32, np.float32)
def first_twice(x, y):
  return x + x + 0.0 * y


@tff.tensorflow.computation(np.int32, np.int32)
def small(x, y):
  return x + y


PAIR = (np.float32, tff.TensorType(np.float32, [2]))


@tff.tensorflow.computation(PAIR, PAIR)
def pairs(x, y):
  return y[0] + x[0], x[1] + y[1]


@pytest.mark.parametrize('computation, expected', [
    (plus, True), (pairs, True), (plus_and_more, False), (first_twice, False), (small, False), (product, False)])
def test_only_plain_sums_are_added_in_place(computation, expected):
  message = compilation.native_form(computation).to_building_block().proto.tensorflow
  assert sums.is_sum(program.Program(message)) == expected


def test_sums_are_added_in_place_and_do_not_change_what_was_returned(in_process):
  """The sum itself is returned, and so is what looks like a sum and is none."""
  def totals(accumulate):
    return tff.federated_computation(lambda x: tff.federated_aggregate(
        x, np.float32(10), accumulate, accumulate, same), NUMBERS)
  vector = tff.TensorType(np.float32, [3])
  added = tff.federated_computation(lambda x: tff.federated_sum(x), tff.FederatedType(vector, tff.CLIENTS))
  assert in_both(in_process, totals(plus), [1.0, 2.0]) == 13.0
  assert in_both(in_process, totals(plus_and_more), [1.0, 2.0]) == 15.0
  with tff.framework.get_context_stack().install(in_process):
    first = added([np.float32([1, 2, 3]), np.float32([1, 1, 1])])
    second = added([np.float32([5, 5, 5])] * 3)
    np.testing.assert_array_equal(first, [2, 3, 4])
    np.testing.assert_array_equal(second, [15, 15, 15])
    np.testing.assert_array_equal(added([]), [0, 0, 0])


def test_a_client_computes_once_even_if_several_sums_need_it():
  asked = []

  def count(values, lane):
    asked.extend(values)
    return values
  kept = clients_values.Kept(clients_values.Mapped(count, clients_values.Given([1, 2])))
  here = lanes.Lane('CPU:0', 0)
  assert [kept.of([client], here) for client in (0, 1, 0, 1)] == [[1], [2], [1], [2]] and asked == [1, 2]
  assert kept.of([1, 0], here) == [2, 1] and asked == [1, 2]


def test_references_are_counted_in_their_scope():
  @tff.federated_computation(NUMBERS)
  def twice(x):
    return tff.federated_sum(x), tff.federated_sum(x)
  block = getattr(twice.to_building_block().proto, 'lambda')
  assert references.count(block.result, block.parameter_name) == 2
  assert not references.count(block.result, 'another')


def test_rounds_train_the_same_model(in_process):
  """With two lanes more than this has processors, and Adam, whose state is in the client's graph."""
  settings = {'client': {'client_optimizer': 'adam'}, 'builder': tiny.two_layers}

  def trained():
    return tiny_experiments.train(tiny_experiments.experiment('fedavg', **settings).prepare())
  expected, _, measured = trained()
  with tff.framework.get_context_stack().install(in_process):
    found, _, measured_here = trained()
  in_place = [one for _, made in in_process._runs.leaves._programs.values() for one in made.values()
              if isinstance(one, sums.Sum)]
  assert any(len(one.end()) > len(tiny_experiments.SIZES) for one in in_place), 'the model and the measurements'
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
  assert measured_here == pytest.approx(measured, rel=1e-5)


@pytest.mark.parametrize('optimised', [False, True])
def test_keys_are_drawn_afresh_by_each_client_in_each_call(in_process, monkeypatch, optimised):
  """Also if TensorFlow optimises the graphs once more, as it does for a GPU."""
  if optimised:
    monkeypatch.setattr(leaf, '_options', lambda device: contextlib.nullcontext())

  @tff.tensorflow.computation
  def draw():
    return os_keys.kernel_key(), os_keys.kernel_keys(2)

  @tff.federated_computation(NUMBERS)
  def drawn(x):
    return tff.federated_eval(draw, tff.CLIENTS), tff.federated_sum(x), tff.federated_eval(draw, tff.SERVER)

  keys = []
  with tff.framework.get_context_stack().install(in_process):
    for _ in range(2):
      clients, _, server = drawn([1.0] * 5)
      for one, two in (*clients, server):
        keys += [one.tobytes(), *(key.tobytes() for key in two)]
    two = tff.federated_computation(lambda: (tff.federated_eval(draw, tff.SERVER),) * 2)()
    assert two[0][0].tobytes() == two[1][0].tobytes(), 'one value, returned twice'
  assert len(set(keys)) == len(keys) == 36


def test_an_error_in_a_graph_ends_the_round_and_not_the_context(in_process):
  @tff.tensorflow.computation(np.float32)
  def positive(x):
    with tf.control_dependencies([tf.debugging.Assert(x > 0, ['secure sum: found', x, '.'])]):
      return tf.identity(x)

  @tff.federated_computation(NUMBERS)
  def total(x):
    return tff.federated_sum(tff.federated_map(positive, x))
  with tff.framework.get_context_stack().install(in_process):
    with pytest.raises(tf.errors.InvalidArgumentError, match='secure sum: found'):
      total([1.0, -2.0, 3.0])
    assert total([1.0, 2.0]) == 3.0


class Scarce:
  """Work on lanes; those in `small` have too little memory, and `started` says which lane computed a client."""

  def __init__(self, small):
    self.small, self.started, self._lock = small, [], threading.Lock()
    self._all_begin = threading.Barrier(4)

  def __call__(self, client, lane):
    with self._lock:
      is_first = lane.number not in {number for _, number in self.started}
      self.started.append((client, lane.number))
    if is_first:
      self._all_begin.wait(30)
    if lane.number in self.small:
      raise tf.errors.ResourceExhaustedError(None, None, 'OOM when allocating tensor\nmore')
    return client


def test_results_are_taken_in_order_and_lanes_without_memory_end():
  told, taken = [], []
  with lanes_of(4, lambda *words: told.append(words)) as many:
    work = Scarce(small={1, 3})
    many.run(30, work, taken.append)
    assert taken == list(range(30)) and len(many) == 2
    assert len(told) == 2 and told[-1][0] == 'CPU:0' and '2 are computed at a time' in told[-1][1]
    assert len(work.started) == 32, 'two clients were computed again'
    work.small = {0, 2}
    with pytest.raises(lanes.OutOfMemory, match='CPU:0 has too little memory for one client.*OOM when'):
      many.run(5, work, taken.append)


def test_there_are_no_more_threads_than_clients_and_a_lane_that_ended_is_replaced():
  def scarce(client, lane):
    if lane.number < 3:
      raise tf.errors.ResourceExhaustedError(None, None, 'OOM')
    return client

  before, taken = threading.active_count(), []
  with lanes_of(5000, lambda *words: None) as many:
    many.run(2, lambda client, lane: client, taken.append)
    assert threading.active_count() <= before + 2
    many.run(2, scarce, taken.append)
    assert taken == [0, 1, 0, 1] and len(many) == 4997
    many.run(0, scarce, taken.append)
  assert taken == [0, 1, 0, 1]


def test_an_error_while_taking_results_ends_the_call():
  def refuse(result):
    if result == 3:
      raise ValueError('no more')
  with lanes_of(3, print) as some:
    with pytest.raises(ValueError, match='no more'):
      some.run(50, lambda client, lane: client, refuse)
    taken = []
    some.run(4, lambda client, lane: client, taken.append)
    assert taken == [0, 1, 2, 3]


class lanes_of:

  def __init__(self, count, told):
    self.lanes = lanes.Lanes(['CPU:0'], count, told)

  def __enter__(self):
    return self.lanes

  def __exit__(self, *error):
    self.lanes.close()


def test_auto_is_the_executor_where_there_is_no_gpu(monkeypatch):
  config = runtime_config.RuntimeConfig(runtime='auto')
  assert visible.chosen(config) == 'local'
  monkeypatch.setattr('tff_vision.runtime.device.visible.has_gpu', lambda: True)
  assert visible.chosen(config) == 'device'
  assert visible.chosen(runtime_config.RuntimeConfig(runtime='auto', devices=('CPU',))) == 'local'
  assert visible.chosen(runtime_config.RuntimeConfig()) == 'local'
  with pytest.raises(ValueError, match='devices names GPU:0, and TensorFlow sees no GPU here'), device.device_place(
      runtime_config.RuntimeConfig(runtime='device', devices=('GPU:0',))):
    pass
