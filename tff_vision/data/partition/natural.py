"""The natural partition: the clients that a source provides."""

import numpy as np

from tff_vision.data import pieces


def by_owner(owners: np.ndarray) -> tuple[np.ndarray, pieces.Pieces]:
  """Returns the clients, in the order of their names, and the positions of each one's examples, ascending.

  Args:
    owners: [n] of str, the client of each example; without examples there are no clients.
  """
  names, numbers, sizes = np.unique(owners, return_inverse=True, return_counts=True)
  return names, pieces.Pieces(np.argsort(numbers, kind='stable'), sizes)
