"""Simulated attackers that scale their update by a factor that travels with their data.

Sign flipping: Damaskinos et al., ICML 2018, section 5, and Li et al., "RSA", AAAI 2019, section 5. Scaling: the model
replacement of Bagdasaryan et al., "How To Backdoor Federated Learning", AISTATS 2020, section 4.2.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import catalogue, configs, protocols
from tff_vision.client_state import keeping

_FACTOR = tff.SequenceType(np.float32)  # A sequence of one element: TFF accepts only sequences here.

# Attack -> function from attack_scale to the factor on an attacker's update.
UPDATE_ATTACKS: Mapping[str, Callable[[float], float]] = catalogue.Loaded(
    'attack', trait=catalogue.Trait.CHANGES_UPDATES)


def sign_flip(scale: float) -> float:
  """Returns the factor that reverses an update and scales it."""
  return -scale


def scaled_update(scale: float) -> float:
  """Returns the factor that makes an update outweigh the others."""
  return scale


class FactorData(protocols.WrappedData):
  """The input of a process for each client, with the factor on that client's update."""

  def __init__(self, data: protocols.ClientData, config: configs.AttackConfig, attackers: Collection[int]):
    """Args: `data` gives the clients' data without the factors."""
    super().__init__(data)
    self._factor = UPDATE_ATTACKS[config.attack](config.attack_scale)
    self._attackers = frozenset(attackers)

  def request(self, client: int, round_num: int) -> tuple[Any, tf.data.Dataset]:
    """Returns the input for `client` of a process that uses `with_factors`."""
    factor = self._factor if client in self._attackers else 1.0
    return self._data.request(client, round_num), tf.data.Dataset.from_tensors(np.float32(factor))


def with_factors(client_work: keeping.ClientWork) -> keeping.ClientWork:
  """Returns the same client work on pairs (data, factor), whose updates are multiplied by the factor.

  The state that clients keep does not change; see `keeping.marked`. Runs on clients.
  """
  return keeping.marked(client_work, _FACTOR, lambda sent, factor: tf.nest.map_structure(
      lambda value: value * tf.cast(factor, value.dtype), sent))
