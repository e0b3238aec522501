"""A worker with the device executor: its sandbox, its restarts, and what its configuration says."""

import os
import pathlib
import signal
import sys

import grpc
import pytest

from tests.runtime import test_worker, workers
from tff_vision.runtime.worker import processes, sandbox, supervisor


@pytest.mark.ci
@workers.needs_nginx
@workers.needs_sandbox
def test_it_computes_in_its_sandbox_and_is_replaced_when_it_dies(tmp_path):
  data = tmp_path / 'data'
  data.mkdir()
  (data / 'fact').write_text('42')
  with workers.running(tmp_path, '--executor=device', f'--data_root={data}') as worker:
    with test_worker._runtime(worker):
      assert test_worker._on_worker(test_worker.read, '/data/fact') in (b'42', '42')
      root = pathlib.Path(__file__).parents[3]
      for secret in ('/etc/passwd', str(data / 'fact'), str(root / 'README.md'), str(root / 'tests' / 'conftest.py')):
        with pytest.raises(grpc.RpcError, match='No such file'):
          test_worker._on_worker(test_worker.read, secret)
      for place in ('/data/new', '/usr/lib/new', f'{sys.prefix}/new', f'{root}/tff_vision/new'):
        with pytest.raises(grpc.RpcError, match='Read-only file system'):
          test_worker._on_worker(test_worker.write, place)
      assert 'HOME=/root' not in str(test_worker._on_worker(test_worker.read, '/proc/1/environ'))
    pid = next(pid for pid in worker.family()
               if b'device_executor' in pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()
               and b'bwrap' not in pathlib.Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')[0])
    os.kill(pid, signal.SIGKILL)
    workers.wait_until(lambda: 'starting it again' in worker.log.read_text())
    worker.wait_until_healthy()
    with test_worker._runtime(worker):
      assert test_worker._on_worker(test_worker.read, '/data/fact') in (b'42', '42')
    family = worker.family()
  workers.wait_until(lambda: not any(workers.alive(pid) for pid in family))


@pytest.mark.parametrize(('settings', 'words'), [
    (dict(executor='gpu'), "executor must be one of device, worker_binary; found 'gpu'"),
    (dict(executor='device', math='bfloat16'), 'math=bfloat16 does not go with executor=device'),
])
def test_what_cannot_be_is_refused_in_words(settings, words):
  with pytest.raises(ValueError, match=words):
    supervisor.WorkerConfig(**settings)


def test_the_sandbox_shows_this_library_and_its_python_and_nothing_beside_them(tmp_path):
  folders = processes.python_folders()
  assert str(pathlib.Path(sys.prefix)) in folders and all(path != '/usr' for path in folders)
  package = next(path for path in folders if path.endswith('/tff_vision'))
  assert not any(package.startswith(f'{path}/') for path in folders if path != package) or sys.prefix in package
  command = sandbox.command([sys.executable, '-m', 'x'], socket_folder=tmp_path, data_root=None,
                            environment={'PATH': '/usr/bin'}, shown=folders)
  assert command.index('--tmpfs') < command.index(package), 'a folder below /tmp would be hidden'
  assert command[-3:] == [sys.executable, '-m', 'x'] and '/executor' not in command


def test_of_the_system_s_own_python_the_program_and_the_packages_are_shown(monkeypatch):
  """As Debian has it: /usr/bin/python3 with packages below /usr/local."""
  monkeypatch.setattr(sys, 'prefix', '/usr')
  monkeypatch.setattr(sys, 'base_prefix', '/usr')
  folders = processes.python_folders()
  assert '/usr' not in folders and str(pathlib.Path(sys.executable).resolve()) in folders
  import importlib.util
  assert any(importlib.util.find_spec('tensorflow').origin.startswith(f'{path}/') for path in folders)


def test_gpus_are_shown_to_the_device_executor_only(monkeypatch):
  monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '1')
  assert processes.executor_environment(1)['CUDA_VISIBLE_DEVICES'] == ''
  assert processes.executor_environment(1, devices=True)['CUDA_VISIBLE_DEVICES'] == '1'
  monkeypatch.delenv('CUDA_VISIBLE_DEVICES')
  assert 'CUDA_VISIBLE_DEVICES' not in processes.executor_environment(1, devices=True)


def test_the_devices_of_the_driver_are_shown(tmp_path, monkeypatch):
  for name in ('nvidia0', 'nvidiactl'):
    (tmp_path / name).touch()
  monkeypatch.setattr(sandbox, '_DEVICES', (str(tmp_path / 'nvidia*'),))
  make = lambda shown: sandbox.command(['/x'], socket_folder=tmp_path, data_root=None, environment={}, shown=shown)
  shown = make(['/x'])
  assert [shown[i + 1] for i, word in enumerate(shown) if word == '--dev-bind-try'] == [
      str(tmp_path / 'nvidia0'), str(tmp_path / 'nvidiactl')]
  assert '--dev-bind-try' not in make(None)
