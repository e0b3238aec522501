"""The execution contexts whose clients are all on one executor, in another process or in this one."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, TypeVar

import tensorflow_federated as tff

# Not public API; TFF builds its own local context from these parts.
from tensorflow_federated.python.core.environments.tensorflow_frontend import tensorflow_computation
from tensorflow_federated.python.core.impl.context_stack import context_base
from tensorflow_federated.python.core.impl.execution_contexts import sync_execution_context
from tensorflow_federated.python.core.impl.executors import executor_base

from tff_vision import protocols
from tff_vision.runtime.driver import closed, stub
from tff_vision.runtime.tff_internals import allocator, arguments, compilation, handles

Result = TypeVar('Result')
Opened = TypeVar('Opened', bound='OneExecutorContext')


class OneExecutorContext(context_base.SyncContext, protocols.Place):
  """Runs all clients on one executor."""

  WorkerLost: ClassVar = stub.WorkerLost

  def __init__(self, factory: tff.framework.ExecutorFactory, *, open_for_handles: Callable[[], executor_base.Executor],
               pids: Sequence[int], concurrent_calls: int, clients_per_call: int):
    """Prepares a context.

    Args:
      factory: The executors for computations with any number of clients; it has the methods of `LeanExecutors`.
      open_for_handles: Returns an executor for `handles.Silo`.
      pids: The processes that compute for the run, beside this one.
      concurrent_calls: The number of clients that are computed at the same time.
      clients_per_call: See `RuntimeConfig`.
    """
    allocator.keep_freed_memory()
    self._pids = tuple(pids)
    self._concurrent_calls = concurrent_calls
    self._clients_per_call = clients_per_call
    self._open_for_handles = open_for_handles
    self._silo: handles.Silo | None = None
    self._inner: sync_execution_context.SyncExecutionContext | None = sync_execution_context.SyncExecutionContext(
        executor_fn=factory, compiler_fn=compilation.compile_once,
        transform_args=tensorflow_computation.transform_args,
        transform_result=tensorflow_computation.transform_result)

  @property
  def pids(self) -> Sequence[int]:
    """The processes that compute for the run, beside this one."""
    return self._pids

  @contextlib.contextmanager
  def _calling(self) -> Iterator[None]:
    """Surrounds calls of the executor."""
    yield

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
      self._silo = handles.Silo(self._open_for_handles)
    with self._calling():
      return protocol([handles.Party(position, self._silo, position) for position in range(count)])

  def invoke(self, comp: tff.Computation, arg: object = None) -> object:
    """Runs `comp`; called by TFF.

    An executor keeps all values that clients send in a call until they are summed. So a large cohort takes several
    calls, if the computation can be split.

    Raises:
      WorkerLost: The executor has ended; the call is not repeated.
    """
    limit, kind = self._clients_per_call, comp.type_signature
    if arg is None or not arguments.has_clients(kind.parameter):
      return self._run(comp, arg)
    count = arguments.count_clients(arg, kind.parameter)
    if count > limit and not arguments.has_clients(kind.result) and (form := _parts(comp)) is not None:
      return self._invoke_in_parts(form, arg, count, limit)
    return self._run(comp, arguments.select(arg, kind.parameter, range(count)))

  def close(self) -> None:
    """Releases the executor, even if other code still refers to this object."""
    if self._silo is not None:
      self._silo.close()
    if self._inner is not None:
      self._inner.executor_factory.close()
    self._inner = self._silo = None

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
    with self._calling():
      result = self._inner.invoke(comp, arg)
      self._inner.executor_factory.forget()
      return result


@contextlib.contextmanager
def installed(make: Callable[[], Opened]) -> Iterator[Opened]:
  """Runs the TFF computations in the `with` block in the context that `make` returns, and closes it."""
  around, context = tff.framework.get_context_stack().current, None
  try:
    context = make()
    tff.framework.set_default_context(context)
    yield context
  finally:
    # A context frees its values on the executor when it is garbage-collected. So first drop the context, then collect.
    if context is not None:
      context.close()
    closed.close()
    # A run inside another runtime's block restores that runtime.
    if isinstance(around, OneExecutorContext):
      tff.framework.set_default_context(around)


def _parts(comp):
  """Returns the parts of a computation that may run over a few clients at a time; None if it must see all at once."""
  try:
    form = compilation.split_once(comp)
  except ValueError:  # One aggregation depends on another.
    return None
  # It may collect all updates: then they stay on the executor.
  return None if _grows(form.up_to_merge.type_signature.result) else form


def _grows(kind):
  """Returns whether values of this type may have a size that depends on the number of clients."""
  return tff.types.contains(kind, lambda part: isinstance(part, tff.SequenceType) or (
      isinstance(part, tff.TensorType) and (part.shape is None or None in part.shape)))
