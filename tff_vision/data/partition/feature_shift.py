"""Feature skew: an IID split in which each client has its own simulated imaging device.

Each client has one rotation, contrast and noise level, on both training and test images, like the scanners of
different hospitals (NIID-Bench, Li et al. 2021, arXiv:2102.02079, section IV-B, has only noise).
"""

import dataclasses

import numpy as np

from tff_vision import configs, seeds
from tff_vision.data.partition import iid, imaging_device, split


def partition(labels: split.Labels, *, num_clients: int, config: configs.DataConfig, seed: int) -> split.Split:
  """Splits in the same way as `iid` and draws a device for each client.

  Raises:
    ValueError: There are more clients than training examples.
  """
  found = []
  for client in range(num_clients):
    own = seeds.derive(seed, 'feature_shift', client)
    angle, contrast, noise = np.random.default_rng(own).uniform((-1, -1, 0), (1, 1, 1))
    found.append(imaging_device.Device(degrees=config.shift_rotation * angle,
                                       contrast=1 + config.shift_contrast * contrast,
                              noise=config.shift_noise * noise, seed=own))
  return dataclasses.replace(iid.partition(labels, num_clients=num_clients, config=config, seed=seed), devices=found)
