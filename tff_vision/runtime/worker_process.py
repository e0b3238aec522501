"""One TFF executor process on this host, started so that it cannot outlive us.

TFF's own local context starts `worker_binary` with our standard output and never reaps it: it survives the
script and keeps every pipe on the script's output open. Here the process gets no standard streams of ours, its
own thread and allocator settings, and dies with us, also when we are killed.
"""

import ctypes
import importlib.util
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import grpc

# Large blocks stay in the heap: model-sized tensors are allocated anew for every client, and handing each back
# to the kernel costs page faults worth 15-20 % of a round.
_ALLOCATOR = {
    'MALLOC_MMAP_THRESHOLD_': str(1 << 30),
    'MALLOC_TRIM_THRESHOLD_': str(1 << 31),
    'MALLOC_TOP_PAD_': str(1 << 26),
}
_PR_SET_PDEATHSIG = 1
_MAX_MESSAGE = -1
CHANNEL_OPTIONS = (
    ('grpc.max_receive_message_length', _MAX_MESSAGE),
    ('grpc.max_send_message_length', _MAX_MESSAGE),
    ('grpc.initial_reconnect_backoff_ms', 200),
    ('grpc.max_reconnect_backoff_ms', 1000),
)


def worker_binary() -> pathlib.Path:
  """Returns the executor program that the tensorflow-federated wheel carries.

  Raises:
    RuntimeError: The wheel is not installed, or carries none.
  """
  # Not an import of the package: that costs seconds, and fails where the doctor must still speak.
  package = importlib.util.find_spec('tensorflow_federated')
  if package is None or package.origin is None:
    raise RuntimeError('tensorflow_federated is not installed.')
  path = pathlib.Path(package.origin).parent / 'data' / 'worker_binary'
  if not path.is_file():
    raise RuntimeError(f'The tensorflow-federated wheel has no executor at {path}; reinstall the lock.')
  return path


def free_port() -> int:
  """Returns a TCP port that was free a moment ago."""
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    return probe.getsockname()[1]


class WorkerProcess:
  """A running `worker_binary`.

  Attributes:
    port: Its TCP port; it listens on every interface, without encryption (see docs/remote.md).
    pid: Its process id.
  """

  def __init__(self, *, threads: int, max_concurrent_clients: int, port: int | None = None):
    """Starts the process.

    Args:
      threads: Intra-op threads of each TensorFlow kernel.
      max_concurrent_clients: How many clients are computed at once.
      port: None picks a free one.
    """
    self.port = free_port() if port is None else port
    self._log = tempfile.TemporaryFile()
    environment = os.environ | _ALLOCATOR | {
        'TF_NUM_INTRAOP_THREADS': str(threads), 'TF_CPP_MIN_LOG_LEVEL': '3', 'CUDA_VISIBLE_DEVICES': ''}
    self._process = subprocess.Popen(
        [str(worker_binary()), f'--port={self.port}',
         f'--max_concurrent_computation_calls={max_concurrent_clients}'],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._log, env=environment,
        start_new_session=True,  # Ctrl-C is for us: the round in progress is finished, then we stop it.
        preexec_fn=_die_with_parent if sys.platform == 'linux' else None)
    self.pid = self._process.pid

  def wait_until_serving(self, timeout_seconds: float = 60.0) -> None:
    """Blocks until the process answers.

    Raises:
      RuntimeError: It ended or did not answer in time; the message holds its last words.
    """
    with grpc.insecure_channel(f'127.0.0.1:{self.port}', CHANNEL_OPTIONS) as channel:
      # A method that no executor has: a server that says so is serving. Watching the channel's state instead would
      # leave a thread behind that prints a traceback when the channel is closed.
      ask = channel.unary_unary('/grpc.health.v1.Health/Check')
      deadline = time.monotonic() + timeout_seconds
      while time.monotonic() < deadline and self.alive():
        try:
          ask(b'', wait_for_ready=True, timeout=0.5)
        except grpc.RpcError as error:
          if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return
    raise RuntimeError(f'The TFF executor on port {self.port} does not answer. {self.last_words()}')

  def alive(self) -> bool:
    return self._process.poll() is None

  def last_words(self) -> str:
    """Returns the end of what the process wrote to its standard error."""
    self._log.seek(0)
    return self._log.read().decode(errors='replace')[-500:].strip()

  def stop(self) -> None:
    """Ends the process; does nothing if it has ended."""
    if self.alive():
      self._process.terminate()
      try:
        self._process.wait(timeout=2)
      except subprocess.TimeoutExpired:
        self._process.kill()
    self._process.wait()


_LIBC = ctypes.CDLL(None, use_errno=True)


def _die_with_parent():
  _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
