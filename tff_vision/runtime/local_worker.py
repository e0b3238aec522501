"""A worker that lives and dies with this process: the coordinator's own executor, and rehearsals of a fleet."""

import pathlib
import signal

from tff_vision.runtime import processes

_START_TIMEOUT = 30.0


class LocalWorker:
  """An endpoint that starts an executor on a free loopback port, again each time it has been lost."""

  def __init__(self, name: str, *, folder: pathlib.Path, threads: int | None, max_concurrent_clients: int | None):
    """Args: `folder` receives the log; see `RuntimeConfig` for the limits, None means none."""
    self.name = name
    self._log = folder / f'{name}.log'
    self._threads = threads
    self._max_concurrent_clients = max_concurrent_clients
    self._process = None

  def open(self) -> str:
    """Starts the executor afresh and returns its address."""
    self.close()
    port = processes.free_port()
    self._process = processes.Process(
        processes.executor_command(processes.executor_binary(), port, self._max_concurrent_clients),
        log=self._log, environment=processes.executor_environment(self._threads))
    processes.wait_until_listening(self._process, ('127.0.0.1', port), _START_TIMEOUT)
    return f'127.0.0.1:{port}'

  def close(self) -> None:
    if self._process is not None:
      self._process.close(signal.SIGKILL)  # It may be stopped or busy, and has nothing to save.
    self._process = None

  @property
  def pid(self) -> int:
    return self._process.pid
