"""Quantity skew: every client has the same class mix, but sizes differ (Li et al. 2021, arXiv:2102.02079, section
IV-C, where sizes are Dirichlet; log-normal sizes are closer to those of real devices).
"""

import numpy as np

from tff_vision import configs, seeds
from tff_vision.data.partition import iid, split


def partition(labels: split.Labels, *, num_clients: int, config: configs.DataConfig, seed: int) -> split.Split:
  """Shuffles the examples and divides them in random sizes, in the same proportions for training and test examples.

  Raises:
    ValueError: Not every client can have min_client_examples.
  """
  split.require_examples(len(labels.train), num_clients, config.min_client_examples)
  rng = np.random.default_rng(seeds.derive(seed, 'quantity', 'sizes'))
  proportions = _DRAWS[config.quantity_distribution](rng, num_clients, config)
  # Each client gets the minimum first, and the rest is divided in proportion. This always works; redrawing may not end.
  spare = len(labels.train) - num_clients * config.min_client_examples
  sizes = config.min_client_examples + split.proportional_sizes(spare, proportions)
  test_sizes = split.proportional_sizes(len(labels.test), sizes / sizes.sum())
  return split.Split(iid.shuffled(len(labels.train), sizes, seeds.derive(seed, 'quantity', 'train')),
                     iid.shuffled(len(labels.test), test_sizes, seeds.derive(seed, 'quantity', 'test')))


def _lognormal(rng, num_clients, config):
  logarithms = config.quantity_sigma * rng.standard_normal(num_clients)
  drawn = np.exp(logarithms - logarithms.max())  # Only proportions matter, and these cannot overflow.
  return drawn / drawn.sum()


def _dirichlet(rng, num_clients, config):
  return split.draw_dirichlet(rng, np.full(num_clients, config.partition_alpha), 1)[0]


_DRAWS = {'lognormal': _lognormal, 'dirichlet': _dirichlet}
