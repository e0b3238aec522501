"""Label skew by number: each client has exactly k classes, and a class is shared evenly among its clients.

Li et al. 2022, "Federated Learning on Non-IID Data Silos", arXiv:2102.02079, section IV-A, "quantity-based label
imbalance" (#C = k), as its authors implement it: client i has class i modulo the number of classes, and k - 1 further
classes at random. `shards` (McMahan et al. 2017) has shards of equal size instead.
"""

import numpy as np

from tff_vision import configs, seeds
from tff_vision.data.partition import split


def partition(labels: split.Labels, *, num_clients: int, config: configs.DataConfig, seed: int) -> split.Split:
  """Gives each client classes_per_client classes of those that are trained, or all if there are fewer.

  Raises:
    ValueError: Some class would belong to nobody, or some client would have no example.
  """
  split.require_examples(len(labels.train), num_clients)
  train, test, num_classes = labels.class_numbers()
  trained = np.unique(train)
  if num_clients * config.classes_per_client < len(trained):
    raise ValueError(f'{num_clients} clients (num_clients and those held out) with classes_per_client='
                     f'{config.classes_per_client} have fewer places than the {len(trained)} classes, so some would '
                     'belong to nobody.')
  owns = _owners(len(trained), num_clients, config.classes_per_client,
                 np.random.default_rng(seeds.derive(seed, 'label_quantity', 'owners')))
  parts = []
  for which, classes in (('train', train), ('test', test)):
    counts = np.zeros((num_clients, num_classes), np.int64)
    for number, owner in zip(trained, owns.T, strict=True):
      counts[owner, number] = split.even_sizes(int((classes == number).sum()), int(owner.sum()))
    if which == 'train' and (empty := np.flatnonzero(counts.sum(axis=1) == 0)).size:
      raise ValueError(f'client {empty[0]} of {num_clients} has no training example: its classes have fewer examples '
                       'than clients; lower num_clients or raise classes_per_client.')
    parts.append(split.deal(np.random.default_rng(seeds.derive(seed, 'label_quantity', which)), classes, counts))
  return split.Split(*parts)


def _owners(num_classes, num_clients, classes_per_client, rng):
  """Returns [clients, classes] bool: which classes a client has."""
  owns = np.zeros((num_clients, num_classes), bool)
  owns[np.arange(num_clients), np.arange(num_clients) % num_classes] = True
  orphans = list(range(num_clients, num_classes))  # With fewer clients than classes, these are dealt first.
  for own in owns:
    for _ in range(min(classes_per_client, num_classes) - 1):
      chosen = rng.choice(orphans or np.flatnonzero(~own))
      own[chosen] = True
      if orphans:
        orphans.remove(chosen)
  return owns
