"""How examples become clients: pure functions of (labels, config, seed)."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tff_vision import configs


@dataclasses.dataclass(frozen=True)
class Split:
  """Positions of each client's training and test examples."""
  train: Sequence[np.ndarray]
  test: Sequence[np.ndarray]


def _iid(train_labels: np.ndarray, test_labels: np.ndarray, *, num_clients: int, config: configs.DataConfig,
         seed: int) -> Split:
  del config
  rng = np.random.default_rng(seed)
  return Split(*(np.array_split(rng.permutation(len(y)), num_clients) for y in (train_labels, test_labels)))


def _dirichlet(train_labels: np.ndarray, test_labels: np.ndarray, *, num_clients: int, config: configs.DataConfig,
               seed: int) -> Split:
  rng = np.random.default_rng(seed)
  train_labels, test_labels = (y if y.ndim == 1 else y.argmax(axis=1) for y in (train_labels, test_labels))
  classes = np.unique(train_labels)
  shares = rng.dirichlet([config.partition_alpha] * num_clients, len(classes))
  parts = []
  for labels in (train_labels, test_labels):
    clients = [[] for _ in range(num_clients)]
    for c, share in zip(classes, shares, strict=True):
      members = rng.permutation(np.flatnonzero(labels == c))
      cuts = np.rint(np.cumsum(share[:-1]) * len(members)).astype(int)
      for client, positions in zip(clients, np.split(members, cuts), strict=True):
        client.append(positions)
    parts.append([np.concatenate(client) for client in clients])
  return Split(*parts)


PARTITIONS = {'iid': _iid, 'dirichlet': _dirichlet}
