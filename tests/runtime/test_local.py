"""The local runtime: it works, nothing survives it, and no pipe stays open."""

import collections
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.runtime.driver import local
from tff_vision.runtime.worker import worker_process

SCRIPT = """
import sys
import numpy as np
import tensorflow_federated as tff
from tff_vision.runtime.driver import local

@tff.federated_computation(tff.FederatedType(np.int32, tff.CLIENTS))
def total(x):
  return tff.federated_sum(x)

with local.local_runtime() as worker:
  print(total([1, 2]), worker.pid, flush=True)
  {then}
try:
  total([1])
except RuntimeError as error:
  print(error)
"""


def start(then):
  return subprocess.Popen([sys.executable, '-c', SCRIPT.format(then=then)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, env={**os.environ, 'TF_CPP_MIN_LOG_LEVEL': '3'})


def gone(pid, seconds=10):
  deadline = time.monotonic() + seconds
  while time.monotonic() < deadline:
    if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
      return True
    time.sleep(0.05)
  return False


class Read(collections.abc.Sequence):
  """Numbers that note when they are read."""

  def __init__(self, count, events):
    self.count, self.events = count, events

  def __len__(self):
    return self.count

  def __getitem__(self, position):
    self.events.append(position)
    return np.int32(position)


def test_a_large_cohort_is_read_a_call_at_a_time(tff_runtime, monkeypatch):
  @tff.federated_computation(tff.FederatedType(np.int32, tff.CLIENTS))
  def total(x):
    return tff.federated_sum(x)

  events, run = [], tff_runtime._run
  monkeypatch.setattr(tff_runtime, '_run', lambda *given: (events.append('call'), run(*given))[1])
  with tff_runtime.limited(4):
    assert total(Read(10, events)) == sum(range(10))
  assert events[:13] == [*range(4), 'call', *range(4, 8), 'call', 'call', 8, 9], 'the second call is the addition'
  events.clear()
  assert total(Read(3, events)) == 3 and events == [0, 1, 2, 'call']
  with pytest.raises(TypeError, match='found int'):
    total(3)


def test_the_worker_ends_with_the_block_and_the_pipe_closes():
  script = start('pass')
  out, err = script.communicate(timeout=120)  # A worker that held the pipe would hang this.
  total, pid = out.splitlines()[0].split()
  assert total == '3' and script.returncode == 0
  assert gone(int(pid))
  assert 'No runtime is open' in out
  assert 'Traceback' not in err and 'Exception ignored' not in err


def test_the_worker_dies_with_a_killed_parent():
  script = start('import time; time.sleep(100)')
  pid = int(script.stdout.readline().split()[1])
  assert psutil.pid_exists(pid)
  script.send_signal(signal.SIGKILL)
  script.communicate(timeout=20)
  assert gone(pid)


def test_cohorts_of_any_size_including_none(tff_runtime):
  @tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
  def total(x):
    return tff.federated_sum(x)
  assert [total([]), total([1.5]), total([1.0] * 40)] == [0.0, 1.5, 40.0]


def test_a_large_cohort_takes_several_calls_and_gives_the_same(tff_runtime, monkeypatch):
  @tff.tensorflow.computation(np.float32)
  def half(x):
    return x / 2

  @tff.tensorflow.computation(np.float32, np.float32)
  def larger(x, y):
    return tf.maximum(x, y)

  @tff.federated_computation(tff.FederatedType(np.float32, tff.SERVER), tff.FederatedType(np.float32, tff.CLIENTS))
  def measured(state, x):
    halves = tff.federated_map(half, x)
    return collections.OrderedDict(
        state=state, total=tff.federated_sum(halves),
        largest=tff.federated_aggregate(x, np.float32(0), larger, larger, half))

  @tff.federated_computation(tff.FederatedType(np.float32, tff.SERVER), tff.FederatedType(np.float32, tff.CLIENTS))
  def twice(state, x):
    first = tff.federated_broadcast(tff.federated_sum(x))
    return tff.federated_sum(tff.federated_map(larger, (x, first))), state

  values = [float(i) for i in range(23)]
  with tff_runtime.limited(5):
    parts = []
    monkeypatch.setattr(tff_runtime, '_invoke_in_parts', lambda *a, made=tff_runtime._invoke_in_parts: (
        parts.append(a[-2:]), made(*a))[1])
    found = measured(7.0, values)
    assert parts == [(23, 5)]
    assert twice(7.0, values) == (23 * sum(values), 7.0), 'one aggregation needs the other: in one call'
    assert len(parts) == 1
  assert isinstance(found, collections.OrderedDict)
  assert dict(found) == {'state': 7.0, 'total': sum(values) / 2, 'largest': 11.0}


def test_a_worker_that_cannot_start_says_so():
  taken = worker_process.WorkerProcess(threads=1, max_concurrent_clients=1)
  try:
    taken.wait_until_serving()
    os.kill(taken.pid, signal.SIGKILL)
    while taken.alive():
      time.sleep(0.01)
    with pytest.raises(RuntimeError, match=str(taken.port)):
      taken.wait_until_serving(timeout_seconds=5)
  finally:
    taken.stop()


def test_a_runtime_within_another_leaves_the_outer_one_open(tff_runtime):
  one = tff.tensorflow.computation(lambda: tf.constant(1))
  with local.local_runtime() as inner:
    assert inner is not tff_runtime and one() == 1
  assert tff.framework.get_context_stack().current is tff_runtime and one() == 1
