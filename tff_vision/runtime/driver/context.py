"""The execution context that runs federated computations on several workers.

TFF's compiler splits a computation at its aggregation. The part before runs for each chunk of clients on the
chunk's worker; all workers run at the same time. An executor of the coordinator merges the partial results, in the
order of the chunks, and runs the part after the aggregation. A worker therefore sees its own clients' data and what
the server broadcasts, and nothing of any other client. With one client for each worker the result equals that of
TFF's local context bit by bit.

TFF's own `create_mergeable_comp_execution_context` runs the workers one after the other. It gives every worker the
first client's data unless the last argument is CLIENTS-placed. It merges partial results in the order in which they
finish, on the worker that finishes last, and it calls a dead worker for ever.
"""

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, TypeVar

import tensorflow_federated as tff
from tensorflow_federated.python.core.impl.types import type_conversions

from tff_vision import protocols
from tff_vision.runtime.driver import connection, fleet, key_holder, placement, stub
from tff_vision.runtime.tff_internals import allocator, arguments, compilation, handles, sending, two_pass

Result = TypeVar('Result')


class WorkersContext(tff.framework.SyncContext, key_holder.AsksKeyHolder, protocols.Place):
  """Runs computations on a fleet; only one thread may use it at a time.

  Attributes:
    placement: The rule that assigns clients to workers.
  """

  WorkerLost: ClassVar = stub.WorkerLost

  def __init__(self, *, coordinator: connection.WorkerConnection, workers: fleet.Fleet,
               rule: placement.Placement, attempts: int, faults: list[fleet.Fault]):
    """Args: `faults` is the list to which the fleet adds faults; `take_faults` empties it."""
    sending.teach_tff()
    allocator.keep_freed_memory()
    self.placement = rule
    self._coordinator = coordinator
    self._fleet = workers
    self._attempts = attempts
    self._faults = faults
    self._cohort: _Cohort | None = None
    self._asked: set[int] = set()  # Clients that took part in a call of this attempt.

  @contextlib.contextmanager
  def cohort(self, clients: Sequence[int], population: int, again: fleet.Again | None = None) -> Iterator[None]:
    """Sets which clients the argument lists of the calls inside refer to; the default is clients 0, 1, ..., in order.

    Args:
      clients: The clients' numbers in the population, in the order of the lists.
      population: The total number of clients.
      again: Called with the numbers of clients before these may compute something a second time, because a worker was
        lost that may have answered. It may be called from several threads; an exception from it ends the call. None:
        what the clients compute is a function of what they are sent.
    """
    # Plain ints, because JSON reports contain the client numbers.
    before, self._cohort = self._cohort, _Cohort(tuple(map(int, clients)), population, again)
    try:
      yield
    finally:
      self._cohort = before

  @contextlib.contextmanager
  def limited(self, clients_per_call: int) -> Iterator[None]:
    """Limits the number of clients in each call inside, for values that would fill a worker's memory."""
    before = self.placement
    self.placement = dataclasses.replace(before, clients_per_call=min(clients_per_call, before.clients_per_call))
    try:
      yield
    finally:
      self.placement = before

  def with_parties(self, count: int, protocol: Callable[[Sequence[handles.Party]], Result]) -> Result:
    """Runs `protocol` for those of the cohort's `count` clients whose workers can be reached; returns its result.

    Computations inside `protocol` include only these clients. If a worker is lost, `protocol` starts again.

    Raises:
      TooFewWorkers: Fewer than min_workers are left, or no attempt was finished.
    """
    for attempt in range(self._attempts):
      self._asked = set()
      try:
        with self._reached(count) as parties:
          return protocol(parties)
      except (stub.WorkerLost, stub.BeginAgain) as error:
        self._fleet.report_lost(str(error), error.party)
        if attempt + 1 == self._attempts:
          raise fleet.TooFewWorkers(f'none of {self._attempts} attempts at a round was finished; at last: {error}'
                                    ) from error
      if self._asked and self._cohort is not None and self._cohort.again is not None:
        self._cohort.again(sorted(self._asked))
    raise AssertionError(f'{self._attempts} attempts')

  @contextlib.contextmanager
  def _reached(self, count):
    """Yields the parties that can be reached; inside the `with` block they are the cohort."""
    chunks = [(chunk, worker) for chunk in self._chunks(count) if (worker := self._fleet.reach(chunk)) is not None]
    workers = list({id(worker): worker for _, worker in chunks}.values())
    with handles.opened([worker.executor for worker in workers]) as silos:
      silo_of = {id(worker): silo for worker, silo in zip(workers, silos, strict=True)}
      whole = self._cohort or _Cohort(tuple(range(count)), count)
      parties = sorted((handles.Party(position, silo_of[id(worker)], whole.clients[position], worker.site())
                        for chunk, worker in chunks for position in chunk.positions), key=lambda p: p.position)
      with self.cohort([whole.clients[party.position] for party in parties], whole.population, whole.again):
        yield parties

  def hear(self, listener: Callable[[Sequence[int], object], None]) -> None:
    """Calls `listener` for every answer of a worker, with the numbers of the clients and the answer."""
    self._fleet.hear(listener)

  @property
  def workers(self) -> Sequence[connection.WorkerConnection]:
    """The workers, in order; for protocols that drive them phase by phase (`handles.Silo`) and for measurements."""
    return self._fleet.workers

  @property
  def plays(self) -> frozenset[str]:
    """The names of the protocols of which all sites that can be reached play their half themselves."""
    return self._fleet.plays()

  @property
  def pids(self) -> list[int]:
    """The processes on this machine that compute for the run."""
    return [pid for worker in (self._coordinator, *self._fleet.workers) if (pid := worker.pid) is not None]

  def take_faults(self) -> list[fleet.Fault]:
    """Returns the faults since the last call."""
    taken = list(self._faults)
    del self._faults[:len(taken)]
    return taken

  def invoke(self, comp: tff.Computation, arg: object = None) -> object:
    """Runs `comp`; called by TFF. Each client computes once, also if the result contains values of clients.

    Raises:
      TooFewWorkers: Fewer than min_workers are left.
      WorkerLost: A worker whose clients' results are part of the result is gone.
      ValueError: The computation cannot be split, or a list does not have the cohort's length.
    """
    if arg is None or not arguments.has_clients(comp.type_signature.parameter):
      return self._coordinate(comp, arg)
    kind = comp.type_signature.parameter
    chunks = self._chunks(arguments.count_clients(arg, kind))
    # TFF gives the whole argument to every part, so the server's secrets are removed here on every path.
    public = arguments.without_secrets(arg, kind)
    calls = [(chunk, arguments.select(public, kind, chunk.positions)) for chunk in chunks]
    nobody = arguments.select(arg, kind, ())
    if arguments.has_clients(comp.type_signature.result):
      return self._values_of_clients(comp, calls, nobody)
    form = compilation.split_once(comp)
    partials = self._on_workers((chunk, _invoking(form.up_to_merge, part)) for chunk, part in calls)
    merged = self._merged(form.merge, (partial for _, partial in partials if partial is not None))
    if merged is None:  # An empty cohort: the sum over no clients.
      merged = self._coordinate(form.up_to_merge, nobody)
    return self._coordinate(form.after_merge, tff.structure.Struct.unnamed(nobody, merged))

  def _chunks(self, count):
    if not count:  # A computation of the server without clients; it may also run inside `cohort`.
      return []
    cohort = self._cohort or _Cohort(tuple(range(count)), count)
    if len(cohort.clients) != count:
      raise ValueError(f'the cohort has {len(cohort.clients)} clients, the computation was called with {count}.')
    return self.placement.chunks(cohort.clients, cohort.population)

  def _merged(self, merge, partials):
    """Returns the sum of partial results, in order; None if there are none."""
    merged = None
    for partial in partials:
      merged = partial if merged is None else self._coordinate(merge, tff.structure.Struct.unnamed(merged, partial))
    return merged

  def _values_of_clients(self, comp, calls, nobody):
    """Runs a computation that returns values of clients and perhaps of the server; fails if any client is lost."""
    kind, parts = comp.type_signature.result, two_pass.parts(comp)
    positions = [chunk.positions for chunk, _ in calls]
    if parts is None:  # No aggregation.
      done = self._complete((chunk, _invoking(comp, part)) for chunk, part in calls)
      return arguments.join(done, kind, positions)
    if parts.at_once is not None:
      done = self._complete((chunk, _invoking(parts.at_once, part)) for chunk, part in calls)
      partials, values = [partial for partial, _ in done], [value for _, value in done]
    else:
      begun = self._complete((chunk, functools.partial(_begin, parts, part, len(chunk.positions)))
                             for chunk, part in calls)
      partials = [one.partial for one in begun]
    merged = self._merged(parts.merge, partials)
    if merged is None:
      merged = self._coordinate(parts.up_to_merge, tff.structure.Struct.unnamed(nobody, parts.nobody()))
    servers = ()
    if arguments.is_mixed(kind):
      servers = self._coordinate(parts.servers, tff.structure.Struct.unnamed(nobody, parts.nobody(), merged))
    if parts.at_once is None:
      waiting = [self._fleet.follow_up(one.worker, functools.partial(_end, parts, one, merged)) for one in begun]
      values = [future.result() for future in waiting]
    clients = arguments.join(values, parts.clients.type_signature.result, positions)
    return type_conversions.type_to_py_container(two_pass.assemble(kind, servers, clients), kind)

  def _complete(self, calls):
    """Returns the results of calls of all chunks, in order.

    Raises:
      WorkerLost: One of the chunks has no result.
    """
    done = list(self._on_workers(calls))
    if missing := [client for chunk, result in done if result is None for client in chunk.clients]:
      raise stub.WorkerLost(f'the result has a value for each client, but the workers of clients {missing} are gone.')
    return [result for _, result in done]

  def _on_workers(self, calls):
    """Yields (chunk, result) in order; `calls` has pairs of a chunk and its work.

    Submits only a few calls ahead, so that results do not accumulate here.
    """
    waiting: collections.deque[tuple[placement.Chunk, Any]] = collections.deque()
    again = self._cohort.again if self._cohort is not None else None
    for chunk, work in calls:
      self._asked.update(chunk.clients)
      waiting.append((chunk, self._fleet.submit(chunk, work, again)))
      if len(waiting) > 2 * self.placement.num_workers:
        yield self._next(waiting)
    while waiting:
      yield self._next(waiting)

  def _next(self, waiting):
    chunk, future = waiting.popleft()
    try:
      result = future.result()
      if result is None:
        self._fleet.check_size()
      return chunk, result
    except BaseException:
      for _, other in waiting:
        other.cancel()
      raise

  def _coordinate(self, computation, argument):
    for attempt in range(self._attempts):
      try:
        self._coordinator.connect(60.0)
        return self._coordinator.invoke(computation, argument)
      except stub.WorkerLost as error:
        if attempt + 1 == self._attempts:
          raise
        self._faults.append(fleet.Fault(self._coordinator.name, str(error)))


@dataclasses.dataclass(frozen=True)
class _Cohort:
  """The clients that the lists of the calls refer to; see `WorkersContext.cohort`."""
  clients: tuple[int, ...]
  population: int
  again: fleet.Again | None = None


@dataclasses.dataclass(frozen=True)
class _Begun:
  """The values of a chunk that a worker keeps until the sum is computed.

  Attributes:
    argument, kept: Handles in `silo`.
    partial: The partial sum of the chunk.
  """
  worker: connection.WorkerConnection
  silo: handles.Silo
  argument: handles.Handle
  kept: handles.Handle
  partial: object


def _invoking(computation, argument):
  return lambda worker: worker.invoke(computation, argument)


def _begin(parts, argument, clients, worker):
  """Runs the clients' work on `worker`, keeps the result there, and fetches the partial sum."""
  with worker.computing():
    silo = worker.silo(clients)
    argument = silo.put(argument, parts.work.type_signature.parameter)
    kept = silo.call(parts.work, argument)
    partial = _fetched(silo, silo.call(parts.up_to_merge, argument, kept), parts.up_to_merge)
  return _Begun(worker, silo, argument, kept, partial)


def _end(parts, begun, merged, worker):
  """Returns the values of the chunk's clients, once the sum is known."""
  with worker.computing():
    return _fetched(begun.silo, begun.silo.call(parts.clients, begun.argument, begun.kept, merged), parts.clients)


def _fetched(silo, handle, computation):
  return type_conversions.type_to_py_container(silo.fetch(handle), computation.type_signature.result)
