"""How examples become clients: pure functions of (labels, config, seed).

The table holds the schemes that make clients; `natural` is another matter, for owners bring their names with them,
and has its own function `natural.by_owner`.
"""

from collections.abc import Mapping
from typing import Protocol

from tff_vision import catalogue, configs
from tff_vision.data.partition.split import Labels, Split

__all__ = ['PARTITIONS', 'Labels', 'PartitionFn', 'Split']


class PartitionFn(Protocol):
  """Shares examples out over clients; every random choice comes from `seed`."""

  def __call__(self, labels: Labels, *, num_clients: int, config: configs.DataConfig, seed: int) -> Split:
    """Returns `num_clients` clients that are disjoint and together cover the training examples.

    Test examples are shared out in the manner of the training examples, so that a client is tested on what it
    trains on; those of a class that nobody trains on may be no client's.

    Args:
      labels: Of the training and of the test examples.
      num_clients: How many clients to make.
      config: The fields that name the scheme are read.
      seed: Of this partition alone.

    Raises:
      ValueError: No such split exists, or none was found in a bounded number of draws.
    """


PARTITIONS: Mapping[str, PartitionFn] = catalogue.Loaded('partition', but=('natural',))
