"""A worker that lives as long as this process, for the coordinator itself and for local tests of several workers."""

from tff_vision.runtime.worker import worker_process


class LocalWorker:
  """An endpoint that starts an executor on a free port, and restarts it each time it is lost."""

  def __init__(self, name: str, *, threads: int | None, max_concurrent_clients: int | None, math: str):
    """Args: See `RuntimeConfig` for the limits."""
    self.name = name
    self._threads = threads
    self._max_concurrent_clients = max_concurrent_clients
    self._math = math
    self._process = None

  def open(self) -> str:
    """Starts a new executor and returns its address."""
    self.close()
    self._process = worker_process.WorkerProcess(threads=self._threads,
                                                 max_concurrent_clients=self._max_concurrent_clients, math=self._math)
    self._process.wait_until_serving()
    return f'127.0.0.1:{self._process.port}'

  def close(self) -> None:
    if self._process is not None:
      self._process.stop()
    self._process = None

  @property
  def pid(self) -> int | None:
    """The process that `open` started last; None before `open` and after `close`."""
    return self._process.pid if self._process else None
