"""Held-out examples for data sets that come without a test set."""

import numpy as np


def stratified(classes: np.ndarray, fraction: float, owners: np.ndarray | None = None) -> np.ndarray:
  """Chooses `fraction` of every class, always the same ones, so that runs of different seeds share a test set.

  Args:
    classes: [n] of anything `np.unique` sorts.
    fraction: Share of every class; at least one example of a class stays for training.
    owners: [n] natural clients; within a class they are held out from evenly.

  Returns:
    [n] bool: whether an example is held out.
  """
  held_out = np.zeros(len(classes), bool)
  order = np.random.default_rng(0).permutation(len(classes))
  if owners is not None:
    order = order[np.argsort(owners[order], kind='stable')]
  by_class = order[np.argsort(classes[order], kind='stable')]
  _, sizes = np.unique(classes, return_counts=True)
  for members in np.split(by_class, np.cumsum(sizes)[:-1]):
    quota = min(round(fraction * len(members)), len(members) - 1)
    # Evenly spaced over members in the order of their owners.
    held_out[members[((np.arange(quota) + 0.5) * len(members) / max(quota, 1)).astype(np.int64)]] = True
  return held_out
