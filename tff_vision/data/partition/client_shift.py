"""How the images of clients differ: each client's imaging device, drawn at random or one of a few fixed scanners.

The same objects then look different at different clients (feature shift), whatever the partition: the domains of
FedBN (Li et al. 2021, arXiv:2102.07623) are images of the same digits by different hands and cameras.
"""

from collections.abc import Callable, Mapping

import numpy as np

from tff_vision import catalogue, configs, seeds
from tff_vision.data.partition.imaging_device import Device

# Fixed kinds of scanners, as unlike as vendors' processing makes films of one ward: the first leaves images unchanged.
SCANNERS: Mapping[str, Mapping[str, float]] = {
    'reference': {},
    'dark and noisy': {'gamma': 2.2, 'contrast': 0.7, 'brightness': -0.15, 'noise': 0.1},
    'bright and soft': {'gamma': 0.45, 'contrast': 0.6, 'brightness': 0.2, 'blur': 1.0},
    'hard': {'contrast': 2.0, 'noise': 0.03},
}

# (config, client number, client name, seed) -> the client's device.
DeviceOf = Callable[[configs.DataConfig, int, str, int], Device]


def drawn(config: configs.DataConfig, client: int, name: str, seed: int) -> Device:
  """Returns a device drawn from the ranges of the config; `client` is not read."""
  del client
  return of_ranges(config, seeds.derive(seed, 'client_shift', name))


def scanner(config: configs.DataConfig, client: int, name: str, seed: int) -> Device:
  """Returns the scanner of a client: client k has the scanner k modulo their number. The seed draws its noise."""
  del config
  kind = list(SCANNERS)[client % len(SCANNERS)]
  return Device(**{'degrees': 0.0, 'contrast': 1.0, 'noise': 0.0, **SCANNERS[kind]},
                seed=seeds.derive(seed, 'client_shift', name), name=kind)


def of_ranges(config: configs.DataConfig, seed: int) -> Device:
  """Returns the device that `seed` draws from the ranges `shift_*` of the config."""
  rng = np.random.default_rng(seed)
  angle, contrast, noise = rng.uniform((-1, -1, 0), (1, 1, 1))
  gamma, blur, brightness = rng.uniform((-1, 0, -1), (1, 1, 1))
  return Device(degrees=config.shift_rotation * angle, contrast=1 + config.shift_contrast * contrast,
                noise=config.shift_noise * noise, seed=seed, gamma=float((1 + config.shift_gamma) ** gamma),
                blur=config.shift_blur * blur, brightness=config.shift_brightness * brightness)


SHIFTS: Mapping[str, DeviceOf] = catalogue.Loaded('client_shift')
