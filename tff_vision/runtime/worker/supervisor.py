"""Supervises one worker: a sandboxed executor behind nginx, restarted until it is told to stop."""

import contextlib
import dataclasses
import logging
import os
import pathlib
import shutil
import signal
import tempfile
from collections.abc import Callable
from typing import Protocol

from tff_vision.configs import option, runtime_config
from tff_vision.runtime.worker import nginx, processes, sandbox

SANDBOXES = ('bubblewrap', 'none')
EXECUTORS = ('worker_binary', 'device')
_LONGEST_SOCKET = 107  # Bytes of the name of a unix socket.
_START_TIMEOUT = 30.0
_PYTHON_START_TIMEOUT = 180.0
_GUARD = 'guard.sock'
# A coordinator without a connection for this many checks, a tenth of a minute, has left.
_LOOKS_UNTIL_LEFT = 12
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkerConfig(runtime_config.ExecutorConfig):
  """The config of a worker. Without TLS, and with a host other than 127.0.0.1, anybody can run programs here."""
  host: str = option.option('127.0.0.1', 'Address to listen at; 0.0.0.0 means every interface.')
  port: int = option.option(8000, 'TCP port to listen at.')
  tls_client_ca: str | None = option.option(
      None, 'PEM file of the authority that signed the certificate of the coordinator.')
  tls_client_name: str = option.option(
      'coordinator', 'The certificate of the coordinator has exactly this subject, after CN=.')
  executor: str = option.option(
      'worker_binary', 'worker_binary, TensorFlow Federated\'s own, computes on the processor; device computes on the '
      'GPUs that TensorFlow sees, or on the processor if it sees none.', choices=EXECUTORS)
  data_root: str | None = option.option(
      None, 'Folder that the executor sees as /data, read-only; unset shows it no data.')
  sandbox: str = option.option(
      'bubblewrap', 'bubblewrap shuts the executor in; none means that the machine or container does.',
      choices=SANDBOXES)
  approved: str | None = option.option(
      None, 'File that python -m pipelines.approve made: nothing but what it approves passes; unset: whatever the '
      'coordinator sends runs.')
  audit_log: str = option.option(
      'audit.jsonl', 'With approved: file to which a line is appended for every call; it is also what is counted.')
  health_port: int | None = option.option(
      None, 'Port that answers HTTP GET with 200 while it serves, else 503; unset answers nowhere.')

  def __post_init__(self):
    option.check_choices(self)
    option.check_numbers(self)
    for name in ('port', 'health_port'):
      if (port := getattr(self, name)) is not None and not 0 < port < 65536:
        raise ValueError(f'{name} must lie in 1..65535, found {port}.')
    files = (self.tls_cert, self.tls_key, self.tls_client_ca)
    if any(files) and not all(files):
      raise ValueError(f'tls_cert, tls_key and tls_client_ca are given together; found {files}.')
    if self.tls_client_name != type(self).tls_client_name and not any(files):
      raise ValueError(f'tls_client_name={self.tls_client_name} has no effect without tls_cert, tls_key and '
                       'tls_client_ca: nobody is asked for a name.')
    if self.approved is not None and not any(files):
      raise ValueError('approved needs tls_cert, tls_key and tls_client_ca: the key of the certificate signed it.')
    if self.audit_log != type(self).audit_log and self.approved is None:
      raise ValueError(f'audit_log={self.audit_log} has no effect without approved: nothing is counted.')
    if self.executor == 'device' and self.math != type(self).math:
      raise ValueError(f'math={self.math} does not go with executor=device, which computes in float32.')
    if self.math == 'float16':
      raise ValueError(f'math=float16 does not go with executor={self.executor}: only runtime=device computes in it.')
    if self.data_root is not None and self.sandbox == 'none':
      raise ValueError('data_root needs sandbox=bubblewrap: without it the executor sees the files of the machine '
                       'under their own names.')

  @property
  def tls(self) -> nginx.DoorTls | None:
    """The settings of nginx for mutual TLS; None without TLS."""
    if self.tls_cert is None:
      return None
    # nginx resolves relative paths from its own folder.
    cert, key, client_ca = map(os.path.abspath, (self.tls_cert, self.tls_key, self.tls_client_ca))
    return nginx.DoorTls(cert=cert, key=key, client_ca=client_ca, client_name=self.tls_client_name)


class Guard(Protocol):
  """What stands between the door and the executor; see `guard.service.Guard`."""

  def served(self, address: str) -> contextlib.AbstractContextManager[int]:
    """Serves at unix:path while the context is open."""

  def forget(self) -> None:
    """Forgets what the executor held, because it was started anew."""


class Supervisor:
  """Starts a worker on entering the context, and ends all its processes on leaving."""

  def __init__(self, config: WorkerConfig, guard: Callable[[str], Guard] | None = None):
    """Args: `guard`: takes the executor's address; None: the door leads to the executor."""
    self._config = config
    self._make_guard = guard
    self._guard: Guard | None = None
    self._stack = contextlib.ExitStack()
    self._executor = self._door = None
    self._away = self._present = 0

  def __enter__(self) -> 'Supervisor':
    """Raises: ValueError: A program is not installed, a file not readable, or the port taken; RuntimeError: A process
    does not start."""
    tls = self._config.tls  # Checks the files, before anything is started.
    processes.check_free(self._config.host, self._config.port)
    self._folder = pathlib.Path(tempfile.mkdtemp(prefix='tff_vision-worker-'))
    try:
      if tls or self._config.sandbox != 'none':
        self._check_room()
      self._start_executor()
      self._start_guard()
      self._start_door()
    except BaseException:
      self.__exit__()
      raise
    config = self._config
    _log.info('serving at %s:%d, %s, sandbox=%s, data %s', config.host, config.port,
              f'TLS for CN={config.tls_client_name}' if tls else 'without TLS', config.sandbox,
              config.data_root)
    return self

  def __exit__(self, *_) -> None:
    if self._door is not None:
      self._door.close()
    self._stack.close()
    if self._executor is not None:
      self._executor.close()
    shutil.rmtree(self._folder, ignore_errors=True)

  def look(self) -> None:
    """Restarts what has ended, and the executor if its coordinator has left; to be called about twice a second.

    Raises:
      RuntimeError: nginx or the executor does not start again.
    """
    if self._door is not None and self._door.exit_code is not None:
      _log.error('nginx ended with code %d; starting it again', self._door.exit_code)
      self._start_door()
    if self._executor.exit_code is not None:
      _log.error('the executor ended with code %d (-9: killed, perhaps out of memory); starting it again',
                 self._executor.exit_code)
      self._start_executor()
    elif self._coordinator_has_left():
      # Otherwise the values of a killed coordinator would stay in the executor for ever.
      _log.info('the coordinator has left: starting a fresh executor')
      self._start_executor()

  def serving(self) -> bool:
    """Returns whether the executor answers."""
    return processes.serves(self._inside)

  @property
  def pids(self) -> list[int]:
    """The processes that this object has started."""
    return [process.pid for process in (self._executor, self._door) if process is not None]

  def _check_room(self):
    longest = os.fsencode(self._folder / 'socket' / sandbox.SOCKET)
    if len(longest) > _LONGEST_SOCKET:
      raise ValueError(f'TMPDIR={str(self._folder.parent)!r} is too long by {len(longest) - _LONGEST_SOCKET}: this '
                       f'worker has sockets there, and Linux knows names of at most {_LONGEST_SOCKET} bytes.')

  def _start_executor(self):
    if self._executor is not None:
      self._executor.close(signal.SIGKILL)
    self._present = self._away = 0
    config = self._config
    environment = processes.executor_environment(config.threads, config.math, devices=self._in_python)
    boxed = config.sandbox == 'bubblewrap'
    port = sandbox.inner_port() if boxed else self._bare_port()
    shown = None
    if self._in_python:
      # Without sandbox and TLS it is the executor itself that is reached from outside.
      host = config.host if not boxed and config.tls is None else '127.0.0.1'
      command = processes.device_executor_command(host, port, config.max_concurrent_clients)
      environment |= processes.python_environment()
      shown = processes.python_folders()
    else:
      command = processes.executor_command(processes.executor_binary(), port, config.max_concurrent_clients)
    self._inside = ('127.0.0.1', port)
    if boxed:
      inside = self._folder / 'socket'
      shutil.rmtree(inside, ignore_errors=True)
      inside.mkdir(mode=0o700)
      self._inside = str(inside / sandbox.SOCKET)
      command = sandbox.command(command, socket_folder=inside, data_root=config.data_root, environment=environment,
                                shown=shown)
      # The environment of bubblewrap itself can be read from inside the sandbox.
      environment = {'PATH': environment['PATH']}
    self._executor = processes.Process(command, log=None, environment=environment)
    processes.wait_until(self.serving, self._executor, _PYTHON_START_TIMEOUT if self._in_python else _START_TIMEOUT)
    if self._guard is not None:
      self._guard.forget()

  @property
  def _in_python(self):
    return self._config.executor == 'device'

  def _start_guard(self):
    if self._make_guard is not None:
      self._guard = self._make_guard(self._inner_address)
      self._stack.enter_context(self._guard.served(f'unix:{self._folder / _GUARD}'))

  @property
  def _inner_address(self):
    return f'unix:{self._inside}' if isinstance(self._inside, str) else f'127.0.0.1:{self._inside[1]}'

  def _bare_port(self):
    if self._config.tls is None:
      _log.warning('sandbox=none without TLS: whoever reaches port %d of this machine can run programs on it',
                   self._config.port)
      return self._config.port
    port = self._inside[1] if self._door is not None else processes.free_port()
    if not self._in_python:  # That one listens at the loopback interface.
      _log.warning('sandbox=none: the executor also listens at port %d, on every interface and without TLS; '
                   'close it with a firewall', port)
    return port

  def _start_door(self):
    config = self._config
    if config.sandbox == 'none' and config.tls is None:
      return
    inside = self._inner_address if self._guard is None else f'unix:{self._folder / _GUARD}'
    command = nginx.command(self._folder, host=config.host, port=config.port, executor=inside, tls=config.tls)
    # SIGTERM, because nginx's children would continue to serve if their master were killed with SIGKILL.
    self._door = processes.Process(command, log=None, environment=processes.executor_environment(None),
                                   ended_by=signal.SIGTERM)
    processes.wait_until(lambda: nginx.serves(self._folder, self._door.pid), self._door, _START_TIMEOUT)

  def _coordinator_has_left(self):
    if count_established(self._config.port):
      self._present, self._away = self._present + 1, 0
      return False
    self._away += 1
    # A health check ends within one check of this supervisor; a coordinator stays connected.
    return self._present > 2 and self._away >= _LOOKS_UNTIL_LEFT


_ESTABLISHED = '01'


def count_established(port: int) -> int:
  """Returns the number of open TCP connections to local `port`, both IP versions, in this network namespace."""
  found = 0
  for table in ('/proc/net/tcp', '/proc/net/tcp6'):
    path = pathlib.Path(table)
    for line in path.read_text().splitlines()[1:] if path.exists() else ():
      _, local, _, state, *_ = line.split()
      found += state == _ESTABLISHED and int(local.rpartition(':')[2], 16) == port
  return found
