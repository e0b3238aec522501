"""Held-out examples for data sets that come without a test set."""

import numpy as np


def stratified(labels: np.ndarray, fraction: float) -> np.ndarray:
  """Chooses `fraction` of every class, always the same ones, so that runs of different seeds share a test set.

  Args:
    labels: [n] of anything `np.unique` sorts. Classes (or class and client together) are held out evenly.
    fraction: Share of every class; at least one example of a class stays for training.

  Returns:
    [n] bool: whether an example is held out.
  """
  held_out = np.zeros(len(labels), bool)
  order = np.random.default_rng(0).permutation(len(labels))
  shuffled = labels[order]
  by_class = order[np.argsort(shuffled, kind='stable')]
  _, sizes = np.unique(labels, return_counts=True)
  for members in np.split(by_class, np.cumsum(sizes)[:-1]):
    held_out[members[:min(round(fraction * len(members)), len(members) - 1)]] = True
  return held_out
