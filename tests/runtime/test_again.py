"""Work that clients may have done already is announced before they do it again; nothing else is."""

import contextlib
import functools
import threading

import grpc
import numpy as np
import pytest
import tensorflow_federated as tff

from tests.runtime import test_mixed
from tff_vision.configs import runtime_config
from tff_vision.runtime.driver import fleet, local, remote, stub
from tff_vision.runtime.worker import worker_process

VALUES = [1.0, 2.0, 4.0, 8.0]


@pytest.fixture(scope='module')
def runtime(tff_runtime):
  config = runtime_config.RuntimeConfig(runtime='workers', local_workers=2, clients_per_call=2, attempts=2)
  with remote.remote_runtime(config) as made:
    yield made


class Counted:
  """A sum of client work whose runs are counted.

  Attributes:
    told: The clients of every announcement, and how many runs there had been.
  """

  def __init__(self, folder):
    self._folder = folder
    self.told = []
    work = test_mixed.counted_work(folder)

    @tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
    def total(values):
      found = tff.federated_map(work, values)
      return tff.federated_sum(found[0]), tff.federated_sum(found[1])

    @tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
    def each(values):
      found = tff.federated_map(work, values)
      return tff.federated_sum(found[1]), found[1]

    @tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
    def after_the_sum(values):
      found = tff.federated_map(work, values)
      total = tff.federated_broadcast(tff.federated_sum(found[1]))
      return tff.federated_sum(found[1]), tff.federated_map(test_mixed.less, (total, found[1])), found[1]

    self.total, self.each, self.after_the_sum = total, each, after_the_sum

  @property
  def runs(self):
    return len(list(self._folder.iterdir()))

  def again(self, clients):
    self.told.append((tuple(clients), self.runs))


@pytest.fixture
def counted(tmp_path):
  return Counted(tmp_path)


@contextlib.contextmanager
def losing(method, *, answered, worker='local', times=1):
  """Loses a connection at the first `times` requests of a kind, before they are sent or once they are answered."""
  request, left, lock = stub.DeadlineStub._request, [times], threading.Lock()

  def lossy(self, name, message, timeout):
    if answered or name != method:
      found = request(self, name, message, timeout)
    with lock:
      lost = name == method and self.name.startswith(worker) and left[0] > 0
      left[0] -= lost
    if lost:
      self.lost = True
      raise stub.WorkerLost(f'worker {self.name}: lost at {name}.')
    return found if answered or name != method else request(self, name, message, timeout)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(stub.DeadlineStub, '_request', lossy)
    yield


@pytest.mark.parametrize('computation', ['total', 'each', 'after_the_sum'])
def test_an_answer_that_was_lost_is_told_before_the_second_run(runtime, counted, computation):
  run = getattr(counted, computation)
  with runtime.cohort([5, 3, 7, 1], population=9, again=counted.again), losing('CreateCall', answered=True):
    found = run(VALUES)
  [(clients, before)] = counted.told
  assert clients in ((5, 3), (7, 1)) and before <= 4
  # Work that is left on its worker is answered for before it is done.
  assert counted.runs == 4 + 2 or (computation == 'after_the_sum' and counted.runs >= 4)
  if computation != 'total':  # What a client is given belongs to what was added up, though it was computed twice.
    assert found[0] == pytest.approx(sum(found[-1]))
  else:
    assert found[0] - found[1] == sum(VALUES)
  assert len(runtime.take_faults()) == 1


def test_what_never_reached_a_worker_is_not_told(runtime, counted):
  with runtime.cohort([0, 1, 2, 3], population=9, again=counted.again):
    with losing('CreateValue', answered=False):
      counted.total(VALUES)
    with losing('CreateValue', answered=True):
      counted.total(VALUES)
  assert counted.told == [] and counted.runs == 8 and len(runtime.take_faults()) == 2


def test_every_further_run_is_told_also_on_another_worker(runtime, counted):
  with runtime.cohort([0, 1, 2, 3], population=9, again=counted.again):
    with losing('CreateCall', answered=True, worker='local-0', times=2):
      counted.total(VALUES)
  # The first worker twice, then the second: three runs of its two clients.
  assert [clients for clients, _ in counted.told] == [(0, 1)] * 2 and counted.runs == 2 + 3 * 2
  assert runtime.take_faults()


def test_a_protocol_that_begins_again_tells_who_was_asked(runtime, counted):
  attempts = []

  def protocol(asks, parties):
    attempts.append(list(counted.told))
    if asks:
      counted.total(VALUES)
    if len(attempts) == 1:
      raise stub.WorkerLost('at last')
    return len(parties)

  for asks, expected in ((False, []), (True, [((0, 2, 4, 6), 4)])):
    attempts.clear()
    with runtime.cohort([6, 4, 2, 0], population=9, again=counted.again):
      assert runtime.with_parties(4, functools.partial(protocol, asks)) == 4
    assert attempts == [[], expected] and counted.told == expected
  runtime.take_faults()


@pytest.mark.parametrize(('error', 'party'), [
    (stub.BeginAgain('site north: its keys are gone.', party='local-1'), 'local-1'),
    (stub.WorkerLost('key_holder=keys:1: UNAVAILABLE: gone', party='key_holder=keys:1'), 'key_holder=keys:1'),
    (stub.WorkerLost('the masked sum holds 2 clients of 3'), 'coordinator')], ids=['site', 'key holder', 'nobody'])
def test_an_attempt_that_ended_without_a_lost_worker_is_a_fault_of_who_ended_it(runtime, error, party):
  def protocol(parties):
    raise error

  with pytest.raises(fleet.TooFewWorkers, match=f'none of 2 attempts at a round was finished; at last: {error}'):
    runtime.with_parties(2, protocol)
  assert [(fault.worker, fault.reason, fault.clients) for fault in runtime.take_faults()] == 2 * [
      (party, str(error), ())]


def test_what_the_listener_raises_ends_the_call_before_the_second_run(runtime, counted):
  def refuse(clients):
    raise ValueError(f'not paid for: {clients}')

  with runtime.cohort([0, 1, 2, 3], population=9, again=refuse), losing('CreateCall', answered=True):
    with pytest.raises(ValueError, match='not paid for'):
      counted.total(VALUES)
  assert counted.runs <= 4
  assert counted.total(VALUES)[0] > 0  # The runtime goes on.
  runtime.take_faults()


def test_a_lost_worker_after_the_sum_makes_the_round_fail(runtime, counted):
  # What is left on the worker cannot be computed again: it would not be what was added up.
  request, calls = stub.DeadlineStub._request, []

  def lossy(self, name, message, timeout):
    found = request(self, name, message, timeout)
    if name == 'CreateCall' and self.name == 'local-0':
      calls.append(name)
      if len(calls) == 3:  # Its clients' work, the sum, what the clients are given.
        self.lost = True
        raise stub.WorkerLost('lost at last')
    return found

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(stub.DeadlineStub, '_request', lossy)
    with runtime.cohort([0, 1, 2, 3], population=9, again=counted.again), pytest.raises(stub.WorkerLost):
      counted.after_the_sum(VALUES)
  assert counted.runs == 4 and counted.told == []


def test_the_executor_of_a_local_run_is_not_called_again_either(tff_runtime, counted):
  worker = worker_process.WorkerProcess(threads=1, max_concurrent_clients=1)
  worker.wait_until_serving()
  context = local.LocalContext(worker, 1, 10)
  try:
    with tff.framework.get_context_stack().install(context):
      counted.total(VALUES)
      with losing('CreateCall', answered=True, worker='of this machine'), pytest.raises(
          local.ExecutorGone, match='the executor of this machine .* is gone'):
        counted.total(VALUES)
    assert counted.runs == 8 and issubclass(local.ExecutorGone, ValueError)
  finally:
    context.close()
    worker.stop()


def test_a_refusal_in_a_graph_is_one_sentence(runtime):
  import tensorflow as tf

  @tff.tensorflow.computation(np.float32)
  def checked(x):
    with tf.control_dependencies([tf.debugging.Assert(x < 3, ['refused: client 7 has v.2 of something. More', x])]):
      return tf.identity(x)

  @tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
  def total(values):
    return tff.federated_sum(tff.federated_map(checked, values))

  with pytest.raises(stub.RefusedByWorker, match=r'^client 7 has v.2 of something\.$'):
    total([1.0, 4.0])
  with pytest.raises((grpc.RpcError, ValueError)):
    total([4.0])
