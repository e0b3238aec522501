"""Pathological label skew: examples sorted by class, cut into shards, k shards a client (McMahan et al. 2017,
arXiv:1602.05629, section 3).

In the paper a shard may contain two classes. Here each shard holds one class, so that a client has at most k classes.
Shards of one class are of equal size, and all shards are of nearly equal size.
"""

import numpy as np

from tff_vision import configs, seeds
from tff_vision.data.partition import split


def partition(labels: split.Labels, *, num_clients: int, config: configs.DataConfig, seed: int) -> split.Split:
  """Gives each client classes_per_client random shards of single classes, cut in the same way for training and test.

  Raises:
    ValueError: There are fewer shards than classes, or more than training examples.
  """
  train, test, num_classes = labels.class_numbers()
  num_shards = num_clients * config.classes_per_client
  class_counts = np.bincount(train, minlength=num_classes)
  num_trained = int((class_counts > 0).sum())
  for reason, bad in ((f'fewer shards than the {num_trained} classes, so some would belong to nobody',
                       num_shards < num_trained),
                      (f'more shards than the {len(train)} training examples', num_shards > len(train))):
    if bad:
      raise ValueError(f'{num_clients} clients (num_clients and those held out) with classes_per_client='
                       f'{config.classes_per_client} make {num_shards} shards: {reason}.')
  class_of_shard = np.repeat(np.arange(num_classes), _shards_per_class(class_counts, num_shards))
  owner = np.random.default_rng(seeds.derive(seed, 'shards', 'owners')).permutation(
      np.repeat(np.arange(num_clients), config.classes_per_client))
  parts = []
  for which, classes in (('train', train), ('test', test)):
    sizes = np.concatenate([split.even_sizes(n, shards) for n, shards in zip(
        np.bincount(classes, minlength=num_classes), np.bincount(class_of_shard, minlength=num_classes), strict=True)
                            if shards])
    counts = np.zeros((num_clients, num_classes), np.int64)
    np.add.at(counts, (owner, class_of_shard), sizes)
    parts.append(split.deal(np.random.default_rng(seeds.derive(seed, 'shards', which)), classes, counts))
  return split.Split(*parts)


def _shards_per_class(class_counts, num_shards):
  """Returns the number of shards of each class: at least one, `num_shards` in total, as equal in size as possible."""
  shards = (class_counts > 0).astype(np.int64)
  for _ in range(num_shards - shards.sum()):
    shards[np.argmax(class_counts / np.maximum(shards, 1))] += 1
  return shards
