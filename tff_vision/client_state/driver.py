"""Runs rounds of a process whose clients keep state, and stores the states in files between rounds.

In a simulation the driver keeps them for the clients, as it keeps their images; in the TFF computation they are
CLIENTS-placed: no server-placed value depends on them but through what the clients send.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tree

from tff_vision import protocols
from tff_vision.client_state import store as store_lib


class Request(NamedTuple):
  """One client's part in one round.

  Attributes:
    data: What the process takes for this client without its state.
  """
  client: int
  round_num: int
  data: Any


class NumberedData(protocols.WrappedData):
  """The same data; each client's says whose it is and of which round."""

  def request(self, client: int, round_num: int) -> Request:
    return Request(client, round_num, self._data.request(client, round_num))


class KeptStateProcess(protocols.WrappedProcess):
  """A process whose data are `Request`s, around one whose data are pairs of data and what the client keeps."""

  def __init__(self, process: protocols.Process, store: store_lib.Store):
    """Args: `process` returns what clients keep; `store` is where that is between rounds."""
    super().__init__(process)
    self._store = store
    self._swept = False

  def next(self, state: protocols.State, data: Sequence[Request]) -> protocols.RoundOutput:
    """Runs one round; what clients keep is on disk when it returns, and in no output.

    Raises:
      ValueError: A file of a client's state is damaged, or a client was lost; the states are as before.
    """
    if data and not self._swept:
      self._store.forget_from(data[0].round_num)
      self._swept = True
    output = self._process.next(state, [
        (request.data, _sequence(self._store.read(request.client, request.round_num))) for request in data])
    states = output.kept or ()
    if len(states) != len(data):
      raise ValueError(f'round {data[0].round_num} lost clients, and what these keep between rounds would no longer '
                       'fit; resume the run when all workers are back.')
    for request, kept in zip(data, states, strict=True):
      if kept is not None:
        self._store.write(request.client, request.round_num, kept)
    return dataclasses.replace(output, kept=None)


def _sequence(kept):
  return tf.data.Dataset.from_tensors(tree.map_structure(tf.constant, kept))
