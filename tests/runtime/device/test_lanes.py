"""Lanes that end, fail, are interrupted or closed while others are at work."""

import concurrent.futures
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
from tensorflow_federated.python.core.impl.computation import computation_impl

from tff_vision.runtime.device import clients_values, interpreter, lanes


def lacking_memory():
  return tf.errors.ResourceExhaustedError(None, None, 'OOM when allocating tensor')


class SlowList(list):
  """Takes long to be looked through, so that what others do meanwhile is seen."""

  def __iter__(self):
    time.sleep(0.05)
    return super().__iter__()


def test_lanes_that_end_at_the_same_time_are_all_gone():
  told, found, together = [], [], threading.Barrier(3)
  four = lanes.Lanes(['CPU:0'], 4, lambda device, reason: told.append(reason))
  four._lanes = SlowList(four._lanes)

  def work(client, lane):
    if lane.number < 3:
      together.wait(10)
      raise lacking_memory()
    return client

  four.run(9, work, found.append)
  assert found == list(range(9)) and len(four) == 1 and len(told) == 3
  four.run(2, work, found.append)
  assert found[9:] == [0, 1]
  four.close()


class Work:
  """Work of lanes that lasts until it is let go; notes how many are at it."""

  def __init__(self, count):
    self.begun, self.go, self.at_work = threading.Barrier(count + 1), threading.Event(), 0
    self._lock = threading.Lock()

  def __call__(self, client, lane):
    with self._lock:
      self.at_work += 1
    self.begun.wait(10)
    self.go.wait(10)
    with self._lock:
      self.at_work -= 1
    return client


@pytest.mark.parametrize(('clients_each', 'ahead'), [(1, 8), (3, 2), (8, 2)])
def test_lanes_wait_for_the_client_that_is_added_next(clients_each, ahead):
  """No more results wait in memory than those of a few clients, however many of them share a call."""
  begun, go = [], threading.Event()

  def work(client, lane):
    begun.append(client)
    if client == 0:
      go.wait(10)
    return client

  two, taken = lanes.Lanes(['CPU:0'], 2, lambda *told: None), []
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    running = pool.submit(two.run, 20, work, taken.append, clients_each=clients_each)
    deadline = time.monotonic() + 10
    while len(begun) < ahead and time.monotonic() < deadline:
      time.sleep(0.01)
    time.sleep(0.1)
    assert sorted(begun) == list(range(ahead)) and not taken
    go.set()
    running.result(10)
  assert taken == list(range(20))
  two.close()


def test_an_interrupted_call_leaves_no_lane_at_work(monkeypatch):
  two, work, taken = lanes.Lanes(['CPU:0'], 2, lambda *told: None), Work(2), []
  wait, interruptions = concurrent.futures.wait, [KeyboardInterrupt()]

  def interrupted(waiting):
    if interruptions:
      work.begun.wait(10)
      work.go.set()
      raise interruptions.pop()
    return wait(waiting)

  monkeypatch.setattr(concurrent.futures, 'wait', interrupted)
  with pytest.raises(KeyboardInterrupt):
    two.run(100, work, taken.append)
  assert not work.at_work and len(taken) < 100
  two.close()


@tff.tensorflow.computation(np.float32)
def negative(x):
  return -x


@tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
def negatives(x):
  return tff.federated_map(negative, x)


@pytest.mark.parametrize('failing', [False, True])
def test_closing_ends_a_call_and_frees_nothing_that_is_at_work(failing):
  """With `failing`, one of the lanes runs out of memory while the others are closed."""
  work, freed = Work(2), []

  class Leaves:
    """Copies of computations that only wait."""
    most_clients = 1

    def call_several(self, message, arguments, lane):
      return [self.call(message, argument, lane) for argument in arguments]

    def call(self, message, argument, lane):
      found = work(argument, lane)
      if failing and lane.number == 0:
        raise lacking_memory()
      return found

    def close(self):
      freed.append(work.at_work)

  runs = interpreter.Interpreter(lanes.Lanes(['CPU:0'], 2, lambda *told: None), Leaves())
  function = interpreter.Function(computation_impl.ConcreteComputation.get_proto(negatives))
  numbers = clients_values.Given([tf.constant(1.0)] * 50)
  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    calling = pool.submit(runs.call, function, numbers, 50)
    work.begun.wait(10)
    closing = pool.submit(runs.close)
    time.sleep(0.1)
    assert not closing.done() and not freed
    work.go.set()
    with pytest.raises(lanes.Closed):
      calling.result(10)
    closing.result(10)
  assert freed == [0]
  with pytest.raises(lanes.Closed):
    runs.call(function, numbers, 50)
