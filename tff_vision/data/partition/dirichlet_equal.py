"""Dirichlet label skew between clients of equal size (Hsu, Qi and Brown 2019, arXiv:1909.06335, section 3.1).

Each client draws its own class distribution and then its examples, without replacement. When a class has run out, the
other classes take its share, so the last clients are more similar than the first. The paper writes Dir(alpha p), where
p are the classes' frequencies. Here the concentration of a class is partition_alpha times its frequency times the
number of classes. For balanced classes this is partition_alpha, as in the code of Reddi et al. 2021 (arXiv:2003.00295).
"""

import numpy as np

from tff_vision import configs, seeds
from tff_vision.data.partition import split


def partition(labels: split.Labels, *, num_clients: int, config: configs.DataConfig, seed: int) -> split.Split:
  """Gives clients equal numbers of examples. Each has its own class distribution, also used for its test examples.

  Raises:
    ValueError: There are more clients than training examples.
  """
  split.require_examples(len(labels.train), num_clients)
  train, test, num_classes = labels.class_numbers()
  frequencies = np.bincount(train, minlength=num_classes) / len(train)
  trained = np.flatnonzero(frequencies)
  rng = np.random.default_rng(seeds.derive(seed, 'dirichlet_equal', 'distributions'))
  wanted = np.zeros((num_clients, num_classes))
  wanted[:, trained] = split.draw_dirichlet(rng, config.partition_alpha * len(trained) * frequencies[trained],
                                            num_clients)
  return split.Split(*(_share_out(classes, wanted, seeds.derive(seed, 'dirichlet_equal', which))
                       for which, classes in (('train', train), ('test', test))))


def _share_out(classes, wanted, seed):
  rng = np.random.default_rng(seed)
  # Test examples of classes that no client trains on belong to no client.
  left = np.where(wanted.any(axis=0), np.bincount(classes, minlength=wanted.shape[1]), 0)
  counts = np.zeros(wanted.shape, np.int64)
  for own, size, weights in zip(counts, split.even_sizes(left.sum(), len(wanted)), wanted, strict=True):
    own[:] = split.draw_classes(rng, size, weights, left)
    left = left - own
  return split.deal(rng, classes, counts)
