"""The execution context of a run on this machine: one executor process that ends with the run."""

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import ClassVar

import grpc

from tff_vision.configs import runtime_config
from tff_vision.runtime.driver import one_executor, stub
from tff_vision.runtime.tff_internals import executors, sending
from tff_vision.runtime.worker import tls, worker_process

# Varying cohorts often repeat a few sizes, and a new executor must set up its computations again.
_EXECUTORS_KEPT = 10


@contextlib.contextmanager
def local_runtime(*, threads: int | None = 1, max_concurrent_clients: int | None = None, math: str = 'float32',
                  clients_per_call: int = runtime_config.RuntimeConfig().clients_per_call) -> Iterator['LocalContext']:
  """Makes every TFF computation in the `with` block run on a local executor process.

  Args:
    threads: Intra-op threads of a kernel; None means TensorFlow's choice. One thread, with one client per core, is
      fastest for cohorts.
    max_concurrent_clients: Number of clients computed at the same time; None means one per core.
    math: See `RuntimeConfig`.
    clients_per_call: See `RuntimeConfig`.

  Yields:
    The context.

  Raises:
    RuntimeError: The executor does not start.
  """
  concurrent = max_concurrent_clients or os.cpu_count() or 1
  worker = worker_process.WorkerProcess(threads=threads, max_concurrent_clients=concurrent, math=math)

  def serving():
    worker.wait_until_serving()
    return LocalContext(worker, concurrent, clients_per_call)

  try:
    with one_executor.installed(serving) as opened:
      yield opened
  finally:
    worker.stop()


@contextlib.contextmanager
def local_place(config: runtime_config.RuntimeConfig) -> Iterator['LocalContext']:
  """Opens one executor on this machine."""
  with local_runtime(threads=config.threads, max_concurrent_clients=config.max_concurrent_clients,
                     math=config.math, clients_per_call=config.clients_per_call) as opened:
    yield opened


class ExecutorGone(stub.WorkerLost, ValueError):
  """The local executor has ended."""


class LocalContext(one_executor.OneExecutorContext):
  """Runs all clients on one executor of this machine; the run fails if the executor ends.

  Attributes:
    pid: The executor's process.
  """

  WorkerLost: ClassVar = stub.WorkerLost

  def __init__(self, worker: worker_process.WorkerProcess, concurrent_calls: int, clients_per_call: int):
    sending.teach_tff()
    self.pid = worker.pid
    # TFF's own stub would repeat calls for ever if the executor is gone, even calls that must not be repeated.
    service = stub.DeadlineStub(grpc.insecure_channel(f'127.0.0.1:{worker.port}', tls.CHANNEL_OPTIONS),
                                name='of this machine', call_timeout=None)
    super().__init__(
        executors.LeanExecutors(functools.partial(executors.open_executor, service), _EXECUTORS_KEPT),
        open_for_handles=functools.partial(executors.open_for_handles, service),
        pids=[self.pid], concurrent_calls=concurrent_calls, clients_per_call=clients_per_call)

  @contextlib.contextmanager
  def _calling(self):
    try:
      yield
    except stub.WorkerLost as error:
      raise ExecutorGone(f'the executor of this machine (process {self.pid}) is gone, maybe for want of memory: '
                         f'{error}') from None
