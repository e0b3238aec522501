"""IID: every client is a uniform sample of the whole, all of one size (McMahan et al. 2017, arXiv:1602.05629)."""

import numpy as np

from tff_vision import configs, seeds
from tff_vision.data import pieces
from tff_vision.data.partition import split


def partition(labels: split.Labels, *, num_clients: int, config: configs.DataConfig, seed: int) -> split.Split:
  """Shuffles the examples and divides them evenly; sizes differ by at most one. Only the number of labels is used.

  Raises:
    ValueError: There are more clients than training examples.
  """
  del config  # IID has no parameter.
  split.require_examples(len(labels.train), num_clients)
  return split.Split(*(shuffled(len(part), split.even_sizes(len(part), num_clients), seeds.derive(seed, 'iid', which))
                       for which, part in (('train', labels.train), ('test', labels.test))))


def shuffled(num_examples: int, sizes: np.ndarray, seed: int) -> pieces.Pieces:
  """Returns clients of the given sizes among which `num_examples` examples are divided at random."""
  return pieces.Pieces(np.random.default_rng(seed).permutation(num_examples), sizes)
