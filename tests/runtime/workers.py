"""Workers as their owners run them: `python -m pipelines.worker` in a process of its own."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from tff_vision.runtime.worker import processes

_ROOT = pathlib.Path(__file__).parents[2]

needs_sandbox = pytest.mark.skipif(
    shutil.which('bwrap') is None or shutil.which('socat') is None or subprocess.run(
        ['bwrap', '--unshare-all', '--ro-bind', '/', '/', 'true'], capture_output=True, check=False).returncode != 0,
    reason='bubblewrap and socat are not installed, or this machine forbids user namespaces')
needs_nginx = pytest.mark.skipif(shutil.which('nginx') is None and not os.path.exists('/usr/sbin/nginx'),
                                 reason='nginx is not installed')
needs_ssh = pytest.mark.skipif(shutil.which('ssh') is None or not (shutil.which('sshd') or os.path.exists(
    '/usr/sbin/sshd')), reason='OpenSSH is not installed')


class Worker:
  """A running worker.

  Attributes:
    address: host:port.
    log: File with everything that it says.
  """

  def __init__(self, folder, *options):
    self.port = processes.free_port()
    self.health_port = processes.free_port()
    self.address = f'127.0.0.1:{self.port}'
    self.log = folder / f'worker-{self.port}.log'
    # The kernel ends it if the test process is killed.
    with open(self.log, 'wb') as log:
      self._process = subprocess.Popen(
          ['setpriv', '--pdeathsig', 'TERM', '--', sys.executable, '-m', 'pipelines.worker', f'--port={self.port}',
           f'--health_port={self.health_port}', *options],
          cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | {'PYTHONPATH': str(_ROOT)})

  @property
  def pid(self):
    return self._process.pid

  def health(self):
    """Returns the status of its health check, None if there is no answer."""
    import http.client
    connection = http.client.HTTPConnection('127.0.0.1', self.health_port, timeout=2)
    try:
      connection.request('GET', '/')
      return connection.getresponse().status
    except OSError:
      return None
    finally:
      connection.close()

  def wait_until_healthy(self):
    wait_until(lambda: self.health() == 200 or self._process.poll() is not None)
    assert self._process.poll() is None, self.log.read_text()
    return self

  def family(self):
    """Returns the process ids of the worker and of everything below it."""
    found = [self.pid]
    for pid in found:
      with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # It may have ended meanwhile.
        for children in pathlib.Path(f'/proc/{pid}/task').glob('*/children'):
          found.extend(int(child) for child in children.read_text().split())
    return found

  def executor_pid(self):
    """Returns the process id of TFF's executor."""
    return next(pid for pid in self.family()
                if pathlib.Path(f'/proc/{pid}/cmdline').read_bytes().startswith(b'/executor\0'))

  def stop(self, signal_number=signal.SIGTERM):
    """Returns the exit code."""
    if self._process.poll() is None:
      self._process.send_signal(signal_number)
    return self._process.wait(20)


class OwnExecutor:
  """An executor on a fixed port that the test starts and ends, as another machine's owner would."""

  def __init__(self, folder):
    self.port = processes.free_port()
    self.address = f'127.0.0.1:{self.port}'
    self._folder = folder
    self.start()

  def start(self):
    self._process = processes.Process(
        processes.executor_command(processes.executor_binary(), self.port, 1),
        log=self._folder / f'{self.port}.log', environment=processes.executor_environment(1))
    processes.wait_until(lambda: processes.serves(('127.0.0.1', self.port)), self._process, 20)

  def kill(self):
    self._process.close(signal.SIGKILL)


@contextlib.contextmanager
def running(folder, *options):
  """Yields a healthy worker."""
  worker = Worker(folder, *options)
  try:
    yield worker.wait_until_healthy()
  finally:
    worker.stop()


def wait_until(condition, timeout=120.0):
  deadline = time.monotonic() + timeout
  while not condition():
    assert time.monotonic() < deadline, 'waited in vain'
    time.sleep(0.05)


def alive(pid):
  try:
    state = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
  except FileNotFoundError:
    return False
  return state != 'Z'


def listening(port):
  with socket.socket() as knock:
    return knock.connect_ex(('127.0.0.1', port)) == 0
