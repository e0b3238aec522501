"""The execution context of a run on this machine: one executor process that ends with the run."""

import atexit
import contextlib
import functools
import gc
import os
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, TypeVar

import grpc
import tensorflow_federated as tff

# Not public API; TFF builds its own local context from these parts.
from tensorflow_federated.python.core.environments.tensorflow_frontend import tensorflow_computation
from tensorflow_federated.python.core.impl.context_stack import context_base
from tensorflow_federated.python.core.impl.execution_contexts import sync_execution_context

from tff_vision import protocols
from tff_vision.configs import runtime_config
from tff_vision.runtime.driver import stub
from tff_vision.runtime.tff_internals import allocator, arguments, compilation, executors, handles, sending
from tff_vision.runtime.worker import tls, worker_process

Result = TypeVar('Result')
# Varying cohorts often repeat a few sizes, and a new executor must set up its computations again.
_EXECUTORS_KEPT = 10


@contextlib.contextmanager
def local_runtime(*, threads: int = 1, max_concurrent_clients: int | None = None, math: str = 'float32',
                  clients_per_call: int = runtime_config.RuntimeConfig().clients_per_call) -> Iterator['LocalContext']:
  """Makes every TFF computation in the `with` block run on a local executor process.

  Args:
    threads: Intra-op threads of a kernel. One thread, with one client per core, is fastest for cohorts.
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
  context, around = None, tff.framework.get_context_stack().current
  try:
    worker.wait_until_serving()
    context = LocalContext(worker, concurrent, clients_per_call)
    tff.framework.set_default_context(context)
    yield context
  finally:
    # A context frees its values on the executor when it is garbage-collected. So first drop the context, then collect,
    # then stop the process.
    if context is not None:
      context.close()
    close()
    if isinstance(around, LocalContext):  # A run inside another runtime's block restores that runtime.
      tff.framework.set_default_context(around)
    worker.stop()


def close() -> None:
  """Removes the runtime of this process and frees its values."""
  tff.framework.set_default_context(_Closed())
  gc.collect()


# A program may create an experiment and compute its cost without running it. Then the context that TFF installs on
# import would be collected during the interpreter's shutdown and print a traceback.
atexit.register(close)


class ExecutorGone(stub.WorkerLost, ValueError):
  """The local executor has ended."""


class _Closed(context_base.SyncContext):
  """The context between runs. TFF's own default would start an executor that is never stopped."""

  def invoke(self, comp, arg):
    raise RuntimeError('TFF computations run inside `with local_runtime():` only; no runtime is open.')


class LocalContext(context_base.SyncContext, protocols.Place):
  """Runs all clients on one executor of this machine; the run fails if the executor ends.

  Attributes:
    pid: The executor's process.
  """

  WorkerLost: ClassVar = stub.WorkerLost

  def __init__(self, worker: worker_process.WorkerProcess, concurrent_calls: int, clients_per_call: int):
    sending.teach_tff()
    allocator.keep_freed_memory()
    self.pid = worker.pid
    self._concurrent_calls = concurrent_calls
    self._clients_per_call = clients_per_call
    self._silo: handles.Silo | None = None
    # TFF's own stub would repeat calls for ever if the executor is gone, even calls that must not be repeated.
    self._stub: stub.DeadlineStub | None = stub.DeadlineStub(
        grpc.insecure_channel(f'127.0.0.1:{worker.port}', tls.CHANNEL_OPTIONS), name='of this machine',
        call_timeout=None)
    self._inner = sync_execution_context.SyncExecutionContext(
        executor_fn=executors.LeanExecutors(functools.partial(executors.open_executor, self._stub), _EXECUTORS_KEPT),
        compiler_fn=compilation.native_form,
        transform_args=tensorflow_computation.transform_args,
        transform_result=tensorflow_computation.transform_result)

  @property
  def pids(self) -> Sequence[int]:
    """The processes that compute for the run."""
    return [self.pid]

  def cohort(self, clients: Sequence[int], population: int, again: object = None
             ) -> contextlib.AbstractContextManager[None]:
    """Does nothing: there is only one executor, and no call is repeated."""
    del clients, population, again
    return contextlib.nullcontext()

  def take_faults(self) -> Sequence[object]:
    return ()

  @contextlib.contextmanager
  def limited(self, clients_per_call: int) -> Iterator[None]:
    """Splits calls inside that have more clients, for values that would fill the executor's memory.

    Calls that return values of clients are not split.
    """
    before = self._clients_per_call
    self._clients_per_call = min(max(clients_per_call, self._concurrent_calls), before)
    try:
      yield
    finally:
      self._clients_per_call = before

  def with_parties(self, count: int, protocol: Callable[[Sequence[handles.Party]], Result]) -> Result:
    """Runs `protocol` for `count` clients, which are all on this machine; returns its result."""
    if self._silo is None:  # It stays open, because a new one would build the graphs of its computations again.
      self._silo = handles.Silo(functools.partial(executors.open_for_handles, self._stub))
    with self._saying_that_it_is_gone():
      return protocol([handles.Party(position, self._silo, position) for position in range(count)])

  def key_holder(self, address: str) -> protocols.KeyHolder:
    """Raises ValueError: clients on this machine sign nothing that a key holder would open."""
    raise ValueError(f'key_holder={address} opens what sites sign, and there are none here; give key_holder_dir.')

  def invoke(self, comp: tff.Computation, arg: object = None) -> object:
    """Runs `comp`; called by TFF.

    An executor keeps all values that clients send in a call until they are summed. So a large cohort takes several
    calls, if the computation can be split.

    Raises:
      ExecutorGone: The executor has ended; the call is not repeated.
    """
    limit, kind = self._clients_per_call, comp.type_signature
    if arg is None or not arguments.has_clients(kind.parameter) or arguments.has_clients(kind.result):
      return self._run(comp, arg)
    count = arguments.count_clients(arg, kind.parameter)
    if count <= limit:
      return self._run(comp, arg)
    try:
      form = compilation.split_once(comp)
    except ValueError:  # One aggregation depends on another.
      return self._run(comp, arg)
    if _grows(form.up_to_merge.type_signature.result):  # It collects all updates: they stay on the executor.
      return self._run(comp, arg)
    return self._invoke_in_parts(form, arg, count, limit)

  def close(self) -> None:
    """Releases the executor, even if other code still refers to this object."""
    if self._silo is not None:
      self._silo.close()
    if self._inner is not None:
      self._inner.executor_factory.close()
    self._inner = self._stub = self._silo = None

  def _invoke_in_parts(self, form, arg, count, limit):
    kind, merged = form.up_to_merge.type_signature.parameter, None
    for start in range(0, count, limit):
      part = arguments.select(arg, kind, range(start, min(start + limit, count)))
      partial = self._run(form.up_to_merge, part)
      merged = partial if merged is None else self._run(
          form.merge, tff.structure.Struct.unnamed(merged, partial))
    nobody = arguments.select(arg, kind, ())
    return self._run(form.after_merge, tff.structure.Struct.unnamed(nobody, merged))

  def _run(self, comp, arg):
    with self._saying_that_it_is_gone():
      result = self._inner.invoke(comp, arg)
      self._inner.executor_factory.forget()
      return result

  @contextlib.contextmanager
  def _saying_that_it_is_gone(self):
    try:
      yield
    except stub.WorkerLost as error:
      raise ExecutorGone(f'the executor of this machine (process {self.pid}) is gone, maybe for want of memory: '
                         f'{error}') from None


def _grows(kind):
  """Returns whether values of this type may have a size that depends on the number of clients."""
  return tff.types.contains(kind, lambda part: isinstance(part, tff.SequenceType) or (
      isinstance(part, tff.TensorType) and (part.shape is None or None in part.shape)))
