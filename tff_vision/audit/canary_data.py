"""Where canaries are in a run: clients after all others, or slots among the clients' examples; and what they send.

A canary client trains like every other client. At the end its update is replaced by its direction, much longer than
the clip norm. A canary that is not in the data is not sampled (central mechanisms), sends zero (noise shares: it still
adds its share of the noise) or sends the opposite direction (`local_dp`, whose guarantee covers replacing one update by
any other). Each of these is exactly the change that defines neighbouring data for the mechanism.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import configs, protocols
from tff_vision.client_state import keeping
from tff_vision.data import images, pieces
from tff_vision.privacy import canaries as canaries_lib

NAME = 'audit canary'
LOUD = 1e3  # Norm of a canary's update divided by the clip norm; correct clipping cuts it.
_MOST_EXAMPLES = 2
_MARK = tff.SequenceType(tff.TensorType(np.float32, [2]))  # Number of the canary, or -1; factor of its direction.

# Mechanism -> factors of the direction: for a canary that is in the data, and for one that is not.
_FACTORS: Mapping[str, tuple[float, float]] = {'local_dp': (1.0, -1.0)}
_OTHER_FACTORS = (1.0, 0.0)


@dataclasses.dataclass(frozen=True)
class CanaryClients(images.ClientImages):
  """All clients, followed by the canaries, with blank images: two if a canary is in the data, else one.

  This number must stay secret too. Sizes are public or bound something public; they do not depend on the coins.
  """
  clients: images.ClientImages
  included: Sequence[bool]

  @functools.cached_property
  def client_ids(self) -> Sequence[str]:
    return pieces.Names.of(self.clients.client_ids).followed_by(
        [f'{NAME} {number}' for number in range(len(self.included))])

  def num_examples(self, client: int) -> int:
    return self.clients.num_examples(client) if client < len(self.clients) else _MOST_EXAMPLES

  def num_given(self, client: int) -> int:
    first = len(self.clients)
    return self.clients.num_given(client) if client < first else 1 + self.included[client - first]

  def examples(self, client: int) -> images.Examples:
    if client < len(self.clients):
      return self.clients.examples(client)
    one = self.clients.examples(0).take(np.zeros(self.num_given(client), np.int64))
    return images.Examples(np.zeros_like(one.x), np.zeros_like(one.y))


def with_canaries(privacy: configs.PrivacyConfig, clients: images.ClientImages,
                  among: canaries_lib.Canaries | None = None) -> images.ClientImages:
  """Returns the clients that plan and training use, with canaries if the run is audited.

  Args:
    among: The canaries; None if the caller needs only names and sizes.
  """
  number = privacy.audit_canaries
  if not number:
    return clients
  if privacy.of_examples:
    slots = [len(canaries_lib.of_client(client, clients=len(clients), canaries=number))
             for client in range(len(clients))]
    return images.CountedClients(copies=clients, counts=[
        clients.num_examples(client) + more for client, more in enumerate(slots)])
  return CanaryClients(clients, among.included if among else (False,) * number)


class MarkedData(protocols.WrappedData):
  """The data that a process gets for each client, with the number of the canary if the client is one."""

  def __init__(self, client_data: protocols.ClientData, mechanism: str, among: canaries_lib.Canaries):
    """Args: `client_data` describes the clients' data without these numbers."""
    super().__init__(client_data)
    self._factors = _FACTORS.get(mechanism, _OTHER_FACTORS)
    self._among = among

  def request(self, client: int, round_num: int) -> tuple[Any, tf.data.Dataset]:
    """Returns the input of a process over `crafting` for `client`."""
    mark = (-1.0, 0.0)
    if (canary := client - self._among.first) >= 0:
      mark = (canary, self._factors[0] if self._among.included[canary] else self._factors[1])
    return self._data.request(client, round_num), tf.data.Dataset.from_tensors(np.float32(mark))


class SlottedData(protocols.WrappedData):
  """The data that private SGD gets for each client, with its slots: the client's canaries that are in the data."""

  def __init__(self, client_data: protocols.ClientData, among: canaries_lib.Canaries, clients: int):
    """Args: `clients`: The number of clients."""
    super().__init__(client_data)
    self._among = among
    self._clients = clients

  def request(self, client: int, round_num: int) -> tuple[Any, tf.data.Dataset]:
    """Returns the input of an audited run's client work for `client`."""
    own = canaries_lib.of_client(client, clients=self._clients, canaries=self._among.number)
    slots = np.array([canary if self._among.included[canary] else -1 for canary in own], np.int32)
    return self._data.request(client, round_num), tf.data.Dataset.from_tensors(slots)


def crafting(client_work: keeping.ClientWork, *, canaries: int, clip_norm: float) -> keeping.ClientWork:
  """Returns the same client work on pairs (data, mark), in which a canary sends its direction. Runs on clients.

  The state that clients keep does not change; see `keeping.marked`.
  """
  sent_type = keeping.sent_type(client_work)
  shapes = [tuple(spec.shape) for spec in tf.nest.flatten(tff.types.type_to_tf_tensor_specs(sent_type))]

  def change(sent, mark):
    canary, factor = tf.unstack(mark)
    norms = tf.one_hot(tf.cast(canary, tf.int32), canaries, dtype=tf.float64) * tf.cast(factor, tf.float64)
    direction = canaries_lib.crafted(shapes, LOUD * clip_norm * norms)
    return tf.nest.pack_sequence_as(sent, [
        tf.where(canary < 0, leaf, tf.cast(part, leaf.dtype))
        for leaf, part in zip(tf.nest.flatten(sent), direction, strict=True)])

  return keeping.marked(client_work, _MARK, change)
