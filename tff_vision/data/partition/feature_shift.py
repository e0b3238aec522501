"""Feature skew: an IID split in which each client has its own simulated imaging device.

Each client has one rotation, contrast and noise level, on both training and test images, like the scanners of
different hospitals (NIID-Bench, Li et al. 2021, arXiv:2102.02079, section IV-B, has only noise). `client_shift` gives
such devices to the clients of any other partition.
"""

import dataclasses

from tff_vision import configs, seeds
from tff_vision.data import pieces
from tff_vision.data.partition import client_shift, iid, split


def partition(labels: split.Labels, *, num_clients: int, config: configs.DataConfig, seed: int) -> split.Split:
  """Splits in the same way as `iid` and draws a device for each client.

  Raises:
    ValueError: There are more clients than training examples.
  """
  found = pieces.Made(lambda client: client_shift.of_ranges(config, seeds.derive(seed, 'feature_shift', client)),
                      range(num_clients))
  return dataclasses.replace(iid.partition(labels, num_clients=num_clients, config=config, seed=seed), devices=found)
