"""How examples become clients: pure functions of (labels, config, seed).

The table holds the schemes that make clients. `natural` is not in it, because its clients already have names; it has
its own function `natural.by_owner`.
"""

from collections.abc import Mapping
from typing import Protocol

from tff_vision import catalogue, configs
from tff_vision.data.partition.split import Labels, Split

__all__ = ['PARTITIONS', 'Labels', 'PartitionFn', 'Split']


class PartitionFn(Protocol):
  """Divides examples among clients; every random choice comes from `seed`."""

  def __call__(self, labels: Labels, *, num_clients: int, config: configs.DataConfig, seed: int) -> Split:
    """Returns `num_clients` clients that are disjoint and together cover the training examples.

    Test examples are divided in the same way as training examples, so that a client is tested on the classes it
    trains on. Test examples of a class that no client trains on may belong to no client.

    Args:
      labels: Labels of the training and of the test examples.
      num_clients: How many clients to make.
      config: Only the fields named after the scheme are read.
      seed: Seed of this partition only.

    Raises:
      ValueError: No such split exists, or none was found in a bounded number of draws.
    """


PARTITIONS: Mapping[str, PartitionFn] = catalogue.Loaded('partition', but=('natural',))
