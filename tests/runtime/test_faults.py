"""Workers that are killed, hang, are slow, come back or stay away; and errors that are the graph's own fault."""

import contextlib
import os
import signal
import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.runtime import conftest, workers
from tff_vision.configs import runtime_config
from tff_vision.runtime.driver import fleet, remote, stub

FLOATS = tff.FederatedType(np.float32, tff.CLIENTS)


@tff.tensorflow.computation(np.float32)
def slowly(x):
  from tensorflow.python.data.experimental.ops import testing
  waited = tf.data.Dataset.from_tensors(x).apply(testing.sleep(2_000_000))  # Four times as long as until a kill.
  return waited.reduce(tf.constant(0.0), lambda a, b: a + b)


@tff.federated_computation(FLOATS)
def slow_total(x):
  return tff.federated_sum(tff.federated_map(slowly, x))


@tff.federated_computation(FLOATS)
def total(x):
  return tff.federated_sum(x)


def _config(local_workers=3, **more):
  return runtime_config.RuntimeConfig(**{'runtime': 'workers', 'local_workers': local_workers, 'probe_interval': 0.5,
                                         'reconnect_timeout': 5.0, **more})


@contextlib.contextmanager
def _in_mid_round(action):
  """Calls `action` while the computation inside runs."""
  over = threading.Event()

  def act():
    time.sleep(0.5)
    action()
    over.wait()  # A process ends with the thread that started it.

  thread = threading.Thread(target=act)
  thread.start()
  try:
    yield
  finally:
    over.set()
    thread.join()


def _worker(runtime, number):
  return runtime.pids[1 + number]  # The first is the coordinator's own.


@pytest.fixture
def own_workers(tmp_path):
  made = [workers.OwnExecutor(tmp_path) for _ in range(3)]
  yield made
  for worker in made:
    worker.kill()


def _remote_config(own_workers, **more):
  return _config(None, workers=tuple(w.address for w in own_workers), **more)


@pytest.mark.parametrize('signal_number', [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_lost_in_mid_round_is_called_again_and_the_result_is_the_same(tff_runtime, signal_number):
  with remote.remote_runtime(_config()) as runtime:
    with _in_mid_round(lambda: os.kill(_worker(runtime, 1), signal_number)):
      assert slow_total([1.0, 2.0, 4.0]) == 7.0
    [fault] = runtime.take_faults()
    assert fault.worker == 'local-1' and fault.clients == ()
    assert slow_total([1.0, 2.0, 4.0]) == 7.0 and runtime.take_faults() == []


def test_the_coordinators_own_executor_may_be_lost_too(tff_runtime):
  with remote.remote_runtime(_config(1)) as runtime:
    assert total([1.0]) == 1.0
    os.kill(runtime.pids[0], signal.SIGKILL)
    assert total([1.0, 2.0]) == 3.0
    assert runtime.take_faults()[0].worker == 'coordinator'


def test_a_hospital_that_stays_away_drops_out_and_comes_back(own_workers, tff_runtime):
  config = _remote_config(own_workers, min_workers=2, reconnect_timeout=3.0)
  with remote.remote_runtime(config) as runtime:
    with _in_mid_round(own_workers[2].kill):
      assert slow_total([1.0, 2.0, 4.0]) == 3.0
    assert [fault.clients for fault in runtime.take_faults()] == [(2,)]
    with runtime.cohort([2, 1], population=3):
      assert total([4.0, 2.0]) == 2.0
    assert [fault.clients for fault in runtime.take_faults()] == [(2,)]
    own_workers[2].start()
    assert total([1.0, 2.0, 4.0]) == 7.0 and runtime.take_faults() == []
    for worker in own_workers[1:]:
      worker.kill()
    with pytest.raises(fleet.TooFewWorkers, match='1 of 3 workers answer, min_workers is 2'):
      total([1.0, 2.0, 4.0])


def test_clients_that_are_not_bound_move_to_other_workers(own_workers, federation):
  clients = federation.clients[:7]
  with remote.remote_runtime(_remote_config(own_workers, min_workers=1)) as runtime:
    undisturbed = federation.digest(clients)
    own_workers[0].kill()
    assert federation.digest(clients) == undisturbed  # The same chunks in the same order, on two workers.
    assert {fault.clients for fault in runtime.take_faults()} == {()}
    own_workers[2].kill()
    assert federation.digest(clients) == undisturbed


def test_a_worker_that_is_not_there_at_the_start(own_workers, tff_runtime):
  own_workers[1].kill()
  with pytest.raises(fleet.TooFewWorkers, match=f'2 of 3 .*{own_workers[1].address}: no answer within 3 s'):
    with remote.remote_runtime(_remote_config(own_workers, reconnect_timeout=3.0)):
      pass
  with remote.remote_runtime(_remote_config(own_workers, reconnect_timeout=3.0, min_workers=2)) as runtime:
    assert total([1.0, 2.0, 4.0]) == 5.0
    assert (1,) in {fault.clients for fault in runtime.take_faults()}


def test_a_worker_that_is_started_late_is_waited_for(own_workers, tff_runtime):
  own_workers[1].kill()
  with _in_mid_round(own_workers[1].start):
    with remote.remote_runtime(_remote_config(own_workers, reconnect_timeout=20.0)) as runtime:
      assert total([1.0, 2.0, 4.0]) == 7.0 and runtime.take_faults() == []


def test_a_worker_restarted_between_rounds_has_forgotten_everything_and_is_asked_again(own_workers, tff_runtime):
  with remote.remote_runtime(_remote_config(own_workers)) as runtime:
    assert total([1.0, 2.0, 4.0]) == 7.0
    own_workers[0].kill()
    own_workers[0].start()
    assert total([1.0, 2.0, 4.0]) == 7.0
    assert {fault.clients for fault in runtime.take_faults()} <= {()}


def test_a_call_that_takes_too_long_is_given_up_a_bounded_number_of_times(own_workers, tff_runtime):
  config = _remote_config(own_workers, call_timeout=0.3, attempts=2, min_workers=3)
  with remote.remote_runtime(config), pytest.raises(fleet.TooFewWorkers, match='DEADLINE_EXCEEDED'):
    slow_total([1.0, 2.0, 4.0])


def test_an_error_in_the_graph_is_not_tried_again(own_workers, tff_runtime):
  @tff.tensorflow.computation(np.float32)
  def checked(x):
    with tf.control_dependencies([tf.debugging.assert_less(x, 3.0, message='too bright')]):
      return tf.identity(x)

  @tff.federated_computation(FLOATS)
  def checked_total(x):
    return tff.federated_sum(tff.federated_map(checked, x))

  with remote.remote_runtime(_remote_config(own_workers)) as runtime:
    assert checked_total([1.0, 2.0, 2.5]) == 5.5
    calls = [worker.traffic[-1].calls['CreateCall'] for worker in runtime.workers]
    with pytest.raises(grpc.RpcError, match='too bright'):
      checked_total([1.0, 2.0, 4.0])
    after = [worker.traffic[-1].calls['CreateCall'] for worker in runtime.workers]
    assert after[2] - calls[2] == 1
    assert checked_total([1.0, 2.0, 2.5]) == 5.5 and runtime.take_faults() == []


def test_a_result_that_needs_a_lost_client_is_refused(own_workers, tff_runtime):
  @tff.federated_computation(FLOATS)
  def doubled(x):
    return tff.federated_map(tff.tensorflow.computation(lambda v: v + v), x)

  with remote.remote_runtime(_remote_config(own_workers, reconnect_timeout=3.0, min_workers=1)):
    assert doubled([1.0, 2.0, 4.0]) == [2.0, 4.0, 8.0]
    own_workers[1].kill()
    with pytest.raises(stub.WorkerLost, match=r'the workers of clients \[1\] are gone'):
      doubled([1.0, 2.0, 4.0])


@pytest.mark.slow
def test_thirty_rounds_under_fire(federation):
  """A random worker is killed every three rounds, in mid-round: the weights equal those of an undisturbed run."""
  clients = federation.clients[:3]
  with remote.remote_runtime(_config()):
    undisturbed = federation.digest(clients, rounds=30)
  rng = np.random.default_rng(7)
  with remote.remote_runtime(_config()) as runtime:
    state = federation.process.initialize()
    faults = 0
    for round_num in range(30):
      killer = threading.Timer(rng.uniform(0, 0.05), lambda pid: os.kill(pid, signal.SIGKILL),
                               [_worker(runtime, rng.integers(3))])
      if round_num % 3 == 0:
        killer.start()
      state = federation.process.next(state, clients).state
      if round_num % 3 == 0:
        killer.join()
      faults += len(runtime.take_faults())
  assert conftest.digest(state) == undisturbed
  assert faults >= 5
