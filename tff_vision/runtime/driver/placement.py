"""Assigns clients to workers by a pure function, so that the order of every sum is fixed."""

import dataclasses
import itertools
import math
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Chunk:
  """Clients that one call trains together.

  Attributes:
    positions: Positions of the clients in the argument's lists.
    clients: Their numbers in the population.
    worker: The worker's number.
    pinned: Whether these clients may run only on this worker.
  """
  positions: tuple[int, ...]
  clients: tuple[int, ...]
  worker: int
  pinned: bool


def spread(clients: Sequence[int], num_workers: int, clients_per_call: int) -> list[Chunk]:
  """Returns contiguous chunks of nearly equal size, assigned to the workers in turn; any worker may run any chunk."""
  total = len(clients)
  count = max(min(num_workers, total), math.ceil(total / clients_per_call))
  bounds = [total * i // count for i in range(count + 1)] if count else []
  return [Chunk(tuple(range(start, end)), tuple(clients[start:end]), i % num_workers, False)
          for i, (start, end) in enumerate(itertools.pairwise(bounds))]


def pin(clients: Sequence[int], num_workers: int, clients_per_call: int, workers: Sequence[int] = ()) -> list[Chunk]:
  """Returns chunks in which each client runs on its own worker and nowhere else.

  With one client for each worker or for each call, the chunks keep the order of the clients, so sums equal those on one
  machine.

  Args:
    workers: For each client of the population, its worker; empty: client c has worker c modulo `num_workers`.

  Raises:
    ValueError: A client has no worker.
  """
  if workers and max(clients, default=0) >= len(workers):
    raise ValueError(f'clients_on_workers has room for {len(workers)} clients, and there is a client number '
                     f'{max(clients)}.')
  by_worker = {}
  for position, client in enumerate(clients):
    by_worker.setdefault(workers[client] if workers else client % num_workers, []).append(position)
  chunks = []
  for worker, positions in by_worker.items():
    for start in range(0, len(positions), clients_per_call):
      part = tuple(positions[start:start + clients_per_call])
      chunks.append(Chunk(part, tuple(clients[position] for position in part), worker, True))
  return sorted(chunks, key=lambda chunk: chunk.positions[0])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placement:
  """The rule that assigns clients to the workers of a fleet.

  Attributes:
    num_workers: Number of workers in the fleet, including lost ones, so that chunks do not depend on faults.
    clients_per_call: Largest number of clients in one call.
    data_on_workers: Whether clients' examples are stored on their workers.
    workers: For each client, its worker, where the examples are stored there; empty: worker c modulo num_workers.
  """
  num_workers: int
  clients_per_call: int
  data_on_workers: bool
  workers: tuple[int, ...] = ()

  def chunks(self, clients: Sequence[int], population: int) -> list[Chunk]:
    """Returns the chunks of a cohort.

    Args:
      clients: The numbers of the clients in the population, in the order of the argument's lists.
      population: The total number of clients. If it is at most the number of workers, each client has its own worker.
    """
    if self.data_on_workers or population <= self.num_workers:
      return pin(clients, self.num_workers, self.clients_per_call, self.workers)
    return spread(clients, self.num_workers, self.clients_per_call)
