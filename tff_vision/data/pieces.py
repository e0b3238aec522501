"""What each client has, in a few arrays for all clients: a million clients need no million of Python objects."""

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np


class Pieces(Sequence[np.ndarray]):
  """One piece of an array for each client, in the order of the clients; a piece is a view that is made when it is read.

  Attributes:
    values: All pieces, one after the other.
    sizes: [clients] int64 lengths of the pieces.
  """

  def __init__(self, values: np.ndarray, sizes: np.ndarray):
    self.values = values
    self.sizes = np.asarray(sizes, np.int64)
    self._ends = np.cumsum(self.sizes)
    if (self._ends[-1] if len(self._ends) else 0) != len(values):
      raise ValueError(f'{len(values)} values are not what {self.sizes.sum()} say.')

  @classmethod
  def of(cls, parts: Sequence[Any]) -> 'Pieces':
    """Returns the positions in each of `parts`, in one array; a `Pieces` is returned unchanged."""
    if isinstance(parts, cls):
      return parts
    sizes = np.fromiter(map(len, parts), np.int64, len(parts))
    values = np.zeros(sizes.sum(), np.int64)
    made = cls(values, sizes)
    for own, part in zip(made, parts, strict=True):
      own[:] = part
    return made

  @classmethod
  def nothing(cls, clients: int) -> 'Pieces':
    """Returns an empty piece for each client."""
    return cls(np.zeros(0, np.int64), np.zeros(clients, np.int64))

  def __len__(self) -> int:
    return len(self.sizes)

  def __getitem__(self, client: Any) -> Any:
    if isinstance(client, slice):
      return self.take(np.arange(len(self))[client])
    end, size = self._ends[client], self.sizes[client]
    return self.values[end - size:end]

  def __iter__(self) -> Iterator[np.ndarray]:
    start = 0
    for end in self._ends:
      yield self.values[start:end]
      start = end

  def owners(self) -> np.ndarray:
    """Returns [values] the client of each value."""
    return np.repeat(np.arange(len(self)), self.sizes)

  def take(self, clients: np.ndarray) -> 'Pieces':
    """Returns the pieces of `clients`, in that order; of a client -1, nothing."""
    sizes, ends = (np.append(array, 0)[clients] for array in (self.sizes, self._ends))
    first = np.repeat(ends - np.cumsum(sizes), sizes)
    return Pieces(self.values[first + np.arange(sizes.sum())], sizes)

  def where(self, kept: np.ndarray) -> 'Pieces':
    """Returns the pieces without the values at which `kept`, [values] bool, is False."""
    return Pieces(self.values[kept], np.bincount(self.owners()[kept], minlength=len(self)))

  def sorted(self) -> 'Pieces':
    """Returns the pieces, each sorted."""
    return Pieces(self.values[np.lexsort((self.values, self.owners()))], self.sizes)

  def beside(self, others: 'Pieces') -> 'Pieces':
    """Returns for each client its piece here, followed by its piece among `others`."""
    order = np.argsort(np.concatenate([self.owners(), others.owners()]), kind='stable')
    return Pieces(np.concatenate([self.values, others.values])[order], self.sizes + others.sizes)

  def followed_by(self, others: 'Pieces') -> 'Pieces':
    """Returns the pieces of these clients, then those of the clients of `others`."""
    return Pieces(np.concatenate([self.values, others.values]), np.concatenate([self.sizes, others.sizes]))


class _Listed(Sequence[Any]):
  """A sequence that equals any other sequence of equal entries, as lists do among themselves."""

  __hash__ = None  # type: ignore[assignment]

  def __eq__(self, other: object) -> bool:
    return isinstance(other, Sequence) and len(self) == len(other) and all(map(operator.eq, self, other))


class Made(_Listed):
  """An entry for each of some clients, made each time it is read and not kept."""

  def __init__(self, make: Callable[[int], Any], clients: Sequence[int] | np.ndarray):
    self._make = make
    self._clients = clients

  def __len__(self) -> int:
    return len(self._clients)

  def __getitem__(self, place: Any) -> Any:
    if isinstance(place, slice):
      return Made(self._make, self._clients[place])
    return self._make(int(self._clients[place]))

  def take(self, places: np.ndarray) -> 'Made':
    """Returns the entries at `places`, in that order."""
    return Made(self._make, np.asarray(self._clients)[places])


class Names(_Listed):
  """Names of clients in one array."""

  def __init__(self, array: np.ndarray):
    """Args: `array` is [clients] of numpy's fixed-width str."""
    self.array = array

  @classmethod
  def of(cls, names: Sequence[str]) -> 'Names':
    """Returns the same names in one array; `Names` are returned unchanged."""
    return names if isinstance(names, cls) else cls(np.array(names, str).reshape(len(names)))

  @classmethod
  def numbered(cls, prefix: str, count: int) -> 'Names':
    """Returns `prefix` with the numbers from 0, all of the same width."""
    numbers = np.arange(count).astype(f'U{len(str(max(0, count - 1)))}')
    return cls(np.char.add(prefix, np.char.zfill(numbers, len(str(max(0, count - 1))))))

  def __len__(self) -> int:
    return len(self.array)

  def __getitem__(self, client: Any) -> Any:
    found = self.array[client]
    return Names(found) if isinstance(client, slice) else str(found)

  def __repr__(self) -> str:
    return f'Names({len(self)} clients)'

  def followed_by(self, others: Sequence[str]) -> 'Names':
    """Returns these names, then `others`."""
    return Names(np.concatenate([self.array, Names.of(others).array]))
