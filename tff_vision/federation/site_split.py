"""Splits a site's images by whole groups: no patient is in two splits, and every split has its share of every class."""

import numpy as np

from tff_vision import seeds
from tff_vision.federation import site_manifest


def by_groups(y: np.ndarray, group: np.ndarray, fractions: tuple[float, float]) -> np.ndarray:
  """Returns the split of each image: whole groups, the largest first, to where their classes are wanted most.

  Args:
    y: Labels as in `images.Examples`.
    group: [n] of str.
    fractions: Shares for validation and test.

  Raises:
    ValueError: There are fewer than three groups.
  """
  codes = y if y.ndim == 1 else y @ (2.0 ** np.arange(y.shape[1]))
  _, classes = np.unique(codes, return_inverse=True)
  names, place = np.unique(group, return_inverse=True)
  if len(names) < 3:
    raise ValueError(f'the images are of {len(names)} patients or groups; training, validation and test need one each.')
  validation, test = fractions
  shares = np.array([1 - validation - test, validation, test])
  counts = np.zeros((len(names), classes.max() + 1))
  np.add.at(counts, (place, classes), 1)
  order = np.random.default_rng(seeds.derive(0, 'split of a site')).permutation(len(names))
  order = order[np.argsort(-counts[order].sum(1), kind='stable')]
  chosen = np.zeros(len(names), int)
  left = shares[:, None] * counts.sum(0)  # Images of each class that a split is still missing.
  for number in order:
    # Where the squares of what is missing sink most, those of classes three times and those of all images: a large
    # group goes where it fits. In shares of what is wanted, all splits would miss the same at first.
    gain = 3 * left @ counts[number] + left.sum(1) * counts[number].sum()
    chosen[number] = int(np.argmax(np.where(shares > 0, gain, -np.inf)))
    left[chosen[number]] -= counts[number]
  for split in range(3):  # Small sites: every split gets a group.
    if shares[split] and not (chosen == split).any():
      donor = np.bincount(chosen, minlength=3).argmax()
      chosen[next(number for number in reversed(order) if chosen[number] == donor)] = split
  return np.array(site_manifest.SPLITS)[chosen[place]]
