"""A worker's life: serving, shut in, restarted, ended, and nothing left behind."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.runtime import workers
from tff_vision.configs import runtime_config
from tff_vision.runtime.driver import remote
from tff_vision.runtime.worker import processes, supervisor

pytestmark = [workers.needs_nginx, workers.needs_sandbox]


@pytest.fixture
def data_root(tmp_path):
  folder = tmp_path / 'data'
  folder.mkdir()
  (folder / 'fact').write_text('42')
  return folder


def _runtime(worker, **more):
  return remote.remote_runtime(runtime_config.RuntimeConfig(runtime='workers', workers=(worker.address,), **more))


def _on_worker(computation, value):
  """Runs a computation where the client is."""
  placed = tff.FederatedType(computation.type_signature.parameter, tff.CLIENTS)
  return tff.federated_computation(lambda v: tff.federated_map(computation, v), placed)([value])[0]


@tff.tensorflow.computation(np.str_)
def read(path):
  return tf.io.read_file(path)


@tff.tensorflow.computation(np.str_)
def write(path):
  with tf.control_dependencies([tf.io.write_file(path, 'x')]):
    return tf.identity(path)


@tff.tensorflow.computation(np.str_)
def listing(pattern):
  return tf.strings.reduce_join(tf.io.matching_files(pattern), separator=' ')


def test_the_executor_sees_its_data_read_only_and_nothing_else(tmp_path, data_root):
  with workers.running(tmp_path, f'--data_root={data_root}') as worker, _runtime(worker):
    assert _on_worker(read, '/data/fact') in (b'42', '42')
    for secret in ('/etc/passwd', str(data_root / 'fact'), str(pathlib.Path(__file__))):
      with pytest.raises(grpc.RpcError, match='No such file'):
        _on_worker(read, secret)
    for place in ('/data/new', '/usr/lib/new'):
      with pytest.raises(grpc.RpcError, match='Read-only file system'):
        _on_worker(write, place)
    top = set(str(_on_worker(listing, '/*')).strip("b'").split())
    assert top == {'/data', '/dev', '/executor', '/lib', '/lib64', '/proc', '/run', '/tmp', '/usr'}
    environment = str(_on_worker(read, '/proc/1/environ'))
    assert 'PYTHONPATH' not in environment and 'HOME' not in environment
  assert sorted(p.name for p in data_root.iterdir()) == ['fact']


@pytest.mark.parametrize('signal_number', [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_behind(tmp_path, signal_number):
  worker = workers.Worker(tmp_path).wait_until_healthy()
  family = worker.family()
  assert len(family) >= 5  # Supervisor, bubblewrap, executor, nginx and its child.
  code = worker.stop(signal_number)
  assert code == (-9 if signal_number == signal.SIGKILL else 0)
  workers.wait_until(lambda: not any(workers.alive(pid) for pid in family))
  assert not workers.listening(worker.port)


def test_an_executor_that_dies_or_whose_coordinator_was_killed_is_replaced(tmp_path):
  with workers.running(tmp_path) as worker:
    first = worker.executor_pid()
    os.kill(first, signal.SIGKILL)
    workers.wait_until(lambda: 'starting it again' in worker.log.read_text())
    worker.wait_until_healthy()
    second = worker.executor_pid()
    assert second != first

    script = ('import sys, time, grpc; from tff_vision.runtime.worker import tls; '
              f'c = tls.open_channel("{worker.address}", None); grpc.channel_ready_future(c).result(20); '
              'print("in", flush=True); time.sleep(60)')
    with subprocess.Popen([sys.executable, '-c', script], stdout=subprocess.PIPE) as coordinator:
      coordinator.stdout.readline()
      time.sleep(5)  # Ten looks, where three are needed: no health check stays that long.
      coordinator.kill()
    workers.wait_until(lambda: 'the coordinator has left' in worker.log.read_text())
    worker.wait_until_healthy()
    assert worker.executor_pid() != second


@pytest.mark.parametrize(('settings', 'words'), [
    (dict(tls_cert='a.crt'), 'given together'),
    (dict(sandbox='jail'), "sandbox must be one of bubblewrap, none; found 'jail'"),
    (dict(data_root='/data', sandbox='none'), 'data_root needs sandbox=bubblewrap'),
    (dict(port=0), 'port must lie in 1..65535'),
    (dict(health_port=70000), 'health_port must lie in 1..65535, found 70000'),
    (dict(tls_client_name='me'), 'tls_client_name=me has no effect without'),
])
def test_a_worker_that_cannot_be_is_refused_in_words(settings, words):
  with pytest.raises(ValueError, match=words):
    supervisor.WorkerConfig(**settings)


def test_a_folder_that_is_not_there_ends_the_command_with_one_sentence(tmp_path):
  worker = workers.Worker(tmp_path, '--data_root=/nowhere')
  assert worker.stop(signal.SIGCONT) == 1
  assert worker.log.read_text().strip() == "worker: error: data_root='/nowhere' is no folder."


def test_a_folder_for_temporary_files_that_is_too_long_for_sockets_is_named(tmp_path, monkeypatch):
  long = tmp_path / ('l' * 100)
  long.mkdir()
  monkeypatch.setattr(tempfile, 'tempdir', str(long))
  with pytest.raises(ValueError, match=f"TMPDIR='{long}' is too long by [0-9]+: this worker has sockets there"):
    with supervisor.Supervisor(supervisor.WorkerConfig(port=processes.free_port(), sandbox='bubblewrap')):
      pass
  assert not list(long.iterdir())
