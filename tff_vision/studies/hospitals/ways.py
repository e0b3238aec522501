"""The ways of training that hospitals compare."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class Way:
  """One way to train.

  Attributes:
    title: The name in words.
    algorithm: The algorithm of federated training.
    private: Whether hospitals train with example-level differential privacy.
    encrypted: Whether updates are encrypted.
    pooled: Whether all images are in one place, which the other ways avoid.
    personal: Whether each hospital trains the federated model further on its own images.
  """
  title: str
  algorithm: str = 'fedavg'
  private: bool = False
  encrypted: bool = False
  pooled: bool = False
  personal: bool = False


WAYS: Mapping[str, Way] = {
    'pooled': Way(title='pooled: all images in one place', pooled=True),
    'fedavg': Way(title='FedAvg'),
    'fedprox': Way(title='FedProx', algorithm='fedprox'),
    'personal': Way(title='FedAvg, then each for itself', personal=True),
    'private': Way(title='FedAvg, private', private=True),
    'encrypted': Way(title='FedAvg, encrypted', encrypted=True),
    'private_encrypted': Way(title='FedAvg, private and encrypted', private=True, encrypted=True),
}
REFERENCE = 'pooled'


def is_private(key: str) -> bool:
  """Returns whether the hospitals train with differential privacy under this key."""
  return key in WAYS and WAYS[key].private


def alone(hospital: str) -> str:
  """Returns the key of the model that one hospital trains alone."""
  return f'alone:{hospital}'
