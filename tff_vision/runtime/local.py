"""The execution context of a run on this machine: one executor process, gone when the run is over."""

import contextlib
import gc
import os
from collections.abc import Iterator

import grpc
import tensorflow_federated as tff

# Not public API; TFF builds its own local context from these parts.
from tensorflow_federated.python.core.backends.native import compiler
from tensorflow_federated.python.core.environments.tensorflow_frontend import tensorflow_computation
from tensorflow_federated.python.core.impl.context_stack import context_base
from tensorflow_federated.python.core.impl.execution_contexts import sync_execution_context
from tensorflow_federated.python.core.impl.executor_stacks import python_executor_stacks

from tff_vision.runtime import datasets, tls, worker_process


@contextlib.contextmanager
def local_runtime(*, threads: int = 1, max_concurrent_clients: int | None = None
                  ) -> Iterator[worker_process.WorkerProcess]:
  """Makes every TFF computation in the `with` block run on a local executor process.

  Args:
    threads: Intra-op threads of a kernel. One, with a client per core, is fastest for cohorts.
    max_concurrent_clients: Clients computed at once; None means one per core.

  Yields:
    The executor process.

  Raises:
    RuntimeError: The executor does not start.
  """
  worker = worker_process.WorkerProcess(
      threads=threads, max_concurrent_clients=max_concurrent_clients or os.cpu_count() or 1)
  try:
    worker.wait_until_serving()
    tff.framework.set_default_context(_context(worker.port))
    yield worker
  finally:
    # A context frees what it holds on the executor when it is collected: first replace it, then collect, then
    # stop the process.
    close()
    worker.stop()


def close() -> None:
  """Leaves this process without a runtime, and frees what the last one held."""
  tff.framework.set_default_context(_Closed())
  gc.collect()


class _Closed(context_base.SyncContext):
  """What stands between runs. TFF's own default would start an executor that nobody stops."""

  def invoke(self, comp, arg):
    raise RuntimeError('TFF computations run inside `with local_runtime():` only; no runtime is open.')


def _context(port):
  datasets.lift_size_limit()
  channel = grpc.insecure_channel(f'127.0.0.1:{port}', tls.CHANNEL_OPTIONS)
  stub = tff.framework.RemoteExecutorGrpcStub(channel)

  def executor(cardinalities):
    made = tff.framework.RemoteExecutor(stub)
    made.set_cardinalities({tff.CLIENTS: cardinalities.get(tff.CLIENTS, 0)})
    return made

  return sync_execution_context.SyncExecutionContext(
      executor_fn=python_executor_stacks.ResourceManagingExecutorFactory(executor),
      compiler_fn=compiler.desugar_and_transform_to_native,
      transform_args=tensorflow_computation.transform_args,
      transform_result=tensorflow_computation.transform_result)
