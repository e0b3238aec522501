"""The clients of a data set, with the training examples of each."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tff_vision.data import examples as examples_lib
from tff_vision.data import pieces


class ClientImages(abc.ABC):
  """The training examples of each client, in a fixed order; clients are addressed by position."""

  @property
  @abc.abstractmethod
  def client_ids(self) -> Sequence[str]:
    """Unique names."""

  @abc.abstractmethod
  def num_examples(self, client: int) -> int:
    """The number of examples of one client, without loading them."""

  @abc.abstractmethod
  def examples(self, client: int) -> examples_lib.Examples:
    """Loads the examples of one client."""

  def num_given(self, client: int) -> int:
    """The number of examples that `examples` returns, without loading them; `num_examples` may count others."""
    return self.num_examples(client)

  @property
  def here(self) -> bool:
    """Whether this machine has the examples; otherwise `examples` and perhaps `num_examples` raise ValueError."""
    return True

  @property
  def counted(self) -> bool:
    """Whether this machine may know how many examples each client has; otherwise `num_examples` raises ValueError."""
    return True

  @property
  def sizes(self) -> np.ndarray:
    """[clients] int64, `num_examples` of every client."""
    return np.fromiter(map(self.num_examples, range(len(self))), np.int64, len(self))

  @property
  def most_examples(self) -> int:
    """A public bound on the number of examples of a client: that of the largest one, where it is known."""
    return int(self.sizes.max())

  @property
  def always_together(self) -> bool:
    """Whether every sum must be over all clients, because sums over others would tell the count of one of them."""
    return False

  @property
  def sharing_sites(self) -> Mapping[str, Sequence[int]]:
    """The sites that share their own numbers: name -> its clients; empty where sums over all clients alone are told."""
    return {}

  def __len__(self) -> int:
    return len(self.client_ids)

  def __repr__(self) -> str:
    return f'{type(self).__name__}({len(self)} clients)'


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class ArrayClients(ClientImages):
  """Clients as index arrays into one pool of examples, in memory or read from its files as needed."""
  pool: examples_lib.ExamplePool
  indices: Sequence[np.ndarray]
  client_ids: Sequence[str] = ()

  def __post_init__(self):
    if len(self.client_ids) != len(self.indices):
      raise ValueError(f'{len(self.client_ids)} client ids for {len(self.indices)} clients.')
    object.__setattr__(self, 'indices', pieces.Pieces.of(self.indices))

  @property
  def sizes(self) -> np.ndarray:
    return pieces.Pieces.of(self.indices).sizes

  def num_examples(self, client: int) -> int:
    return len(self.indices[client])

  def examples(self, client: int) -> examples_lib.Examples:
    return self.pool.take(self.indices[client])


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class CountedClients(ClientImages):
  """Clients that train on their own files. This machine knows the sizes of the files and has copies that may differ.

  Attributes:
    copies: The copies on this machine; `examples` returns these.
    counts: The number of examples of each client in its own file.
  """
  copies: ClientImages
  counts: Sequence[int]

  @property
  def client_ids(self) -> Sequence[str]:
    return self.copies.client_ids

  def num_examples(self, client: int) -> int:
    return self.counts[client]

  def num_given(self, client: int) -> int:
    return self.copies.num_given(client)

  @property
  def sizes(self) -> np.ndarray:
    return np.asarray(self.counts, np.int64)

  @property
  def here(self) -> bool:
    return self.copies.here

  @property
  def sharing_sites(self) -> Mapping[str, Sequence[int]]:
    return self.copies.sharing_sites

  def examples(self, client: int) -> examples_lib.Examples:
    return self.copies.examples(client)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class JoinedClients(ClientImages):
  """Clients each of which has the examples that it has in all parts; the parts have the same clients."""
  parts: Sequence[ClientImages]

  @property
  def client_ids(self) -> Sequence[str]:
    return self.parts[0].client_ids

  def num_examples(self, client: int) -> int:
    return sum(part.num_examples(client) for part in self.parts)

  @property
  def sizes(self) -> np.ndarray:
    return np.sum([part.sizes for part in self.parts], axis=0)

  def examples(self, client: int) -> examples_lib.Examples:
    found = [part.examples(client) for part in self.parts]
    return examples_lib.Examples(np.concatenate([one.x for one in found]), np.concatenate([one.y for one in found]))
