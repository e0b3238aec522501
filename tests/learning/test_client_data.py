"""Examples that stay on the workers: the same weights, and no example on the wire."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.learning import test_process
from tests.runtime import relay
from tff_vision import assembly, configs, tasks
from tff_vision.configs import runtime_config
from tff_vision.data import given, images, preprocess, records
from tff_vision.learning import client_data
from tff_vision.learning import learning_process as process
from tff_vision.runtime.driver import remote
from tff_vision.runtime.worker import worker_process


@pytest.fixture(scope='module')
def task():
  return tiny.task(sizes=(40, 25, 33), client_epochs=2)


@pytest.fixture(scope='module')
def made(task):
  return test_process.build(task)


@contextlib.contextmanager
def _tapped(workers, data_placement):
  """Yields a runtime on `workers` local executors and the wires to them."""
  processes = [worker_process.WorkerProcess(threads=1, max_concurrent_clients=1) for _ in range(workers)]
  try:
    for process in processes:
      process.wait_until_serving()
    wires = [relay.Relay(process.port) for process in processes]
    config = runtime_config.RuntimeConfig(runtime='workers', workers=tuple(wire.address for wire in wires),
                                          data_placement=data_placement)
    with remote.remote_runtime(config) as runtime:
      yield runtime, wires
    for wire in wires:
      wire.close()
  finally:
    for process in processes:
      process.stop()


def _train(process, task, request, runtime, rounds=2):
  state = process.set_model_weights(process.initialize(), task.initial_weights())
  for round_num in range(1, rounds + 1):
    with runtime.cohort([0, 1, 2], population=3):
      state = process.next(state, [request(client, round_num) for client in range(3)]).state
  return [np.asarray(w) for w in process.get_model_weights(state).trainable]


def _on_wire(task, client, wire):
  """Returns how many of the client's images are seen as stored, or as the model's input."""
  stored = task.images.train.examples(client).x
  inputs = preprocess.evaluation_fn(task.images.preprocessing, tf.constant(stored)).numpy()
  return sum(a.tobytes() in wire.sent or b.tobytes() in wire.sent for a, b in zip(stored, inputs, strict=True))


def test_the_same_weights_and_no_example_on_the_wire(task, made, tff_runtime, tmp_path):
  local = test_process.train(made, task, clients=range(3))
  with _tapped(3, 'driver') as (runtime, wires):
    shipped = _train(made, task, task.client_dataset, runtime)
    # The tap works: here every worker is sent its own client's images, and nobody else's.
    for worker, wire in enumerate(wires):
      seen = [_on_wire(task, client, wire) for client in range(3)]
      assert seen[worker] > 20 and sum(seen) == seen[worker]
    shipped_bytes = [len(wire.sent) for wire in wires]

  for client in range(3):
    records.write(tmp_path / records.file_name(client), task.images.train.examples(client))
  data = client_data.WorkerData(task=task, folder=str(tmp_path))
  reading = data.read_on_workers(made)
  with _tapped(3, 'worker') as (runtime, wires):
    stayed = _train(reading, task, data.request, runtime)
    assert [_on_wire(task, client, wire) for client in range(3) for wire in wires] == [0] * 9
    before = [len(wire.sent) for wire in wires]
    _train(reading, task, data.request, runtime)
    per_run = [len(wire.sent) - n for wire, n in zip(wires, before, strict=True)]
  for a, b, c in zip(local, shipped, stayed, strict=True):
    assert a.tobytes() == b.tobytes() == c.tobytes()
  # What is sent does not depend on how many images there are: 40, 25 and 33 of them.
  assert max(per_run) - min(per_run) < 2_000
  assert all(n > 0 for n in shipped_bytes)


@pytest.mark.ci
def test_masks_on_workers_give_the_same_weights(tff_runtime, tmp_path):
  rng = np.random.default_rng(2)
  part = lambda count: (rng.integers(0, 255, (count, 6, 6)), rng.integers(0, 3, (count, 6, 6)))
  found = given.from_arrays({name: part(count) for name, count in (('a', 9), ('b', 5), ('c', 7))}, test=None)
  pixels = lambda input_shape, num_classes: tf.keras.Sequential([
      tf.keras.layers.Input(input_shape), tf.keras.layers.Conv2D(num_classes, 3, padding='same')])
  masked = tasks.Task(images=found, model_builder=pixels, seed=5, client=configs.ClientConfig(batch_size=4))
  trained = test_process.build(masked)
  local = test_process.train(trained, masked, clients=range(3))
  for client in range(3):
    records.write(tmp_path / records.file_name(client), found.train.examples(client))
  data = client_data.WorkerData(task=masked, folder=str(tmp_path))
  with _tapped(1, 'worker') as (runtime, _):
    stayed = _train(data.read_on_workers(trained), masked, data.request, runtime)
  for a, b, start in zip(local, stayed, masked.initial_weights().trainable, strict=True):
    assert a.tobytes() == b.tobytes() and not np.array_equal(a, start)


def test_a_client_whose_file_is_gone_is_left_out(task, made, tff_runtime, tmp_path):
  for client in (0, 2):
    records.write(tmp_path / records.file_name(client), task.images.train.examples(client))
  data = client_data.WorkerData(task=task, folder=str(tmp_path))
  config = runtime_config.RuntimeConfig(runtime='workers', local_workers=3, data_placement='worker')
  with remote.remote_runtime(config) as runtime:
    with runtime.cohort([2, 1, 0], population=3):
      assert data.present([2, 1, 0]) == [2, 0]
    found = _train(data.read_on_workers(made), task, data.request, runtime)
  expected = test_process.train(made, task, clients=(0, 2))
  for a, b in zip(found, expected, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def _shortened(task, folder, client, count):
  examples = task.images.train.examples(client)
  records.write(folder / records.file_name(client), images.Examples(examples.x[:count], examples.y[:count]))


def test_what_the_workers_have_decides_and_what_changes_is_refused(task, made, tff_runtime, tmp_path):
  for client, count in ((0, 10), (1, 25)):  # Announced are 40, 25 and 33; the third has no file.
    _shortened(task, tmp_path, client, count)
  config = runtime_config.RuntimeConfig(runtime='workers', local_workers=2, data_placement='worker',
                                        worker_data_dir=str(tmp_path))
  assert assembly.counted(task, runtime_config.RuntimeConfig(), tff_runtime) is task
  counted = assembly.counted(task, config, tff_runtime)
  sizes = lambda task: [task.images.train.num_examples(client) for client in range(3)]
  assert sizes(counted) == [10, 25, 33] and len(counted.images.notes) == len(task.images.notes) + 1
  assert sizes(assembly.counted(task, config, tff_runtime, known=(11, 24, 7))) == [10, 25, 7]
  # Bounds and totals follow.
  assert process.largest_weight(task, configs.AlgorithmConfig()) == 40 * 2
  assert process.largest_weight(counted, configs.AlgorithmConfig()) == 33 * 2
  assert process._total_weight(counted, configs.AlgorithmConfig(), True, read=True) == (10 + 25 + 33) * 2
  fednova = process.algorithm_of(counted, configs.AlgorithmConfig(algorithm='fednova'), counted.client)
  assert fednova._largest == -(-33 * 2 // 4)

  state = made.set_model_weights(made.initialize(), task.initial_weights())
  with remote.remote_runtime(config) as runtime:
    assert sizes(assembly.counted(task, config, runtime)) == [10, 25, 33]

    def round_of(announced, clients):
      data = client_data.WorkerData(task=announced, folder=str(tmp_path))
      return data.read_on_workers(made).next(state, [data.request(client, 1) for client in clients])

    with runtime.cohort([0, 1], population=3):
      trained = round_of(counted, (0, 1)).metrics['client_work']['train']
      assert trained['num_examples'] == (10 + 25) * 2
    for announced, found in ((task, 10), (counted, 12)):  # As the copies here have it; as it was at the start.
      _shortened(task, tmp_path, 0, found)
      with runtime.cohort([1, 0], population=3), pytest.raises(
          ValueError, match=f'^client 0 was announced with {announced.images.train.num_examples(0)} examples, and its '
                            f'file on the worker has {found};'):
        round_of(announced, (1, 0))
    (tmp_path / records.file_name(0)).unlink()  # It teaches nobody anything.
    with runtime.cohort([0, 1], population=3):
      assert round_of(counted, (0, 1)).metrics['client_work']['train']['num_examples'] == 25 * 2


@pytest.mark.parametrize('like', [
    images.Examples(np.arange(2 * 3 * 3 * 1, dtype=np.uint8).reshape(2, 3, 3, 1), np.array([1, 2], np.int32)),
    images.Examples(np.random.default_rng(0).random((3, 2, 4, 3), dtype=np.float32),
                    np.array([[0, 1], [1, 1], [0, 0]], np.float32)),
    images.Examples(np.zeros((0, 2, 2, 1), np.uint8), np.zeros(0, np.int32))])
def test_records_come_back_as_they_were(like, tmp_path):
  path = tmp_path / records.file_name(7)
  records.write(path, like)
  names = [str(one) for one in range(like.y.shape[1] if like.y.ndim == 2 else 3)]
  x, y = records.read(str(path), images.ImageSpec.of(like, names))
  np.testing.assert_array_equal(x, like.x)
  np.testing.assert_array_equal(y, like.y)
  assert [p.name for p in tmp_path.iterdir()] == ['client_000007.tfrecord']
