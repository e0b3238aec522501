"""The execution context that runs federated computations on several workers.

TFF's compiler splits a computation at its aggregation. The part before runs for each chunk of clients on the
chunk's worker, all workers at the same time; merging the partial results, in the order of the chunks, and
everything after runs on an executor of the coordinator. A worker therefore sees its own clients' data, what the
server broadcasts, and nothing of any other client. With one client for each worker the result equals that of
TFF's local context bit by bit.

TFF's own `create_mergeable_comp_execution_context` runs the workers one after the other, hands every worker the
first client's data unless the last argument is CLIENTS-placed, merges partial results on whichever client's
worker finishes last and in the order in which they finish, and calls a dead worker for ever.
"""

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import tensorflow_federated as tff

from tff_vision.runtime import allocator, arguments, connection, fleet, handles, mixed, native, placement, sending, stub

Result = TypeVar('Result')


class WorkersContext(tff.framework.SyncContext):
  """Runs computations on a fleet; one thread at a time.

  Attributes:
    placement: Which client runs where.
  """

  WorkerLost = stub.WorkerLost

  def __init__(self, *, coordinator: connection.WorkerConnection, workers: fleet.Fleet,
               rule: placement.Placement, attempts: int, faults: list[fleet.Fault]):
    """Args: `faults` is where the fleet reports; `take_faults` empties it."""
    sending.teach_tff()
    allocator.keep_freed_memory()
    self.placement = rule
    self._coordinator = coordinator
    self._fleet = workers
    self._attempts = attempts
    self._faults = faults
    self._cohort = None

  @contextlib.contextmanager
  def cohort(self, clients: Sequence[int], population: int) -> Iterator[None]:
    """Says which clients the lists of the calls inside are: without it, client 0, 1, ... of as many.

    Args:
      clients: Their numbers in the population, in the order of the lists.
      population: How many clients there are in all.
    """
    before, self._cohort = self._cohort, (tuple(map(int, clients)), population)  # Reports in JSON name them.
    try:
      yield
    finally:
      self._cohort = before

  @contextlib.contextmanager
  def limited(self, clients_per_call: int) -> Iterator[None]:
    """Makes the calls inside smaller, if they are larger: for values that fill a worker's memory."""
    before = self.placement
    self.placement = dataclasses.replace(before, clients_per_call=min(clients_per_call, before.clients_per_call))
    try:
      yield
    finally:
      self.placement = before

  def with_parties(self, count: int, protocol: Callable[[Sequence[handles.Party]], Result]) -> Result:
    """Returns what `protocol` returns for those of the cohort's `count` clients whose workers can be reached.

    Computations inside of it are over these clients. It is called again, from the start, if a worker is lost.

    Raises:
      TooFewWorkers: Fewer than min_workers are left, or workers were lost in every attempt.
    """
    for attempt in range(self._attempts):
      try:
        with self._reached(count) as parties:
          return protocol(parties)
      except stub.WorkerLost as error:
        self._fleet.report_lost(str(error))
        if attempt + 1 == self._attempts:
          raise fleet.TooFewWorkers(f'workers were lost in all {self._attempts} attempts at a round; at last: {error}'
                                    ) from error

  @contextlib.contextmanager
  def _reached(self, count):
    """Yields the parties that can be reached, which are the cohort inside."""
    chunks = [(chunk, worker) for chunk in self._chunks(count) if (worker := self._fleet.reach(chunk)) is not None]
    workers = list({id(worker): worker for _, worker in chunks}.values())
    with handles.opened([worker.executor for worker in workers]) as silos:
      silo_of = {id(worker): silo for worker, silo in zip(workers, silos, strict=True)}
      parties = sorted((handles.Party(position, silo_of[id(worker)])
                        for chunk, worker in chunks for position in chunk.positions), key=lambda p: p.position)
      clients, population = self._cohort or (range(count), count)
      with self.cohort([clients[party.position] for party in parties], population):
        yield parties

  @property
  def workers(self) -> Sequence[connection.WorkerConnection]:
    """The workers, in order; for protocols that drive them phase by phase (`handles.Silo`) and for measurements."""
    return self._fleet.workers

  @property
  def pids(self) -> list[int]:
    """The processes on this machine that compute for the run."""
    return [pid for worker in (self._coordinator, *self._fleet.workers) if (pid := worker.pid) is not None]

  def take_faults(self) -> list[fleet.Fault]:
    """Returns what has gone wrong since the last call."""
    taken = list(self._faults)
    del self._faults[:len(taken)]
    return taken

  def invoke(self, comp: tff.Computation, arg: object = None) -> object:
    """Runs `comp`; called by TFF.

    A result that holds values of the server and of the clients is computed in two passes, and what the clients do is
    done in both.

    Raises:
      TooFewWorkers: Fewer than min_workers are left.
      WorkerLost: A worker whose clients' results are part of the result is gone.
      ValueError: The computation cannot be split; a list does not have the cohort's length.
    """
    if arg is None or not arguments.has_clients(comp.type_signature.parameter):
      return self._coordinate(comp, arg)
    if arguments.is_mixed(comp.type_signature.result):
      return mixed.invoke(self.invoke, comp, arg)
    form = native.split_once(comp)
    kind = form.up_to_merge.type_signature.parameter
    chunks = self._chunks(arguments.count_clients(arg, kind))
    merged, present = self._aggregate(form, arg, kind, chunks)
    result = form.after_merge.type_signature.result
    if not arguments.has_clients(result):
      nobody = arguments.select(arg, kind, ())
      return self._coordinate(form.after_merge, tff.structure.Struct.unnamed(nobody, merged))
    _check_complete(chunks, present)
    return self._finish_on_workers(form, arg, kind, chunks, merged)

  def _chunks(self, count):
    if not count:  # Also inside of a cohort: a computation of the server's, with nobody to ask.
      return []
    clients, population = self._cohort or (range(count), count)
    if len(clients) != count:
      raise ValueError(f'the cohort has {len(clients)} clients, the computation was called with {count}.')
    return self.placement.chunks(clients, population)

  def _aggregate(self, form, arg, kind, chunks):
    """Returns the merged partial result and the chunks that are in it."""
    merged, present = None, []
    public = arguments.without_secrets(arg, kind)
    for chunk, partial in self._on_workers(form.up_to_merge, ((c, arguments.select(public, kind, c.positions))
                                                              for c in chunks)):
      if partial is None:
        continue
      present.append(chunk)
      merged = partial if merged is None else self._coordinate(
          form.merge, tff.structure.Struct.unnamed(merged, partial))
    if not present:  # An empty cohort: the sum over nobody.
      merged = self._coordinate(form.up_to_merge, arguments.select(arg, kind, ()))
    return merged, present

  def _finish_on_workers(self, form, arg, kind, chunks, merged):
    calls = ((chunk, tff.structure.Struct.unnamed(arguments.select(arg, kind, chunk.positions), merged))
             for chunk in chunks)
    done = list(self._on_workers(form.after_merge, calls))
    _check_complete(chunks, [chunk for chunk, result in done if result is not None])
    return arguments.join([result for _, result in done], form.after_merge.type_signature.result,
                          [chunk.positions for chunk, _ in done])

  def _on_workers(self, computation, calls):
    """Yields (chunk, result) in order; hands out a few calls ahead, so that results do not pile up here."""
    waiting = collections.deque()
    for chunk, argument in calls:
      waiting.append((chunk, self._fleet.submit(chunk, computation, argument)))
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


def _check_complete(chunks, present):
  if missing := [client for chunk in chunks if chunk not in present for client in chunk.clients]:
    raise stub.WorkerLost(f'the result has a value for each client, but the workers of clients {missing} are gone.')
