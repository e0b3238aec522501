"""Starts and stops the processes of a worker so that none outlives its parent."""

import collections
import contextlib
import errno
import importlib.util
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from tff_vision.runtime.tff_internals import allocator

_STOP_TIMEOUT = 5.0
_LOOK_SECONDS = 0.005
_PACKAGE = pathlib.Path(__file__).resolve().parents[2]
_KEPT = ('PATH', 'HOME', 'TMPDIR', 'LD_LIBRARY_PATH')
# Environment variables with this prefix let the caller of this process find the processes that it started.
_MARK = 'TFF_VISION_'
_VISIBLE = 'CUDA_VISIBLE_DEVICES'
# Names that other processes cannot bind, of ports that were returned lately: who asked for one listens there a little
# later only, and the kernel may give it again until then.
_MOST_CLAIMS = 256
_claims: collections.deque[socket.socket] = collections.deque()


def executor_binary() -> str:
  """Returns the path of TFF's executor service, without importing TFF.

  Raises:
    RuntimeError: TFF is not installed, or this build of TFF includes no executor.
  """
  found = importlib.util.find_spec('tensorflow_federated')
  if found is None:
    raise RuntimeError('tensorflow_federated is not installed: there is no executor to start.')
  path = os.path.join(found.submodule_search_locations[0], 'data', 'worker_binary')
  if not os.access(path, os.X_OK):
    raise RuntimeError(f'tensorflow_federated ships no executor for this system: {path} is not an executable file.')
  return path


def executor_environment(threads: int | None, math: str = 'float32', *, devices: bool = False) -> dict[str, str]:
  """Returns the environment of an executor.

  The rest of the caller's environment is not passed on, because it may hold secrets and graphs run with it.

  Args:
    threads: Threads per operation; None means TensorFlow's choice.
    math: See `RuntimeConfig`.
    devices: Whether it may use GPUs: those that `CUDA_VISIBLE_DEVICES` of this process names, or all.
  """
  kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_MARK)
          or devices and name == _VISIBLE}
  limits = {} if threads is None else {'TF_NUM_INTRAOP_THREADS': str(threads)}
  if math == 'bfloat16':
    limits['TF_SET_ONEDNN_FPMATH_MODE'] = 'BF16'
  hidden = {} if devices else {_VISIBLE: ''}
  return {'TF_CPP_MIN_LOG_LEVEL': '3'} | hidden | allocator.environment() | kept | limits


def note_on_math(math: str, cpuinfo: pathlib.Path = pathlib.Path('/proc/cpuinfo')) -> str | None:
  """Returns a warning if `math` has no effect on this machine's processor; otherwise None.

  oneDNN computes float32 convolutions with bfloat16 instructions on AMX only, not with those of AVX512_BF16.
  """
  if math == 'float32' or not cpuinfo.exists() or 'amx_bf16' in cpuinfo.read_text().split():
    return None
  return f'math={math} changes nothing on this processor, which has no AMX for it.'


def executor_command(binary: str, port: int, max_concurrent_clients: int | None) -> list[str]:
  """Returns the command line; `max_concurrent_clients` None means one per core; more would only need more memory."""
  calls = max_concurrent_clients or os.cpu_count() or 1
  return [binary, f'--port={port}', f'--max_concurrent_computation_calls={calls}']


def device_executor_command(host: str, port: int, max_concurrent_clients: int | None) -> list[str]:
  """Returns the command line of the executor for GPUs; `max_concurrent_clients` None leaves their number to it."""
  limit = [] if max_concurrent_clients is None else [f'--clients={max_concurrent_clients}']
  return [sys.executable, '-m', 'tff_vision.runtime.device_executor', f'--host={host}', f'--port={port}', *limit]


def python_environment() -> dict[str, str]:
  """Returns environment variables with which another interpreter finds this library, and nothing of its caller's."""
  return {'PYTHONPATH': str(_PACKAGE.parent), 'PYTHONDONTWRITEBYTECODE': '1', 'PYTHONUNBUFFERED': '1',
          'PYTHONNOUSERSITE': '1'}


def python_folders() -> list[str]:
  """Returns the files and folders that another interpreter of this environment reads, besides the system's."""
  tensorflow = importlib.util.find_spec('tensorflow')
  packages = [] if tensorflow is None else [pathlib.Path(tensorflow.submodule_search_locations[0]).parent]
  program, system = pathlib.Path(sys.executable), pathlib.Path('/usr')
  found: list[pathlib.Path] = []
  for path in (*map(pathlib.Path, (sys.prefix, sys.base_prefix)), program, program.resolve(), *packages, _PACKAGE):
    # Of the system's own Python the libraries are the system's, and the program is one of many.
    if path != system and not any(path.is_relative_to(known) for known in (system / 'lib', *found)):
      found.append(path)
  return [str(path) for path in found]


def free_port() -> int:
  """Returns a TCP port of the loopback interface that is not in use now, and that no process was given here lately."""
  while True:
    with socket.socket() as listener:
      listener.bind(('127.0.0.1', 0))
      port = listener.getsockname()[1]
    claim = socket.socket(socket.AF_UNIX)
    try:
      claim.bind(f'\0tff_vision port {port}')  # Without a file: it ends with this process.
    except OSError as error:
      claim.close()
      if error.errno == errno.EADDRINUSE:
        continue
      return port  # This system knows no such names.
    _claims.append(claim)
    if len(_claims) > _MOST_CLAIMS:
      _claims.popleft().close()
    return port


class Process:
  """A child process that ends when this object is closed; the kernel ends it when its parent dies.

  What the child has started in its session ends with it. Otherwise nginx's workers, whose master was killed, would keep
  its port, and a new nginx could not listen there.

  Start it from a thread that lives as long as the child should live: Linux binds a child to the thread that created it.

  Attributes:
    name: The name of the program, for messages.
  """

  def __init__(self, command: Sequence[str], *, log: pathlib.Path | None, environment: Mapping[str, str],
               ended_by: signal.Signals = signal.SIGKILL):
    """Starts `command`.

    Args:
      command: The program and its arguments.
      log: File to which all output is appended; None sends the output to our standard error.
      environment: The environment of the child.
      ended_by: The signal that the child gets when its parent dies.
    """
    tied = []
    if shutil.which('setpriv') is not None:
      # If the parent dies before setpriv runs, there is no signal. So the shell first checks its parent; then `command`
      # replaces the shell.
      tied = ['setpriv', '--pdeathsig', ended_by.name[3:], '--',
              'sh', '-c', '[ "$PPID" = "$0" ] && exec "$@"', str(os.getpid())]
    # A session of its own, so that Ctrl-C reaches only the parent, which ends the child itself.
    with contextlib.nullcontext(sys.stderr) if log is None else open(log, 'ab') as output:
      self._child = subprocess.Popen([*tied, *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                     env=dict(environment), start_new_session=True)
    self._reaping = threading.Lock()
    self._log = log
    self.name = os.path.basename(command[0])

  @property
  def pid(self) -> int:
    return self._child.pid

  def last_words(self) -> str:
    """Returns the end of the log."""
    return '' if self._log is None else self._log.read_text(errors='replace')[-500:].strip()

  @property
  def exit_code(self) -> int | None:
    """The exit code; None while the child runs; negative: the signal that ended it."""
    with self._reaping:  # Of two threads that see it ended, one would end the group after the other has waited for it.
      if self._ended():
        # Until it is waited for, its number, which is also that of its group, belongs to nobody else.
        with contextlib.suppress(ProcessLookupError, PermissionError):
          os.killpg(self.pid, signal.SIGKILL)
        self._child.wait()
      return self._child.returncode

  def close(self, first: signal.Signals = signal.SIGTERM) -> None:
    """Ends the child: with signal `first`, and with SIGKILL if that is not enough."""
    if self.exit_code is None:
      self._send(first)
      deadline = time.monotonic() + _STOP_TIMEOUT
      while self.exit_code is None and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
      self._send(signal.SIGKILL)
    while self.exit_code is None:
      time.sleep(_LOOK_SECONDS)

  def _send(self, number):
    """Sends the child a signal, as long as nobody has waited for it."""
    with self._reaping:
      if not self._ended() and self._child.returncode is None:
        os.kill(self.pid, number)

  def _ended(self):
    """Returns whether the child has ended and nobody has waited for it; to be called with the lock held."""
    if self._child.returncode is not None:
      return False
    try:
      return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # Waited for outside of this object: its number may be another's.
      self._child.wait()
      return False


def check_free(host: str, port: int) -> None:
  """Refuses an address that this machine cannot listen at now: another program does, or the address is not its own.

  Raises:
    ValueError: With the reason.
  """
  try:
    for kind, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG):
      with socket.socket(kind, socket.SOCK_STREAM) as listener:
        # Connections of a service that has ended do not hold its port; this is how services bind it.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if kind == socket.AF_INET6:
          listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
  except (OSError, UnicodeError) as error:  # UnicodeError: no name of a host has such characters.
    reason = getattr(error, 'strerror', None) or 'this is no name of a host'
    raise ValueError(f'port={port} at host={host} cannot be listened at: {reason}.') from None


def listens(address: str | tuple[str, int]) -> bool:
  """Returns whether a process accepts connections at `address`, a unix socket's path or (host, port)."""
  with _socket(address) as knock:
    return knock.connect_ex(address) == 0


def serves(address: str | tuple[str, int]) -> bool:
  """Returns whether a gRPC service is at `address`: it sends the first byte, also through a forwarded socket."""
  with _socket(address) as knock:
    try:
      knock.connect(address)
      return bool(knock.recv(1))
    except OSError:
      return False


def wait_until(condition: Callable[[], bool], process: Process, timeout: float) -> None:
  """Waits for `condition`.

  Raises:
    RuntimeError: The process has ended, or `timeout` seconds have passed.
  """
  deadline = time.monotonic() + timeout
  while time.monotonic() < deadline:
    if process.exit_code is not None:
      raise RuntimeError(f'{process.name} ended with code {process.exit_code}. {process.last_words()}')
    if condition():
      return
    time.sleep(0.02)
  raise RuntimeError(f'{process.name} does not serve after {timeout:g} s. {process.last_words()}')


def _socket(address):
  made = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
  made.settimeout(1.0)
  return made
