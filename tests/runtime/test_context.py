"""Our context beside TFF's local one (same bits) and TFF's mergeable one (five defects)."""

import asyncio
import collections
import threading

import grpc
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
from tensorflow_federated.python.core.environments.tensorflow_frontend import tensorflow_computation
from tensorflow_federated.python.core.impl.context_stack import context_base
from tensorflow_federated.python.core.impl.executors import executors_errors

from tests.runtime import conftest, recording
from tff_vision.configs import runtime_config
from tff_vision.runtime.driver import remote
from tff_vision.runtime.tff_internals import compilation
from tff_vision.runtime.worker import tls, worker_process

CLIENT_FLOATS = tff.FederatedType(np.float32, tff.CLIENTS)


def _config(workers, **more):
  return runtime_config.RuntimeConfig(runtime='workers', local_workers=workers, **more)


@pytest.fixture(scope='module')
def recorded_fleet(tff_runtime):
  """Three workers of ours whose requests are kept: (runtime, stubs of workers 0, 1, 2)."""
  made = []
  with recording.recorded(pytest.MonkeyPatch.context, made), remote.remote_runtime(_config(3)) as runtime:
    yield runtime, sorted((s for s in made if s.name.startswith('local')), key=lambda s: s.name)


@pytest.fixture(scope='module')
def tff_workers():
  """Three workers for TFF's own context: (async contexts, stubs)."""
  processes = [worker_process.WorkerProcess(threads=1, max_concurrent_clients=2) for _ in range(3)]
  stubs = []
  for i, process in enumerate(processes):
    process.wait_until_serving()
    stubs.append(recording.RecordingStub(tls.open_channel(f'127.0.0.1:{process.port}', None), name=str(i)))
  yield [_async_context(s) for s in stubs], stubs
  for process in processes:
    process.stop()


def _async_context(service):
  def stack(cardinalities):
    executor = tff.framework.RemoteExecutor(service)
    executor.set_cardinalities({tff.CLIENTS: cardinalities.get(tff.CLIENTS, 0)})
    return executor
  return tff.framework.AsyncExecutionContext(
      tff.framework.ResourceManagingExecutorFactory(stack), compilation.compile_once,
      transform_args=tensorflow_computation.transform_args, transform_result=tensorflow_computation.transform_result)


def _installed(context):
  return tff.framework.get_context_stack().install(context)


def _tffs_own(contexts):
  return _installed(tff.backends.native.create_mergeable_comp_execution_context(contexts))


@tff.federated_computation(CLIENT_FLOATS)
def total(x):
  return tff.federated_sum(x)


@tff.federated_computation(CLIENT_FLOATS, tff.FederatedType(np.float32, tff.SERVER))
def total_plus(x, y):
  return tff.federated_map(tff.tensorflow.computation(lambda a, b: a + b), (tff.federated_sum(x), y))


@tff.tensorflow.computation(np.float32)
def slowly(x):
  from tensorflow.python.data.experimental.ops import testing
  waited = tf.data.Dataset.from_tensors(x).apply(testing.sleep(1_000_000))
  return waited.reduce(tf.constant(0.0), lambda a, b: a + b)


@tff.federated_computation(CLIENT_FLOATS)
def slow_total(x):
  return tff.federated_sum(tff.federated_map(slowly, x))


@pytest.mark.parametrize('workers', [1, 3])
def test_the_same_bits_as_the_local_context(federation, local_digest, workers):
  with remote.remote_runtime(_config(workers)) as runtime:
    assert federation.digest(federation.clients[:3]) == local_digest[3]
    assert federation.digest([]) == local_digest[0]
    more = federation.train(federation.clients)
    assert conftest.digest(federation.train(federation.clients)) == conftest.digest(more)  # The order is fixed.
    assert runtime.take_faults() == []
  for ours, local in zip(more.global_model_weights.trainable,
                         federation.train(federation.clients).global_model_weights.trainable, strict=True):
    np.testing.assert_allclose(ours, local, rtol=1e-5, atol=1e-6)


def test_small_calls_give_the_same_result(federation):
  with remote.remote_runtime(_config(2, clients_per_call=2)):
    ours = federation.train(federation.clients)
  local = federation.train(federation.clients)
  for a, b in zip(ours.global_model_weights.trainable, local.global_model_weights.trainable, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_values_of_clients_come_back_in_order(recorded_fleet):
  @tff.federated_computation(CLIENT_FLOATS, tff.FederatedType(np.float32, tff.SERVER))
  def deviations(x, y):
    mean = tff.federated_broadcast(tff.federated_sum(x))
    return tff.federated_map(tff.tensorflow.computation(lambda a, b, c: a - b + c),
                             (x, mean, tff.federated_broadcast(y)))

  runtime, _ = recorded_fleet
  values = [1.0, 2.0, 3.0, 4.0, 5.0]
  assert deviations(values, 1.0) == [v - 14.0 for v in values]
  with runtime.cohort([2, 0], population=3):
    assert total([]) == 0.0
    assert deviations([5.0, 7.0], 1.0) == [-6.0, -4.0]


def test_what_cannot_be_split_is_refused_in_words(recorded_fleet):
  @tff.federated_computation(CLIENT_FLOATS)
  def twice(x):
    first = tff.federated_broadcast(tff.federated_sum(x))
    return tff.federated_sum(tff.federated_map(tff.tensorflow.computation(lambda a, b: a - b), (x, first)))

  runtime, _ = recorded_fleet
  with pytest.raises(ValueError, match='runtime=local'):
    twice([1.0, 2.0, 3.0])
  with runtime.cohort([0, 1], population=3), pytest.raises(ValueError, match='cohort has 2 clients'):
    total([1.0])


def test_a_worker_gets_its_own_clients_and_the_broadcast_only(recorded_fleet):
  runtime, stubs = recorded_fleet
  values = [1.2345e10, 2.3456e10, 3.4567e10]
  with runtime.cohort([2, 0, 1], population=3):
    total(values)
  partials = [np.float32(v).tobytes() for v in values]
  for worker, client_value in zip((2, 0, 1), partials, strict=True):
    assert stubs[worker].saw(client_value)
    assert not any(stubs[worker].saw(other) for other in partials if other != client_value)


def test_what_only_the_server_may_know_never_reaches_a_worker(recorded_fleet):
  runtime, stubs = recorded_fleet
  state_type = tff.FederatedType(tff.types.to_type(collections.OrderedDict(
      mechanism=collections.OrderedDict(clip=np.float32, server_secret_key=(np.uint32, [4])),
      secrets=[collections.OrderedDict(a=np.float32)])), tff.SERVER)

  @tff.tensorflow.computation(np.float32, np.float32)
  def clipped(x, clip):
    return tf.minimum(x, clip)

  @tff.tensorflow.computation(np.float32, state_type.member)
  def noised(total, state):
    return total + tf.cast(state['mechanism']['server_secret_key'][0], tf.float32) + state['secrets'][0]['a']

  def sum_and_clients(state, x):
    clip = tff.federated_broadcast(tff.federated_map(
        tff.tensorflow.computation(lambda state: state['mechanism']['clip'], state_type.member), state))
    bounded = tff.federated_map(clipped, (x, clip))
    total = tff.federated_sum(bounded)
    return tff.federated_map(noised, (total, state)), total, bounded

  on = tff.federated_computation(state_type, CLIENT_FLOATS)

  @on
  def released(state, x):
    return sum_and_clients(state, x)[0]

  @on
  def released_and_kept(state, x):
    noised_sum, _, bounded = sum_and_clients(state, x)
    return noised_sum, bounded

  @on
  def kept_alone(state, x):
    return sum_and_clients(state, x)[2]

  @on
  def told_the_sum(state, x):
    noised_sum, total, bounded = sum_and_clients(state, x)
    return noised_sum, tff.federated_map(clipped, (bounded, tff.federated_broadcast(total)))

  @on
  def told_only_the_sum(state, x):
    _, total, bounded = sum_and_clients(state, x)
    return tff.federated_map(clipped, (bounded, tff.federated_broadcast(total)))

  key, other = np.array([1 << 20, 0xdeadbeef, 0x12345678, 0x9abcdef0], np.uint32), np.float32(0.1234567)
  state = {'mechanism': {'clip': np.float32(2), 'server_secret_key': key}, 'secrets': [{'a': other}]}
  noised_sum, bounded = pytest.approx(5 + (1 << 20) + other), [1.0, 2.0, 2.0]
  expected = {released: noised_sum, released_and_kept: (noised_sum, bounded), kept_alone: bounded,
              told_the_sum: (noised_sum, bounded), told_only_the_sum: bounded}
  for computation, result in expected.items():
    before = [stub.count('CreateCall') for stub in stubs]
    with runtime.cohort([0, 1, 2], population=3):
      assert computation(state, [1.0, 5.0, 9.0]) == result
    with runtime.cohort([], population=3):
      computation(state, [])
    assert all(stub.count('CreateCall') > n for stub, n in zip(stubs, before, strict=True))
  # An array is sent as its bytes, a lone number as such or packed.
  assert not any(stub.saw(secret.tobytes()) for stub in stubs for secret in (key, key[1:2], other))


class TestDefectsOfTffsContext:
  """Each shows the defect, then the cure."""

  def test_workers_run_one_after_the_other(self, tff_workers, recorded_fleet):
    contexts, theirs = tff_workers
    with _tffs_own(contexts):
      slow_total([1.0, 2.0, 3.0])
    assert not recording.overlap(theirs[0].busy()[:1], theirs[1].busy()[:1])

    _, ours = recorded_fleet
    before = [len(s.busy()) for s in ours]
    assert slow_total([1.0, 2.0, 3.0]) == 6.0
    calls = [s.busy()[n:n + 1] for s, n in zip(ours, before, strict=True)]
    assert recording.overlap(calls[0], calls[1]) and recording.overlap(calls[1], calls[2])

  def test_wrong_result_unless_the_last_argument_is_of_clients(self, tff_workers, recorded_fleet):
    with _tffs_own(tff_workers[0]):
      assert total_plus([10.0, 20.0, 30.0], 0.0) == 30.0  # Every worker got the first client's value.
    assert total_plus([10.0, 20.0, 30.0], 0.0) == 60.0

  def test_partial_sums_go_to_another_clients_worker(self, tff_workers, recorded_fleet):
    values = [4.5678e10, 5.6789e10, 6.7891e10]
    marks = [np.float32(v).tobytes() for v in values]
    contexts, theirs = tff_workers
    with _tffs_own(contexts):
      total(values)
    assert any(sum(s.saw(mark) for mark in marks) > 1 for s in theirs)

    _, ours = recorded_fleet
    total(values)
    assert [[s.saw(mark) for mark in marks] for s in ours] == np.eye(3, dtype=bool).tolist()

  def test_the_order_of_merging_is_the_order_of_finishing(self, tff_workers, recorded_fleet):
    values = [1e8, 1.0, -1e8]  # In float32: (1e8 + 1) - 1e8 = 0, but (1e8 - 1e8) + 1 = 1.
    contexts, finished = tff_workers[0], set()

    class Noted(context_base.AsyncContext):
      """A context; the second one answers when both others have answered."""

      def __init__(self, number):
        self._number = number

      async def invoke(self, comp, arg):
        while self._number == 1 and not finished >= {0, 2}:
          await asyncio.sleep(0.01)
        found = await contexts[self._number].invoke(comp, arg)
        finished.add(self._number)
        return found

    with _tffs_own([Noted(number) for number in range(3)]):
      assert total(values) == 1.0
    local = sum(np.array(values, np.float32), np.float32(0))
    assert local == 0.0 == total(values)

  def test_a_dead_worker_is_called_for_ever(self):
    class Down(grpc.RpcError, grpc.Call):
      code = lambda self: grpc.StatusCode.UNAVAILABLE
      details = lambda self: 'down'
      initial_metadata = trailing_metadata = lambda self: ()
      add_callback = is_active = time_remaining = cancel = lambda self, *_: None

    calls, enough = [], threading.Event()

    class DeadWorker(recording.RecordingStub):
      def get_executor(self, request):
        calls.append(request)
        if len(calls) < 3:
          raise executors_errors.RetryableGRPCError(Down())
        enough.set()
        raise KeyError('the test ends it')  # Nothing else would.

    context = _async_context(DeadWorker(tls.open_channel('127.0.0.1:1', None), name='dead'))
    with _tffs_own([context]), pytest.raises(KeyError):
      total([1.0])
    assert enough.is_set()
    # The cure is in test_faults.py: a call to a dead worker ends with WorkerLost.
