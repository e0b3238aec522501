"""A round costs few calls: what is in one graph, what is sent again, what is freed, and that nothing else changes."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.runtime import recording
from tff_vision.runtime.tff_internals import compilation, executors
from tff_vision.runtime.worker import tls, worker_process

SERVER, CLIENTS = tff.SERVER, tff.CLIENTS
STATE = collections.OrderedDict(weights=(np.float32, [3]), rounds=np.int32)


@tff.tensorflow.computation((np.float32, [3]), np.float32)
def scale(weights, factor):
  return weights * factor


@tff.tensorflow.computation(STATE, (np.float32, [3]))
def step(state, total):
  return collections.OrderedDict(weights=state['weights'] - total, rounds=state['rounds'] + 1)


@tff.federated_computation(tff.FederatedType(STATE, SERVER), tff.FederatedType(np.float32, CLIENTS))
def play(state, factors):
  weights = tff.federated_broadcast(state['weights'])
  scaled = tff.federated_map(scale, (weights, factors))
  return collections.OrderedDict(
      state=tff.federated_map(step, (state, tff.federated_sum(scaled))), told=tff.federated_sum(factors))


def test_a_round_is_one_graph_for_a_client_and_one_aggregation(tff_runtime):
  assert compilation.fused(play).type_signature == play.type_signature
  text = compilation.native_form(play).to_building_block().compact_representation()
  assert text.count('federated_aggregate(') == 1
  assert play.to_building_block().compact_representation().count('federated_sum(') == 2
  state = collections.OrderedDict(weights=np.float32([8, 4, -2]), rounds=1)
  after = play(state, [0.25, 0.5])
  np.testing.assert_array_equal(after['state']['weights'], [2, 1, -0.5])
  assert (after['state']['rounds'], after['told']) == (2, 0.75) and isinstance(after, collections.OrderedDict)
  nobody = play(state, [])
  np.testing.assert_array_equal(nobody['state']['weights'], state['weights'])
  assert (nobody['state']['rounds'], nobody['told']) == (2, 0)


@tff.federated_computation(tff.FederatedType(np.float32, SERVER), tff.FederatedType(np.float32, CLIENTS))
def asks_twice(state, values):
  first = tff.federated_broadcast(tff.federated_sum(values))
  return state, tff.federated_sum(first)


@tff.federated_computation(tff.FederatedType(np.float32, SERVER), tff.FederatedType(np.float32, CLIENTS))
def answers_clients(state, values):
  return state, values


@tff.federated_computation(tff.FederatedType(np.int32, SERVER), tff.FederatedType(np.int32, CLIENTS))
def sums_securely(state, values):
  return state, tff.federated_secure_sum_bitwidth(values, 8)


@tff.federated_computation(tff.FederatedType(np.float32, CLIENTS))
def has_no_state(values):
  return tff.federated_sum(values)


@pytest.mark.parametrize('computation', [asks_twice, answers_clients, sums_securely, has_no_state, scale])
def test_what_is_no_round_stays_as_it_is(computation):
  assert compilation.fused(computation) is computation


@pytest.fixture(scope='module')
def worker():
  process = worker_process.WorkerProcess(threads=1, max_concurrent_clients=1)
  process.wait_until_serving()
  yield process
  process.stop()


@pytest.fixture
def lean(worker):
  service = recording.RecordingStub(tls.open_channel(f'127.0.0.1:{worker.port}', None), name='lean')
  made = executors.LeanExecutors(lambda clients: executors.open_executor(service, clients), kept=2)
  yield tff.framework.SyncExecutionContext(made, compilation.native_form), made, service
  made.close()


def run(context, made, state, factors):
  result = context.invoke(play, tff.structure.Struct([('state', state), ('factors', factors)]))
  made.forget()
  return result


def test_nothing_is_sent_that_the_executor_has(lean):
  context, made, service = lean
  first = run(context, made, collections.OrderedDict(weights=np.float32([8, 4, -2]), rounds=np.int32(1)), [0.5, 0.0])
  sent = service.calls['CreateValue']
  assert sent == 3, 'state, data and computation'
  second = run(context, made, first['state'], [0.5, 0.25])
  assert service.calls['CreateValue'] == sent + 1, 'the data'
  np.testing.assert_array_equal(second['state']['weights'], [1, 0.5, -0.25])
  # An array that may have been written to is sent, and so is anything that is not the last result.
  changed = dict(second['state'], weights=second['state']['weights'].copy())
  changed['weights'][0] = 16
  third = run(context, made, changed, [0.5, 0.0])
  np.testing.assert_array_equal(third['state']['weights'], [8, 0.25, -0.125])
  again = run(context, made, first['state'], [0.5, 0.25])
  np.testing.assert_array_equal(again['state']['weights'], second['state']['weights'])
  mixed = collections.OrderedDict(weights=again['state']['weights'], rounds=np.int32(7))
  assert run(context, made, mixed, [0.5, 0.0])['state']['rounds'] == 8
  assert service.calls['CreateValue'] == sent + 1 + 3 * 2


def test_everything_else_is_freed_in_one_message(lean, monkeypatch):
  context, made, service = lean
  freed = []
  monkeypatch.setattr(service, 'dispose', lambda request, send=service.dispose: (
      freed.append(len(request.value_ref)), send(request)))
  state = collections.OrderedDict(weights=np.float32([8, 4, -2]), rounds=np.int32(1))
  for _ in range(3):
    state = run(context, made, state, [0.5, 0.0])['state']
  # State, data and both together; from then on also the result of the round before.
  assert freed == [3, 4, 4]


def test_executors_not_used_for_longest_are_closed(lean):
  context, made, service = lean
  state = collections.OrderedDict(weights=np.float32([8, 4, -2]), rounds=np.int32(1))
  for clients in (1, 2, 1, 3, 1, 2):
    run(context, made, state, [0.0] * clients)
  assert service.calls['GetExecutor'] == 4 and service.calls['DisposeExecutor'] == 2
  made.close()
  assert service.calls['DisposeExecutor'] == 4


def test_a_call_that_fails_leaves_a_fresh_executor(lean):
  context, made, service = lean

  @tff.tensorflow.computation(np.float32)
  def positive(x):
    with tf.control_dependencies([tf.debugging.Assert(x > 0, ['not positive'])]):
      return tf.identity(x)

  @tff.federated_computation(tff.FederatedType(np.float32, CLIENTS))
  def add(values):
    return tff.federated_sum(tff.federated_map(positive, values))

  with pytest.raises(Exception, match='not positive'):
    context.invoke(add, [-1.0])
  assert context.invoke(add, [2.0]) == 2.0
