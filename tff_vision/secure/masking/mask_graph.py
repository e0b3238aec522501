"""The random k-regular graph of clients that share masks (Bell et al., 2020).

Bell et al., "Secure Single-Server Aggregation with (Poly)Logarithmic Overhead", CCS 2020, section 3: with
k = O(log n) neighbours drawn at random, every honest client keeps an honest, surviving neighbour and enough
share holders, except with small probability.
"""

import dataclasses
import math
import secrets
from collections.abc import Collection, Sequence


@dataclasses.dataclass(frozen=True)
class MaskGraph:
  """One round's neighbourhoods.

  Attributes:
    neighbours: For each client its neighbours, ascending; the relation is symmetric.
    threshold: Shares needed to recover a secret. Each client's secrets are shared among its neighbours and itself;
      the threshold is a majority of them, so that two disjoint sets of holders can never both recover.
  """
  neighbours: Sequence[tuple[int, ...]]
  threshold: int

  def connected(self, clients: Collection[int]) -> bool:
    """Whether every one of `clients` reaches every other through neighbours among them."""
    left = set(clients)
    border = [left.pop()] if left else []
    while border:
      found = left.intersection(self.neighbours[border.pop()])
      left -= found
      border += found
    return not left


def default_degree(clients: int) -> int:
  """Returns how many neighbours a client has: all others up to 12 clients, then 4 log2(n), even."""
  if clients <= 12:
    return max(clients - 1, 0)
  return min(clients - 1, 2 * math.ceil(2 * math.log2(clients)))


def random_graph(clients: int, degree: int) -> MaskGraph:
  """Returns a Harary graph over a random order of the clients: each one's degree / 2 nearest on either side.

  The order comes from the operating system, so that nobody can place an accomplice beside a victim in advance.

  Raises:
    ValueError: Fewer than two clients, or a degree that no such graph has.
  """
  if clients < 2:
    raise ValueError(f'a masked sum needs at least 2 clients, found {clients}.')
  if not 1 <= degree < clients or (degree % 2 and degree != clients - 1):
    raise ValueError(f'{clients} clients cannot have {degree} neighbours each: take an even number below it, or all.')
  order = list(range(clients))
  secrets.SystemRandom().shuffle(order)
  near = range(1, clients) if degree == clients - 1 else [*range(1, degree // 2 + 1), *range(-(degree // 2), 0)]
  neighbours = {order[i]: tuple(sorted(order[(i + d) % clients] for d in near)) for i in range(clients)}
  return MaskGraph(neighbours=[neighbours[i] for i in range(clients)], threshold=(degree + 1) // 2 + 1)
