"""Client work is done once, whatever a computation returns: every run of it leaves a file, and files are counted."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.configs import runtime_config
from tff_vision.runtime.driver import remote

FLOATS = tff.FederatedType(np.float32, tff.CLIENTS)
SERVERS = tff.FederatedType(np.float32, tff.SERVER)


def counted_work(folder):
  """Returns client work x -> (x + a random number, that number) that leaves a file in `folder` for every run."""
  @tff.tensorflow.computation(np.float32)
  def work(x):
    name = tf.strings.strip(tf.io.read_file('/proc/sys/kernel/random/uuid'))
    drawn = tf.cast(tf.strings.to_hash_bucket_fast(name, 1 << 10), tf.float32)
    with tf.control_dependencies([tf.io.write_file(tf.strings.join([str(folder), name], '/'), '')]):
      return tf.identity(x) + drawn, drawn

  return work


@tff.tensorflow.computation(np.float32, np.float32)
def less(a, b):
  return a - b


def shapes(work):
  """Returns computations of (state, values) in which clients draw, by what they return, each with a check."""
  on = tff.federated_computation(SERVERS, FLOATS)

  def several_sums(state, values):
    found = tff.federated_map(work, values)
    return state, tff.federated_sum(found[0]), tff.federated_sum(found[1]), tff.federated_mean(found[1])

  def round_of_two(state, values):
    found = tff.federated_map(work, values)
    return state, tff.federated_zip((tff.federated_sum(found[0]), tff.federated_sum(found[1])))

  def mixed(state, values):
    found = tff.federated_map(work, values)
    again = tff.federated_map(less, found)
    return collections.OrderedDict(state=state, sum=tff.federated_sum(found[1]), kept=found[1],
                                   other=(again, tff.federated_sum(again)))

  def after_the_sum(state, values):
    found = tff.federated_map(work, values)
    total = tff.federated_broadcast(tff.federated_sum(found[1]))
    return state, tff.federated_map(less, (total, found[1])), found[1], tff.federated_sum(found[1])

  def clients_alone(state, values):
    found = tff.federated_map(work, values)
    return tff.federated_map(less, (found[0], tff.federated_broadcast(state))), found[1]

  def clients_after_the_sum(state, values):
    found = tff.federated_map(work, values)
    total = tff.federated_broadcast(tff.federated_sum(found[1]))
    return tff.federated_map(less, (total, found[1])), found[1]

  def unsummed(state, values):
    return state, tff.federated_map(work, values)

  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6)
  checks = {
      several_sums: lambda r, v: (close(r[1], sum(v) + r[2]), close(r[3], r[2] / len(v))),
      round_of_two: lambda r, v: close(r[1][0], sum(v) + r[1][1]),
      mixed: lambda r, v: (close(r['sum'], sum(r['kept'])), close(r['other'][0], v), close(r['other'][1], sum(v))),
      after_the_sum: lambda r, v: (close(r[3], sum(r[2])), close(r[1], r[3] - np.array(r[2]))),
      clients_alone: lambda r, v: close(r[0], np.array(v) + r[1] - 5),
      clients_after_the_sum: lambda r, v: close(r[0], sum(r[1]) - np.array(r[1])),
      unsummed: lambda r, v: close([a - b for a, b in r[1]], v),
  }
  return [(on(shape), check) for shape, check in checks.items()]


@pytest.mark.parametrize('workers', [0, 1, 2])
def test_every_client_works_once(tff_runtime, tmp_path, workers):
  values = [1.0, 2.0, 4.0, 8.0, 16.0]

  def check_all():
    for computation, check in shapes(counted_work(tmp_path)):
      before = len(list(tmp_path.iterdir()))
      check(computation(5.0, values), values)
      assert len(list(tmp_path.iterdir())) - before == len(values), computation.type_signature.result

  if not workers:
    check_all()
    with tff_runtime.limited(1):  # In parts, as many clients at a time as there are cores.
      check_all()
    return
  config = runtime_config.RuntimeConfig(runtime='workers', local_workers=workers, clients_per_call=2)
  with remote.remote_runtime(config) as runtime:
    check_all()
    assert runtime.take_faults() == []
