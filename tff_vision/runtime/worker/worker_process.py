"""One TFF executor process on this host, started so that it cannot outlive its parent.

TFF's own local context starts `worker_binary` with our standard output and never ends it. So it outlives the script and
keeps every pipe on the script's output open. Here the process gets none of our standard streams and has its own thread
and allocator settings. It ends with our process, even if our process is killed.
"""

import pathlib
import signal
import tempfile

from tff_vision.runtime.worker import processes


class WorkerProcess:
  """A running `worker_binary`.

  Attributes:
    port: Its TCP port; it listens on every interface, without encryption (see docs/how-to/remote.md).
    pid: Its process id.
  """

  def __init__(self, *, threads: int | None, max_concurrent_clients: int | None, math: str = 'float32'):
    """Starts the process on a free port.

    Args:
      threads: Intra-op threads of each TensorFlow kernel; None means TensorFlow's choice.
      max_concurrent_clients: Number of clients computed at the same time; None means one per core.
      math: See `RuntimeConfig`.

    Raises:
      RuntimeError: TFF includes no executor for this system.
    """
    self.port = processes.free_port()
    self._folder = tempfile.TemporaryDirectory(prefix='tff_vision-')
    self._process = processes.Process(
        processes.executor_command(processes.executor_binary(), self.port, max_concurrent_clients),
        log=pathlib.Path(self._folder.name, 'executor.log'), environment=processes.executor_environment(threads, math))
    self.pid = self._process.pid

  def wait_until_serving(self, timeout_seconds: float = 60.0) -> None:
    """Blocks until the process answers.

    Raises:
      RuntimeError: The process ended or did not answer in time; the message holds the end of its log.
    """
    try:
      processes.wait_until(lambda: processes.serves(('127.0.0.1', self.port)), self._process, timeout_seconds)
    except RuntimeError as error:
      raise RuntimeError(f'The TFF executor on port {self.port} does not answer: {error}') from None

  def alive(self) -> bool:
    return self._process.exit_code is None

  def stop(self) -> None:
    """Ends the process with SIGKILL, since it has nothing to save; does nothing if it has already ended."""
    self._process.close(signal.SIGKILL)
    self._folder.cleanup()
