"""Distributes calls over several workers; when one is lost, the others finish the round.

The result of a chunk of clients depends only on its arguments. So a lost chunk is computed again, on the same worker
or, if its clients are not bound to a worker, on another one, and the result is the same. If clients draw noise of their
own, the new result differs, and the lost result may have been seen. Then the privacy ledger is informed first.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable, Sequence

from tff_vision.runtime.driver import connection, placement, stub

# A function that runs on a worker, such as a call of its `invoke`.
Work = Callable[[connection.WorkerConnection], object]
# Called with client numbers before these clients may compute something a second time; an exception ends the round.
Again = Callable[[Sequence[int]], None]

# The name of the coordinator among those of workers.
COORDINATOR = 'coordinator'
# Seconds to wait for a worker that was given up before, or whose clients can run on another worker.
_QUICK = 1.0


class TooFewWorkers(ValueError):
  """Fewer workers answer than the run requires."""


@dataclasses.dataclass(frozen=True)
class Fault:
  """A failure after which the run continued.

  Attributes:
    worker: The worker's name.
    reason: The observed error.
    clients: The numbers of the clients that dropped out of the round; empty if the call was repeated successfully.
  """
  worker: str
  reason: str
  clients: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class FaultPolicy:
  """Attributes: as in `RuntimeConfig`."""
  attempts: int
  reconnect_timeout: float
  min_workers: int


class Fleet:
  """The workers of a run.

  Attributes:
    workers: In a fixed order, lost ones included.
  """

  def __init__(self, workers: Sequence[connection.WorkerConnection], policy: FaultPolicy,
               on_fault: Callable[[Fault], None]):
    """Args: `on_fault` is called from the workers' threads."""
    self.workers = tuple(workers)
    self._policy = policy
    self._on_fault = on_fault
    self._given_up: dict[int, str] = {}  # Worker's number -> its last error.
    self._lock = threading.Lock()
    self._listener: Callable[[Sequence[int], object], None] | None = None
    # One thread for each worker, because TFF's executor client blocks while the executor computes.
    self._queues = [concurrent.futures.ThreadPoolExecutor(1, f'worker-{i}') for i in range(len(self.workers))]

  def connect(self, timeout: float) -> None:
    """Connects to all workers at the same time.

    Raises:
      TooFewWorkers: Fewer than min_workers answer within `timeout` seconds.
      TlsRefused: A worker does not accept our certificate, or we do not accept its certificate.
    """
    waiting = [queue.submit(worker.connect, timeout)
               for queue, worker in zip(self._queues, self.workers, strict=True)]
    for number, done in enumerate(waiting):
      try:
        done.result()
      except stub.WorkerLost as lost:
        self._give_up(number, str(lost), ())
    self.check_size()

  def check_size(self) -> None:
    """Raises TooFewWorkers if fewer than min_workers are left."""
    left = len(self.workers) - len(self._given_up)
    if left < self._policy.min_workers:
      reasons = '; '.join(reason for _, reason in sorted(self._given_up.items()))
      raise TooFewWorkers(f'{left} of {len(self.workers)} workers answer, min_workers is '
                          f'{self._policy.min_workers}. {reasons}')

  def hear(self, listener: Callable[[Sequence[int], object], None] | None) -> None:
    """Calls `listener`, in a worker's thread, with the clients and the answer of every call, also of repeated calls."""
    self._listener = listener

  def submit(self, chunk: placement.Chunk, work: Work, again: Again | None = None) -> concurrent.futures.Future:
    """Queues work for the chunk's worker; the future's result is None if its clients have dropped out.

    Args:
      again: Called in a worker's thread.
    """
    work = _Repeated(self._heard(work, chunk.clients), chunk.clients, again)
    return self._queues[chunk.worker].submit(self._run, chunk, work)

  def follow_up(self, worker: connection.WorkerConnection, work: Work) -> concurrent.futures.Future:
    """Queues work that needs values of earlier work on the same worker; it is tried only once."""
    return self._queues[self.workers.index(worker)].submit(work, worker)

  def reach(self, chunk: placement.Chunk) -> connection.WorkerConnection | None:
    """Returns a connected worker for the chunk's clients; None if their own worker is lost and they drop out.

    Raises:
      TooFewWorkers: Fewer than min_workers are left, or no worker answers.
    """
    count = len(self.workers)
    for number in ((chunk.worker + step) % count for step in range(1 if chunk.pinned else count)):
      try:
        self.workers[number].connect(self._patience(chunk, number))
      except stub.WorkerLost as lost:
        self._give_up(number, str(lost), chunk.clients if chunk.pinned else ())
        self.check_size()
        continue
      self._welcome(number)
      return self.workers[number]
    if chunk.pinned:
      return None
    raise TooFewWorkers(f'none of {count} workers answers.')

  def plays(self) -> frozenset[str]:
    """Returns the names of the protocols that every site plays itself, of those that are connected."""
    found = []
    for worker in self.workers:
      with contextlib.suppress(stub.WorkerLost):
        site = worker.site()
        found.append(frozenset(() if site is None else site.plays))
    return frozenset.intersection(*found) if found else frozenset()

  def report_lost(self, reason: str, party: str) -> None:
    """Reports why an attempt at a protocol ended; workers that were lost are reconnected when they are needed again.

    Returns when no worker is busy with work of that protocol: it would use up what a site makes for the next attempt.

    Args:
      party: Who ended it: a worker, also one that is still there, or the key holder; '': no single one did.
    """
    concurrent.futures.wait([queue.submit(lambda: None) for queue in self._queues])
    lost = [worker.name for worker in self.workers if not worker.connected]
    for name in lost:
      self._on_fault(Fault(name, reason if party in ('', name) else f'not connected any more; {party}: {reason}'))
    if party not in lost and (party or not lost):
      self._on_fault(Fault(party or COORDINATOR, reason))

  def close(self) -> None:
    for queue in self._queues:
      queue.shutdown(cancel_futures=True)
    for worker in self.workers:
      worker.close()

  def _run(self, chunk, work):
    reason = self._try(chunk.worker, chunk, work)
    if not isinstance(reason, _Lost):
      return reason
    if chunk.pinned:
      self._give_up(chunk.worker, reason.text, chunk.clients)
      return None
    self._give_up(chunk.worker, reason.text, ())
    count = len(self.workers)
    for other in ((chunk.worker + step) % count for step in range(1, count)):
      result = self._try(other, chunk, work)
      if not isinstance(result, _Lost):
        return result
      self._give_up(other, result.text, ())
    raise TooFewWorkers(f'none of {count} workers answers; the last said: {reason.text}')

  def _try(self, number, chunk, work):
    """Returns the result of the work on one worker, or a `_Lost` with the reason if all attempts fail."""
    worker = self.workers[number]
    patience = self._patience(chunk, number)
    lost = None
    for _ in range(self._policy.attempts):
      try:
        worker.connect(patience)
      except stub.WorkerLost as error:
        return _Lost(str(lost or error))
      self._welcome(number)
      try:
        result = work(worker)
      except stub.WorkerLost as error:
        lost = error
        continue
      if lost:
        self._on_fault(Fault(worker.name, str(lost)))
      return result
    return _Lost(str(lost))

  def _heard(self, work, clients):
    if self._listener is None:
      return work

    def heard(worker):
      worker.on_answer = functools.partial(self._listener, clients)  # A worker has one thread.
      try:
        return work(worker)
      finally:
        worker.on_answer = None
    return heard

  def _patience(self, chunk, number):
    """Returns how many seconds to wait for a worker; long only once, and only if the clients have no other worker."""
    return self._policy.reconnect_timeout if chunk.pinned and number not in self._given_up else _QUICK

  def _give_up(self, number, reason, clients):
    with self._lock:
      self._given_up[number] = reason
    self._on_fault(Fault(self.workers[number].name, reason, tuple(clients)))

  def _welcome(self, number):
    with self._lock:
      self._given_up.pop(number, None)


class _Repeated:
  """The work of a chunk; it may be tried several times, on several workers, one after the other."""

  def __init__(self, work, clients, again):
    self._work = work
    self._clients = clients
    self._again = again
    self._may_have_computed = False

  def __call__(self, worker):
    if self._may_have_computed and self._again is not None:
      self._again(self._clients)
    try:
      return self._work(worker)
    except stub.WorkerLost as error:
      self._may_have_computed |= error.may_have_computed
      raise


@dataclasses.dataclass(frozen=True)
class _Lost:
  text: str
