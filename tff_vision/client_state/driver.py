"""Runs rounds of a process whose clients keep state, and stores the states in files between rounds.

In a simulation the driver stores the states for the clients, as it stores their images. In the TFF computation they are
CLIENTS-placed: server-placed values depend on them only through what the clients send.
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
    data: The client's input to the process, without its state.
  """
  client: int
  round_num: int
  data: Any


class NumberedData(protocols.WrappedData):
  """The same data; each client's request also names the client and the round."""

  def request(self, client: int, round_num: int) -> Request:
    found = self._data.request(client, round_num)
    return found if isinstance(found, Request) else Request(client, round_num, found)


class KeptStateProcess(protocols.WrappedProcess):
  """A process that takes `Request`s; it wraps a process whose data are pairs of a client's data and its state."""

  def __init__(self, process: protocols.Process, store: store_lib.Store):
    """Args: `process` returns the states that clients keep; `store` holds them between rounds."""
    super().__init__(process)
    self._store = store
    self._swept = False

  def next(self, state: protocols.State, data: Sequence[Request]) -> protocols.RoundOutput:
    """Runs one round; when it returns, the clients' states are on disk, and they are in no output.

    Raises:
      ValueError: A client's state file is damaged, or a client was lost; the states are unchanged.
    """
    data = list(data)  # What clients keep is part of the round's result, so they are all in one call.
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
