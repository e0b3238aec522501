"""From a configuration to clients: source, then partition, then `FederatedImages`."""

import dataclasses

import numpy as np

from tff_vision import configs, seeds
from tff_vision.data import images, partition, preprocess, sources

_MOMENTS_FROM = 10_000


def build(config: configs.DataConfig, *, seed: int) -> images.FederatedImages:
  """Loads a data set and spreads it over clients.

  Args:
    config: What to load and how to spread it.
    seed: Root of the random choices; the data set itself does not depend on it.

  Raises:
    ValueError: The data is missing, corrupt or does not admit the partition.
  """
  pool = sources.find(config.dataset).load(config)
  if pool.labels_at_hand:
    pool = dataclasses.replace(pool, notes=(*pool.notes, *pool.check_labels()))
  if config.partition == 'natural':
    split = _natural(pool, config)
  else:
    split = _partitioned(pool, config, seeds.derive(seed, 'data', 'partition'))
  preprocessing, notes = _preprocessing(pool, config)
  return dataclasses.replace(split, preprocessing=preprocessing, notes=(*split.notes, *notes))


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


def _preprocessing(pool, config):
  """Returns the source's own preprocessing with what the user chose in its place, and notes.

  Raises:
    ValueError: The images do not admit it.
  """
  own = pool.preprocessing
  pixels = config.preprocess or own.pixels
  chosen = dataclasses.replace(
      own, pixels=pixels, channels=config.image_channels or own.channels, size=config.image_size or own.size,
      crop=(own.crop if config.crop is None else config.crop) or None,
      flip=own.flip if config.flip is None else config.flip,
      # Standardizing an image undoes any scale but not the floor on its deviation, which is meant for 0..255.
      scale=1.0 if pixels == 'per_image' else own.scale)
  *_, channels = preprocess.input_shape(chosen, pool.train.shape)
  if pixels != 'standardize' or len(own.mean) == channels == pool.train.shape[-1]:
    return chosen, ()
  sample = pool.train.take(np.unique(np.linspace(0, len(pool.train) - 1, _MOMENTS_FROM).astype(np.int64)))
  raw = dataclasses.replace(chosen, pixels='raw', crop=None)
  x = np.asarray(preprocess.evaluation_fn(raw, sample.x))
  mean, std = (tuple(round(float(value), 4) for value in moment(x, axis=(0, 1, 2))) for moment in (np.mean, np.std))
  if min(std) <= 0:
    raise ValueError(f'preprocess=standardize divides by the deviation of pixels, which is 0 in dataset='
                     f'{config.dataset}.')
  note = (f'The mean {list(mean)} and deviation {list(std)} of preprocess=standardize were computed from '
          f'{len(sample)} training images, outside of any privacy mechanism.')
  return dataclasses.replace(chosen, mean=mean, std=std), (note,)
