"""From a configuration to clients: source, then partition, then `FederatedImages`."""

import dataclasses

import numpy as np

from tff_vision import configs, seeds
from tff_vision.data import images, partition, sources
from tff_vision.data import pool as pools


def build(config: configs.DataConfig, *, seed: int) -> images.FederatedImages:
  """Loads a data set and spreads it over clients.

  Args:
    config: What to load and how to spread it.
    seed: Root of the random choices; the data set itself does not depend on it.

  Raises:
    ValueError: The data is missing, corrupt or does not admit the partition.
  """
  pool = sources.find(config.dataset).load(config)
  if config.partition == 'natural':
    split = _natural(pool, config)
  else:
    split = _partitioned(pool, config, seeds.derive(seed, 'data', 'partition'))
  return dataclasses.replace(split, preprocessing=_preprocessing(pool, config))


def _natural(pool, config):
  """Keeps the source's own clients, in the order of their names."""
  if pool.train_owners is None:
    raise ValueError(f'partition=natural needs a source with clients of its own; dataset={config.dataset} has none. '
                     'Choose partition=iid or dirichlet.')
  names, train = _grouped(pool.train_owners)
  notes = list(pool.notes)
  if config.num_clients is not None and config.num_clients > len(names):
    raise ValueError(f'num_clients={config.num_clients} is more than the {len(names)} clients of '
                     f'dataset={config.dataset}.')
  kept = names[:config.num_clients]
  if len(kept) < len(names):
    notes.append(f'{len(kept)} of {len(names)} clients were kept, as num_clients says.')
  owned = dict(zip(*_grouped(pool.test_owners), strict=True))
  mine = [np.zeros(0, np.int64) if pool.strangers else owned.pop(name, np.zeros(0, np.int64)) for name in kept]
  strangers = [positions for name, positions in owned.items() if pool.strangers or name not in set(names)]
  unseen = _held_out(pool.test, strangers) if strangers else None
  test = unseen if pool.strangers else _held_out(pool.test, mine)
  if pool.strangers:
    test = images.HeldOut(examples=unseen.examples, clients=mine)
  return _finished(pool, config, kept, train[:len(kept)], test, unseen, notes)


def _partitioned(pool, config, seed):
  """Makes clients of all examples, whoever owned them."""
  number = config.num_clients
  if number is None:
    raise ValueError(f'num_clients is missing: partition={config.partition} must know how many clients to make.')
  if number > len(pool.train):
    raise ValueError(f'num_clients={number} is more than the {len(pool.train)} training examples of '
                     f'dataset={config.dataset}.')
  split = partition.PARTITIONS[config.partition](
      pool.train.y, pool.test.y, num_clients=number, config=config, seed=seed)
  width = len(str(number - 1))
  names = [f'client_{client:0{width}d}' for client in range(number)]
  test = images.HeldOut(examples=pool.test.take(np.arange(len(pool.test))), clients=split.test)
  return _finished(pool, config, names, split.train, test, None, list(pool.notes))


def _grouped(owners):
  """Returns the sorted names in `owners` and, for each, its positions in ascending order."""
  names, codes, sizes = np.unique(owners, return_inverse=True, return_counts=True)
  return names.tolist(), np.split(np.argsort(codes, kind='stable'), np.cumsum(sizes)[:-1])


def _held_out(test, clients):
  """Loads the examples of `clients`, [positions in `test`] each, and renumbers them."""
  ends = np.cumsum([0] + [len(positions) for positions in clients])
  return images.HeldOut(examples=test.take(np.concatenate(clients)),
                        clients=[np.arange(start, end) for start, end in zip(ends, ends[1:], strict=False)])


def _finished(pool, config, names, train, test, unseen, notes):
  """Leaves out clients without examples and counts everything that may surprise."""
  sizes = np.array([len(positions) for positions in train])
  if empty := int((sizes == 0).sum()):
    notes.append(f'{empty} of {len(names)} clients received no training example and were left out.')
    kept = np.flatnonzero(sizes)
    names, train = [names[client] for client in kept], [train[client] for client in kept]
    test = images.HeldOut(examples=test.examples, clients=[test.clients[client] for client in kept])
  if single := int((sizes == 1).sum()):
    notes.append(f'{single} of {len(names)} clients hold a single training example.')
  return images.FederatedImages(
      name=config.dataset, class_names=tuple(pool.class_names), test=test, unseen=unseen, notes=tuple(notes),
      train=images.ArrayClients(pool.train, train, names))


def _preprocessing(pool: pools.Pool, config: configs.DataConfig) -> images.Preprocessing:
  """Returns the source's own preprocessing with what the user chose in its place."""
  return pool.preprocessing
