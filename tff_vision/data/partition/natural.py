"""The natural partition: the clients that a source provides."""

import numpy as np


def by_owner(owners: np.ndarray) -> dict[str, np.ndarray]:
  """Returns the positions of each client's examples, ascending; clients are in the order of their names.

  Args:
    owners: [n] of str, the client of each example; without examples there are no clients.
  """
  if not len(owners):  # Of no examples, `np.split` makes one part.
    return {}
  names, numbers, sizes = np.unique(owners, return_inverse=True, return_counts=True)
  positions = np.split(np.argsort(numbers, kind='stable'), np.cumsum(sizes)[:-1])
  return dict(zip(names.tolist(), positions, strict=True))
