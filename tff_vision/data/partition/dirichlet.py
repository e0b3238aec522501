"""Class-wise Dirichlet label skew: each class is shared out over clients in Dirichlet proportions.

Clients differ in size and in class mix. This is the scheme of Yurochkin et al. 2019 (arXiv:1905.12022) and NIID-Bench
(Li et al. 2021, arXiv:2102.02079, section IV-A), which redraws until the smallest client is large enough. For clients
of equal size see `dirichlet_equal`, another scheme that papers also call Dirichlet.
"""

import numpy as np

from tff_vision import configs, seeds
from tff_vision.data.partition import split

# Proportions are redrawn until every client is large enough, but at most this many numbers are drawn: about a second.
_MAX_NUMBERS = 10_000_000
_MAX_DRAWS = 1000


def partition(labels: split.Labels, *, num_clients: int, config: configs.DataConfig, seed: int) -> split.Split:
  """Splits each class in proportions drawn from Dirichlet(partition_alpha), the same for training and test examples.

  Raises:
    ValueError: Not all clients can have min_client_examples, or no draw gave all clients that many.
  """
  split.require_examples(len(labels.train), num_clients, config.min_client_examples)
  train, test, num_classes = labels.class_numbers()
  proportions = _proportions(np.bincount(train, minlength=num_classes), num_clients, config,
                             np.random.default_rng(seeds.derive(seed, 'dirichlet', 'proportions')))
  parts = []
  for which, classes in (('train', train), ('test', test)):
    counts = _counts(np.bincount(classes, minlength=num_classes), proportions)
    parts.append(split.deal(np.random.default_rng(seeds.derive(seed, 'dirichlet', which)), classes, counts))
  return split.Split(*parts)


def _proportions(class_counts, num_clients, config, rng):
  """Returns [classes, clients] proportions that give every client enough training examples."""
  draws = max(1, min(_MAX_DRAWS, _MAX_NUMBERS // (num_clients * len(class_counts))))
  for _ in range(draws):
    drawn = split.draw_dirichlet(rng, np.full(num_clients, config.partition_alpha), len(class_counts))
    if _counts(class_counts, drawn).sum(axis=1).min() >= config.min_client_examples:
      return drawn
  raise ValueError(
      f'partition_alpha={config.partition_alpha:g} is so small that none of {draws} draws gives each of '
      f'{num_clients} clients min_client_examples={config.min_client_examples} of {class_counts.sum()} training '
      'examples; raise partition_alpha, lower num_clients, or choose partition=dirichlet_equal.')


def _counts(class_counts, proportions):
  """Returns [clients, classes] numbers of examples."""
  return np.stack([split.proportional_sizes(n, p) for n, p in zip(class_counts, proportions, strict=True)], axis=1)
