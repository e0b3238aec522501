"""Runs rounds of a process whose clients keep state, with the states in files between their rounds.

In a simulation the driver keeps them for the clients, as it keeps their images; in the TFF computation they are
CLIENTS-placed: no server-placed value depends on them but through what the clients send.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import tensorflow as tf
import tensorflow_federated as tff
import tree

from tff_vision.client_state import store as store_lib


class Request(NamedTuple):
  """One client's part in one round.

  Attributes:
    data: What the process takes for this client without its state.
  """
  client: int
  round_num: int
  data: Any


class ClientData(Protocol):
  """What a process without kept state is given for each client."""

  def present(self, cohort: Sequence[int]) -> Sequence[int]:
    """Returns the clients of `cohort` that have data."""

  def request(self, client: int, round_num: int) -> Any:
    """Returns what `process.next` takes."""


class NumberedData:
  """The same data; each client's says whose it is and of which round."""

  def __init__(self, client_data: ClientData):
    self._client_data = client_data
    self.present = client_data.present

  def request(self, client: int, round_num: int) -> Request:
    """Returns what `KeptStateProcess.next` takes for `client`."""
    return Request(client, round_num, self._client_data.request(client, round_num))


class KeptStateProcess:
  """Looks like a `tff.learning.templates.LearningProcess` to a training loop."""

  def __init__(self, process: Any, store: store_lib.Store):
    """Initializes the process.

    Args:
      process: Like a learning process, whose `next` takes pairs (data, state) and returns among its metrics, as
        `kept`, a list of the clients' new states; None for a client that was absent, whose state stays as it is.
      store: Where they are between rounds.
    """
    self._process = process
    self._store = store
    self._swept = False
    self.initialize = process.initialize
    self.get_model_weights = process.get_model_weights
    self.set_model_weights = process.set_model_weights

  def next(self, state: Any, requests: Sequence[Request]) -> tff.learning.templates.LearningProcessOutput:
    """Runs one round; the states are on disk when it returns.

    Raises:
      ValueError: A file of a client's state is damaged, or a client was lost; the states are as before.
    """
    if requests and not self._swept:
      self._store.forget_from(requests[0].round_num)
      self._swept = True
    output = self._process.next(state, [
        (request.data, _sequence(self._store.read(request.client, request.round_num))) for request in requests])
    metrics = dict(output.metrics)
    if len(states := metrics.pop('kept')) != len(requests):
      raise ValueError(f'round {requests[0].round_num} lost clients, and what these keep between rounds would no '
                       'longer fit; resume the run when all workers are back.')
    for request, kept in zip(requests, states, strict=True):
      if kept is not None:
        self._store.write(request.client, request.round_num, kept)
    return tff.learning.templates.LearningProcessOutput(output.state, metrics)


def _sequence(kept):
  return tf.data.Dataset.from_tensors(tree.map_structure(tf.constant, kept))
