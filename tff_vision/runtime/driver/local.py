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
# Cohorts whose sizes vary come back to the same few sizes; an executor starts its computations anew.
_EXECUTORS_KEPT = 10


@contextlib.contextmanager
def local_runtime(*, threads: int = 1, max_concurrent_clients: int | None = None, math: str = 'float32',
                  clients_per_call: int = runtime_config.RuntimeConfig().clients_per_call) -> Iterator['LocalContext']:
  """Makes every TFF computation in the `with` block run on a local executor process.

  Args:
    threads: Intra-op threads of a kernel. One, with a client per core, is fastest for cohorts.
    max_concurrent_clients: Clients computed at once; None means one per core.
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
    # A context frees what it holds on the executor when it is collected: first let go of it, then collect, then
    # stop the process.
    if context is not None:
      context.close()
    close()
    if isinstance(around, LocalContext):  # A run inside of another runtime's block leaves that one as it was.
      tff.framework.set_default_context(around)
    worker.stop()


def close() -> None:
  """Leaves this process without a runtime, and frees what the last one held."""
  tff.framework.set_default_context(_Closed())
  gc.collect()


# A program may make an experiment, and ask what it costs, without ever running one: the context that importing TFF
# installs would then be collected when the interpreter is half gone, and print a traceback.
atexit.register(close)


class ExecutorGone(stub.WorkerLost, ValueError):
  """The executor of this machine has ended."""


class _Closed(context_base.SyncContext):
  """What stands between runs. TFF's own default would start an executor that nobody stops."""

  def invoke(self, comp, arg):
    raise RuntimeError('TFF computations run inside `with local_runtime():` only; no runtime is open.')


class LocalContext(context_base.SyncContext, protocols.Place):
  """Runs computations on one executor of this machine: every client runs there, and its end is the run's end.

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
    # TFF's own would call again for ever where the executor is gone, also what must not be computed twice.
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
    """Does nothing: there is one place only, and nothing is tried twice."""
    del clients, population, again
    return contextlib.nullcontext()

  def take_faults(self) -> Sequence[object]:
    return ()

  @contextlib.contextmanager
  def limited(self, clients_per_call: int) -> Iterator[None]:
    """Splits the calls inside, if they have more clients: for values that fill the executor's memory.

    Calls that return values of clients stay whole.
    """
    before = self._clients_per_call
    self._clients_per_call = min(max(clients_per_call, self._concurrent_calls), before)
    try:
      yield
    finally:
      self._clients_per_call = before

  def with_parties(self, count: int, protocol: Callable[[Sequence[handles.Party]], Result]) -> Result:
    """Returns what `protocol` returns for `count` clients, all of which are here."""
    if self._silo is None:  # It stays open: a new one would build its computations' graphs anew.
      self._silo = handles.Silo(functools.partial(executors.open_for_handles, self._stub))
    with self._saying_that_it_is_gone():
      return protocol([handles.Party(position, self._silo) for position in range(count)])

  def invoke(self, comp: tff.Computation, arg: object = None) -> object:
    """Runs `comp`; called by TFF.

    An executor keeps all that clients send in a call until it is added up: large cohorts take several calls, where the
    computation can be split.

    Raises:
      ExecutorGone: The executor has ended; nothing is tried again.
    """
    limit, kind = self._clients_per_call, comp.type_signature
    if arg is None or not arguments.has_clients(kind.parameter) or arguments.has_clients(kind.result):
      return self._run(comp, arg)
    count = arguments.count_clients(arg, kind.parameter)
    if count <= limit:
      return self._run(comp, arg)
    try:
      form = compilation.split_once(comp)
    except ValueError:  # An aggregation after an aggregation.
      return self._run(comp, arg)
    if _grows(form.up_to_merge.type_signature.result):  # All updates, collected: better kept where they are.
      return self._run(comp, arg)
    return self._invoke_in_parts(form, arg, count, limit)

  def close(self) -> None:
    """Lets go of the executor, also where somebody still holds this object."""
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
