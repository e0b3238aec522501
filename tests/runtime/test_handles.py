"""Handles: what a silo computes stays on its worker until it is fetched."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.runtime import recording
from tff_vision.configs import runtime_config
from tff_vision.runtime.driver import remote
from tff_vision.runtime.tff_internals import handles
from tff_vision.runtime.worker import tls, worker_process

SECRET = np.frombuffer(b'nobody may read this secret, ever', np.uint8).astype(np.int32)


@tff.tensorflow.computation(np.int32)
def keys(round_num):
  secret = tf.constant(SECRET)
  return secret, tf.reduce_sum(secret) + round_num


@tff.tensorflow.computation((np.int32, [len(SECRET)]), np.int32)
def use(secret, factor):
  return tf.reduce_max(secret) * factor


@tff.tensorflow.computation()
def seven():
  return 7


class Tapped(recording.RecordingStub):
  """Also keeps the answers."""

  def __init__(self, channel):
    super().__init__(channel, name='silo')
    self.answers = []

  def _request(self, method, message, timeout):
    answer = super()._request(method, message, timeout)
    self.answers.append(answer.SerializeToString())
    return answer


@pytest.fixture
def silo():
  process = worker_process.WorkerProcess(threads=1, max_concurrent_clients=1)
  process.wait_until_serving()
  service = Tapped(tls.open_channel(f'127.0.0.1:{process.port}', None))

  def open_executor():
    executor = tff.framework.RemoteExecutor(service, dispose_batch_size=1)
    executor.set_cardinalities({tff.CLIENTS: 0})
    return executor

  made = handles.Silo(open_executor)
  yield made, service
  made.close()
  process.stop()


def test_a_secret_is_used_in_a_later_phase_and_never_fetched(silo):
  party, service = silo
  pair = party.call(keys, 5)
  assert party.fetch(party.select(pair, 1)) == SECRET.sum() + 5
  assert party.fetch(party.call(use, party.select(pair, 0), 3)) == SECRET.max() * 3
  assert party.fetch(party.call(seven)) == 7
  assert not any(SECRET.tobytes() in answer for answer in service.answers)
  with pytest.raises(TypeError, match='1 arguments for a computation'):
    party.call(use, 1)

  party.fetch(party.select(pair, 0))
  assert any(SECRET.tobytes() in answer for answer in service.answers)  # The tap works.


def test_a_dropped_handle_frees_the_value_on_the_worker(silo):
  party, service = silo
  pair = party.call(keys, 5)
  before = service.calls['Dispose']
  del pair
  assert service.calls['Dispose'] == before + 1


def test_silos_of_a_runtime(tff_runtime):
  config = runtime_config.RuntimeConfig(runtime='workers', local_workers=2)
  with remote.remote_runtime(config) as runtime:
    silos = [handles.Silo(worker.executor) for worker in runtime.workers]
    assert [silo.fetch(silo.select(silo.call(keys, i), 1)) for i, silo in enumerate(silos)] == [
        SECRET.sum(), SECRET.sum() + 1]
    for silo in silos:
      silo.close()
