"""Pachinko allocation over superclasses and classes (Li and McCallum 2006; Reddi et al. 2021, arXiv:2003.00295,
appendix F, which makes the 500 clients of the federated CIFAR-100 in this way).

Each client draws a distribution over superclasses and, within each superclass, a distribution over its classes. Then
it draws its examples without replacement, superclass first. Classes that have run out are removed and the distribution
is renormalised, so the last clients get the examples that are left.
"""

import numpy as np

from tff_vision import configs, seeds
from tff_vision.data.partition import split


def partition(labels: split.Labels, *, num_clients: int, config: configs.DataConfig, seed: int) -> split.Split:
  """Gives clients equal numbers of examples. Each has its own two-level distribution, also used for its test examples.

  Raises:
    ValueError: The source has no superclasses, or there are more clients than training examples.
  """
  if labels.coarse is None:
    raise ValueError('partition=pachinko needs a source with superclasses (dataset=cifar100 or synthetic_shapes).')
  split.require_examples(len(labels.train), num_clients)
  train, test, num_classes = labels.class_numbers()
  members = [np.unique(train[labels.coarse == c]) for c in range(1 + labels.coarse.max())]
  members = [fine for fine in members if len(fine)]
  rng = np.random.default_rng(seeds.derive(seed, 'pachinko', 'distributions'))
  coarse = split.draw_dirichlet(rng, np.full(len(members), config.pachinko_coarse_alpha), num_clients)
  fine = [split.draw_dirichlet(rng, np.full(len(own), config.pachinko_fine_alpha), num_clients) for own in members]
  return split.Split(*(_share_out(classes, num_classes, members, coarse, fine, seeds.derive(seed, 'pachinko', which))
                       for which, classes in (('train', train), ('test', test))))


def _share_out(classes, num_classes, members, coarse_draws, fine_draws, seed):
  rng = np.random.default_rng(seed)
  left = np.bincount(classes, minlength=num_classes)
  known = sum(int(left[fine].sum()) for fine in members)  # Test examples of untrained classes belong to no client.
  counts = np.zeros((len(coarse_draws), num_classes), np.int64)
  sizes = split.even_sizes(known, len(coarse_draws))
  for own, size, coarse_weights, fine_weights in zip(counts, sizes, coarse_draws, zip(*fine_draws, strict=True),
                                                     strict=True):
    coarse = split.draw_classes(rng, size, coarse_weights, np.array([left[fine].sum() for fine in members]))
    for fine, number, weights in zip(members, coarse, fine_weights, strict=True):
      own[fine] = split.draw_classes(rng, number, weights, left[fine])
    left = left - own
  return split.deal(rng, classes, counts)
